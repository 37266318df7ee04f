"""Configuration from an API server into etcd: first, after a restart, and while it changes.

    python -m tests.bench.bench_kubernetes_config [OBJECTS]

A real Galley and etcd; the API server is the fake of the tests, in this process. Lags are from the
change in the API server's memory to the change in etcd as a follower sees it, with all three on one
machine.
"""

import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from json import dumps
from pathlib import Path
from statistics import quantiles
from typing import Any

import psutil

from mast.common.etcd import EtcdConfig, Store, connect
from mast.common.keys import CONFIG
from mast.common.kubernetes.objects import NAMESPACES, Resource
from tests.fakes.kubernetes.objects import CRDS
from tests.fakes.kubernetes.server import Cluster, api_server
from tests.support.custom_resources import definitions
from tests.support.etcd_server import etcd_server
from tests.support.service_process import ServiceProcess, service_process
from tests.support.until import until

SERVICES = Resource("networking.istio.io", "v1", "virtualservices", "VirtualService")
MERGE = "application/merge-patch+json"
NAMESPACE_COUNT = 50
CHANGES_PER_SECOND, CHANGE_SECONDS = 200, 10


def routes(number: int, timeout: str = "5s") -> dict[str, Any]:
    """A VirtualService as they are: two matches, a split, retries."""
    host = f"app-{number}"
    destinations = [
        {"destination": {"host": host, "subset": version}, "weight": weight}
        for version, weight in (("v1", 90), ("v2", 10))
    ]
    return {
        "hosts": [host],
        "http": [
            {
                "match": [{"uri": {"prefix": "/api"}}, {"headers": {"x-user": {"exact": "me"}}}],
                "route": [{"destination": {"host": host, "subset": "v2"}}],
                "timeout": timeout,
                "retries": {"attempts": 3, "perTryTimeout": "1s"},
            },
            {"route": destinations},
        ],
    }


def place(number: int) -> tuple[str, str]:
    """Namespace and name of an object."""
    return f"ns-{number % NAMESPACE_COUNT}", f"app-{number}"


@dataclass
class Arrivals:
    """When the store held which timeout of an object."""

    waiting: dict[str, float] = field(default_factory=dict)
    lags: list[float] = field(default_factory=list)
    writes: int = 0

    async def follow(self, store: Store, ready: asyncio.Event) -> None:
        """Note every write below CONFIG."""
        async with aclosing(store.follow(CONFIG)) as batches:
            async for batch in batches:
                now = time.monotonic()
                for change in batch.changes if ready.is_set() else ():
                    self.writes += 1
                    changed = self.waiting.pop(change.key.rpartition("/")[2], None)
                    if changed is not None:
                        self.lags.append(now - changed)
                if batch.synced:
                    ready.set()


@asynccontextmanager
async def galley(etcd: str, kubeconfig: Path) -> AsyncIterator[tuple[ServiceProcess, float]]:
    """A Galley that is ready, and how many seconds that took from its start."""
    begun = time.monotonic()
    flags = {
        "etcd-endpoints": etcd,
        "kubeconfig": kubeconfig,
        "monitoring-listen": "127.0.0.1:0",
        "root-maps": "false",
        "webhook-configurations": "false",
    }
    line = [part for name, value in flags.items() for part in (f"--{name}", value)]
    async with service_process("galley", *line) as running:

        async def ready() -> bool:
            return (await running.get("/ready"))[0] == 200

        await until(ready)
        yield running, time.monotonic() - begun


async def churn(cluster: Cluster, objects: int, arrivals: Arrivals) -> None:
    """Change objects one after the other, at a constant rate."""
    begun = time.monotonic()
    for count in range(CHANGES_PER_SECOND * CHANGE_SECONDS):
        delay = begun + count / CHANGES_PER_SECOND - time.monotonic()
        if delay > 0:
            await asyncio.sleep(delay)
        namespace, name = place(count % objects)
        spec = routes(count % objects, timeout=f"{count + 10}ms")
        arrivals.waiting[name] = time.monotonic()
        cluster.objects.patch(SERVICES, namespace, name, {"spec": spec}, MERGE)
    await until(lambda: not arrivals.waiting)


def told(name: str, value: float, unit: str, **more: Any) -> None:
    """One result."""
    sys.stdout.write(dumps({"name": name, "value": round(value, 3), "unit": unit, **more}) + "\n")


def memory_mib(running: ServiceProcess) -> float:
    """What a process holds."""
    return float(psutil.Process(running.process.pid).memory_info().rss) / 2**20


def cpu_seconds(running: ServiceProcess) -> float:
    """What a process has used so far."""
    times = psutil.Process(running.process.pid).cpu_times()
    return float(times.user + times.system)


async def main(objects: int) -> None:
    """Sync, restart, change."""
    with tempfile.TemporaryDirectory(prefix="bkc-") as name:
        directory = Path(name)
        async with api_server() as cluster, etcd_server(directory) as etcd:
            cluster.objects.create(
                CRDS, "", dict(definitions()["networking.istio.io/VirtualService"])
            )
            for number in range(NAMESPACE_COUNT):
                body = {"metadata": {"name": f"ns-{number}"}}
                cluster.objects.create(NAMESPACES, "", body)
            for number in range(objects):
                namespace, called = place(number)
                made = {"metadata": {"name": called}, "spec": routes(number)}
                cluster.objects.create(SERVICES, namespace, made)
            kubeconfig = directory / "kubeconfig"
            kubeconfig.write_text(cluster.kubeconfig())
            async with galley(etcd.endpoint, kubeconfig) as (_, seconds):
                told("first sync, with the start", seconds, "s", objects=objects)
            async with (
                connect(EtcdConfig(endpoints=(etcd.endpoint,))) as store,
                asyncio.TaskGroup() as tasks,
            ):
                before = (await store.list(CONFIG)).revision
                async with galley(etcd.endpoint, kubeconfig) as (running, seconds):
                    entries = (await store.list(CONFIG)).entries
                    written = sum(entry.mod_revision > before for entry in entries)
                    told("restart", seconds, "s", objects=objects, written=written)
                    told("CPU of a restart", cpu_seconds(running), "s", objects=objects)
                    told("memory", memory_mib(running), "MiB", objects=objects)
                    arrivals, ready = Arrivals(), asyncio.Event()
                    following = tasks.create_task(arrivals.follow(store, ready))
                    await ready.wait()
                    used = cpu_seconds(running)
                    await churn(cluster, objects, arrivals)
                    used = cpu_seconds(running) - used
                    changes = CHANGES_PER_SECOND * CHANGE_SECONDS
                    told("CPU of Galley, each change", used / changes * 1000, "ms")
                    cuts = quantiles(arrivals.lags, n=100)
                    more = {"changes_per_second": CHANGES_PER_SECOND, "writes": arrivals.writes}
                    told("lag, half", cuts[49] * 1000, "ms", **more)
                    told("lag, 99 of 100", cuts[98] * 1000, "ms", **more)
                    following.cancel()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000))
