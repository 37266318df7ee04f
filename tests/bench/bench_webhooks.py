"""Reviews a second by a Galley process over TLS, as API servers ask: judging and injecting."""

from __future__ import annotations

import asyncio
import json
import platform
import ssl
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from tests.integration.citadel.process import citadel
from tests.support.etcd_server import etcd_server
from tests.support.service_process import ServiceProcess, service_process

SECONDS = 4.0
CALLERS = 16
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
POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"generateName": "web-", "labels": {"app": "web"}},
    "spec": {
        "containers": [
            {
                "name": "web",
                "image": "web:1",
                "ports": [{"containerPort": 8080}],
                "readinessProbe": {"httpGet": {"path": "/", "port": 8080}},
            }
        ]
    },
}
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


async def load(found: Site, name: str) -> dict[str, Any]:
    """Many callers at a time, each on its own connection, which it keeps."""
    path, resource, content = CASES[name]
    body = review(resource, content)
    latencies: list[float] = []
    server = psutil.Process(found.galley.process.pid)
    connector = aiohttp.TCPConnector(ssl=found.tls, limit=CALLERS)
    headers = {"Content-Type": "application/json"}
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:

        async def ask() -> None:
            async with session.post(
                found.url + path, data=body, server_hostname=SERVER_NAME
            ) as answer:
                if not (await answer.json())["response"]["allowed"]:
                    raise RuntimeError(await answer.text())

        async def caller(ends: float) -> None:
            while (begun := time.monotonic()) < ends:
                await ask()
                latencies.append(time.monotonic() - begun)

        await ask()
        before = server.cpu_times()
        async with asyncio.TaskGroup() as tasks:
            for _ in range(CALLERS):
                tasks.create_task(caller(time.monotonic() + SECONDS))
        after = server.cpu_times()
    cpu = after.user + after.system - before.user - before.system
    done = len(latencies)
    return {
        "name": name,
        "value": round(done / SECONDS, 1),
        "unit": "reviews/s",
        "per_core": round(done / cpu, 1),
        "p50_ms": round(statistics.median(latencies) * 1000, 2),
        "p99_ms": round(statistics.quantiles(latencies, n=100)[98] * 1000, 2),
        "server_cpu_ms_per_review": round(cpu / done * 1000, 3),
        "resident_mib": round(server.memory_info().rss / 2**20, 1),
        "callers": CALLERS,
        "python": platform.python_version(),
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
