"""The versions of nodes (galley-and-kubernetes.md C2), from a fake API server."""

from __future__ import annotations

import asyncio
from typing import Any

from mast.common.kubernetes import connect
from mast.common.kubernetes.objects import NODES
from mast.galley.kubernetes.kubelets import follow_kubelets
from tests.fakes.kubernetes.server import api_server
from tests.support.until import until


def told(version: str) -> dict[str, Any]:
    return {"status": {"nodeInfo": {"kubeletVersion": version}}}


async def test_versions_follow_the_nodes() -> None:
    kubelets: dict[str, str] = {}
    async with api_server() as cluster, connect(cluster.access()) as api:
        for name in ("a", "b", "silent"):
            cluster.objects.create(NODES, "", {"metadata": {"name": name}})
        cluster.objects.update(NODES, "", "a", told("v1.33.1"), "status")
        async with asyncio.TaskGroup() as tasks:
            following = tasks.create_task(follow_kubelets(api, kubelets))
            await until(lambda: kubelets == {"a": "v1.33.1"})
            cluster.objects.update(NODES, "", "b", told("v1.32.0"), "status")
            await until(lambda: kubelets == {"a": "v1.33.1", "b": "v1.32.0"})
            cluster.objects.delete(NODES, "", "a")
            await until(lambda: kubelets == {"b": "v1.32.0"})
            following.cancel()
