"""A fake API server in a thread of its own, for commands that bring their own event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Queue

from tests.fakes.kubernetes.rollouts import rolling_out
from tests.fakes.kubernetes.server import Cluster, api_server


@dataclass(frozen=True)
class LiveCluster:
    """``cluster`` may be looked at and written to while no request is under way."""

    cluster: Cluster
    kubeconfig: Path


@contextmanager
def live_cluster(directory: Path, stuck: Collection[str] = ()) -> Iterator[LiveCluster]:
    """An API server, and a kubeconfig for its administrator; ended with the block.

    What makes pods is at work at once, but for names that are ``stuck``.
    """
    told: Queue[Cluster | BaseException] = Queue()
    ended = threading.Event()

    async def serve() -> None:
        async with api_server() as cluster, rolling_out(cluster.objects, stuck):
            told.put(cluster)
            await asyncio.to_thread(ended.wait)

    def run() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:
            told.put(error)
            raise

    thread = threading.Thread(target=run, name="api server")
    thread.start()
    try:
        cluster = told.get(timeout=30)
        if isinstance(cluster, BaseException):
            raise cluster
        kubeconfig = directory / "kubeconfig"
        kubeconfig.write_text(cluster.kubeconfig())
        yield LiveCluster(cluster, kubeconfig)
    finally:
        ended.set()
        thread.join(timeout=30)
