"""Reviews a second by a Galley process over TLS, as API servers ask: judging and injecting.

As many as it answers to callers that do not wait, and how long it takes where they come at a rate.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from tests.bench.load.kubernetes_objects import new_pod
from tests.integration.citadel.process import citadel
from tests.support.etcd_server import etcd_server
from tests.support.service_process import ServiceProcess, service_process

SECONDS = 4.0
CALLERS = 16
RATE = 100
SERVER_NAME = "istio-galley.istio-system.svc"
ACCOUNT = "istio-galley-service-account"

ROUTES = [
    {
        "match": [{"uri": {"prefix": f"/{number}"}, "headers": {"x-user": {"exact": "a"}}}],
        "route": [{"destination": {"host": "reviews", "subset": f"v{number}"}}],
        "retries": {"attempts": 3, "perTryTimeout": "2s", "retryOn": "5xx"},
    }
    for number in range(10)
]
VIRTUAL_SERVICE = {
    "apiVersion": "networking.istio.io/v1",
    "kind": "VirtualService",
    "metadata": {"name": "reviews", "namespace": "shop"},
    "spec": {"hosts": ["reviews"], "http": ROUTES},
}
DESTINATION_RULE = {
    "apiVersion": "networking.istio.io/v1",
    "kind": "DestinationRule",
    "metadata": {"name": "reviews", "namespace": "shop"},
    "spec": {"host": "reviews", "subsets": [{"name": "v1", "labels": {"version": "v1"}}]},
}
POD = {"apiVersion": "v1", "kind": "Pod", **new_pod(1)}
CASES = {
    "webhooks_destination_rule": ("/validate", "destinationrules", DESTINATION_RULE),
    "webhooks_virtual_service_10_routes": ("/validate", "virtualservices", VIRTUAL_SERVICE),
    "webhooks_injection": ("/inject", "pods", POD),
}


@dataclass(frozen=True)
class Site:
    """A Galley, and how its webhooks are reached."""

    galley: ServiceProcess
    url: str
    tls: ssl.SSLContext


@asynccontextmanager
async def site() -> AsyncIterator[Site]:
    with tempfile.TemporaryDirectory(prefix="wh-") as name:
        directory = Path(name)
        async with etcd_server(directory) as etcd, citadel(etcd.endpoint, directory) as ca:
            roots = await ca.roots()
            root, token = directory / "root.pem", directory / "token"
            root.write_bytes(roots)
            token.write_text(await ca.join_token("istio-system", ACCOUNT))
            async with service_process(
                "galley",
                *("--listen", "127.0.0.1:0", "--monitoring-listen", "127.0.0.1:0"),
                *("--webhook-listen", "127.0.0.1:0", "--etcd-endpoints", etcd.endpoint),
                *("--ca-address", await ca.service.address("ca")),
                *("--ca-root-file", root, "--ca-token-file", token),
            ) as galley:
                await galley.logged("injection.settings")
                url = f"https://{await galley.address('webhooks')}"
                yield Site(galley, url, ssl.create_default_context(cadata=roots.decode()))


def review(resource: str, content: Any) -> bytes:
    group = content["apiVersion"].rpartition("/")[0]
    request = {
        "uid": "7",
        "operation": "CREATE",
        "namespace": "shop",
        "resource": {"group": group, "version": "v1", "resource": resource},
        "object": content,
    }
    fields = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}
    return json.dumps(fields).encode()


@dataclass
class Asking:
    """One kind of review, over connections that are kept."""

    session: aiohttp.ClientSession
    found: Site
    name: str
    latencies: list[float] = field(default_factory=list)

    async def once(self) -> None:
        """Ask; the time it took is noted."""
        path, resource, content = CASES[self.name]
        begun = time.monotonic()
        async with self.session.post(
            self.found.url + path, data=review(resource, content), server_hostname=SERVER_NAME
        ) as answer:
            if not (await answer.json())["response"]["allowed"]:
                raise RuntimeError(await answer.text())
        self.latencies.append(time.monotonic() - begun)

    async def without_pause(self) -> None:
        """As many as are answered to some callers."""

        async def caller(ends: float) -> None:
            while time.monotonic() < ends:
                await self.once()

        async with asyncio.TaskGroup() as tasks:
            for _ in range(CALLERS):
                tasks.create_task(caller(time.monotonic() + SECONDS))

    async def at_a_rate(self) -> None:
        """So many a second, whether the others were answered or not."""
        begun = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            for number in range(int(RATE * SECONDS)):
                await asyncio.sleep(max(0.0, begun + number / RATE - time.monotonic()))
                tasks.create_task(self.once())


async def load(found: Site, name: str) -> dict[str, Any]:
    """Both ways, one after the other."""
    server = psutil.Process(found.galley.process.pid)
    connector = aiohttp.TCPConnector(ssl=found.tls, limit=CALLERS)
    headers = {"Content-Type": "application/json"}
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
        asking = Asking(session, found, name)
        await asking.once()
        before = server.cpu_times()
        asking.latencies.clear()
        await asking.without_pause()
        after = server.cpu_times()
        done = len(asking.latencies)
        asking.latencies.clear()
        await asking.at_a_rate()
    cpu = after.user + after.system - before.user - before.system
    return {
        "name": name,
        "value": round(done / SECONDS, 1),
        "unit": "reviews/s",
        "callers": CALLERS,
        "per_core": round(done / cpu, 1),
        "server_cpu_ms_per_review": round(cpu / done * 1000, 3),
        "rate": RATE,
        "p50_ms": round(statistics.median(asking.latencies) * 1000, 2),
        "p99_ms": round(statistics.quantiles(asking.latencies, n=100)[98] * 1000, 2),
        "resident_mib": round(server.memory_info().rss / 2**20, 1),
        "load": round(psutil.getloadavg()[0], 1),
    }


async def measure() -> list[dict[str, Any]]:
    """One result per kind of review."""
    async with site() as found:
        return [await load(found, name) for name in CASES]


def main() -> None:
    """Print one JSON object a line."""
    for result in asyncio.run(measure()):
        sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
