"""What mutual TLS costs: requests and connections through two sidecars, with it and without.

Both Envoys are configured as Pilot configures sidecars; the server's port is permissive, so the
same pair of them serves plain text and mutual TLS. A third Envoy answers as the application.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from typing import Any

import psutil
from envoy.config.route.v3.route_components_pb2 import Route

from mast.common.process.telemetry import configure_logging
from tests.support.envoy_server import EnvoyServer, envoy_server
from tests.support.envoy_static import answering_listener, bootstrap
from tests.support.mesh_yaml import sidecar_proxy
from tests.support.pki import Ca
from tests.support.secret_files import write_secrets
from tests.support.sidecars import ONLY_INBOUND, sidecar

REQUESTS = 8_000
CONNECTIONS = 2_000
CALLERS = 4
MODES = {"plain": "DISABLE", "mutual": "ISTIO_MUTUAL"}
PORT = 8080

ENTRY = """
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}}}
spec:
  hosts: [{name}.test]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{{number: {port}, name: http, protocol: HTTP}}]
  {rest}
"""
RULE = """
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: {name}}}
spec:
  host: {name}.test
  trafficPolicy: {{tls: {{mode: {mode}}}, connectionPool: {{http: {pool}}}}}
"""


@dataclass(frozen=True)
class Way:
    """How the client's sidecar calls: with which TLS, and with a connection for each request?"""

    tls: str
    fresh: bool

    @property
    def name(self) -> str:
        return f"{self.tls}-{'fresh' if self.fresh else 'kept'}"

    @property
    def port(self) -> int:
        return 7000 + 10 * list(MODES).index(self.tls) + self.fresh

    def objects(self, port: int) -> str:
        """The server as the client's sidecar knows it under this name."""
        rest = f"endpoints: [{{address: 127.0.0.1, serviceAccount: web, ports: {{http: {port}}}}}]"
        pool = "{maxRequestsPerConnection: 1}" if self.fresh else "{}"
        entry = ENTRY.format(name=self.name, port=self.port, rest=rest)
        return entry + RULE.format(name=self.name, mode=MODES[self.tls], pool=pool)


WAYS = [Way(tls, fresh) for fresh in (False, True) for tls in MODES]


@dataclass
class Site:
    """Two sidecars, and what their processes have used of the processors."""

    client: EnvoyServer
    envoys: Sequence[psutil.Process]

    def seconds(self) -> list[float]:
        """Processor time of the client's and of the server's Envoy so far."""
        return [sum(each.cpu_times()[:2]) for each in self.envoys]


@asynccontextmanager
async def site(directory: Path) -> AsyncIterator[Site]:
    ca = Ca.root()
    for name, account in (("server", "web"), ("client", "client"), ("application", "none")):
        (directory / name).mkdir()
        own = ca.leaf(uris=[f"spiffe://cluster.local/ns/default/sa/{account}"])
        write_secrets(directory / name, ca, own)
    answer = Route()
    answer.match.prefix = "/"
    answer.direct_response.status = 200
    async with AsyncExitStack() as stack:
        application = await stack.enter_async_context(
            envoy_server(bootstrap([answering_listener([answer])], []), directory / "application")
        )
        behind = {str(PORT): f"127.0.0.1:{application.ports['test']}"}
        proxy = sidecar_proxy(
            "default",
            ip="127.0.0.1",
            labels={"app": "web"},
            INTERCEPTION_MODE="NONE",
            APP_ENDPOINTS=behind,
        )
        own = ENTRY.format(name="web", port=PORT, rest="workloadSelector: {labels: {app: web}}")
        before = _envoys()
        server = await stack.enter_async_context(
            sidecar(directory / "server", proxy, own, ONLY_INBOUND)
        )
        caller = sidecar_proxy("default", ip="127.0.0.2", INTERCEPTION_MODE="NONE")
        known = [way.objects(server.ports[f"127.0.0.1_{PORT}"]) for way in WAYS]
        (serving,) = _envoys() - before
        client = await stack.enter_async_context(sidecar(directory / "client", caller, *known))
        (calling,) = _envoys() - before - {serving}
        yield Site(client, [calling, serving])


def _envoys() -> set[psutil.Process]:
    return {each for each in psutil.Process().children() if each.name().startswith("envoy")}


async def call(port: int, host: str, times: int) -> list[float]:
    """Milliseconds that each of some requests took, one after the other on one connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    request = f"GET / HTTP/1.1\r\nhost: {host}\r\n\r\n".encode()
    took = []
    for _ in range(times):
        begun = time.perf_counter()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        took.append((time.perf_counter() - begun) * 1000)
        if not head.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"{host} answered {head!r}")
    writer.close()
    return took


async def measured(found: Site, way: Way) -> dict[str, Any]:
    """One JSON object: what a request costs this way."""
    times = CONNECTIONS if way.fresh else REQUESTS
    port, host = found.client.ports[f"127.0.0.1_{way.port}"], f"{way.name}.test"
    await call(port, host, 100)
    ssl = f"cluster.outbound|{way.port}||{host};.ssl"
    handshakes = await found.client.stat(f"{ssl}.handshake")
    resumed = await found.client.stat(f"{ssl}.session_reused")
    before, begun = found.seconds(), time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        calls = [tasks.create_task(call(port, host, times // CALLERS)) for _ in range(CALLERS)]
    elapsed = time.perf_counter() - begun
    used = [after - old for old, after in zip(before, found.seconds(), strict=True)]
    took = [each for one in calls for each in one.result()]
    percentiles = quantiles(took, n=100)
    return {
        "name": f"mtls_{way.name.replace('-', '_')}",
        "value": round(sum(used) / times * 1e6, 1),
        "unit": "us of CPU per request, both sidecars",
        "client_us": round(used[0] / times * 1e6, 1),
        "server_us": round(used[1] / times * 1e6, 1),
        "p50_ms": round(percentiles[49], 2),
        "p99_ms": round(percentiles[98], 2),
        "requests_per_second": round(times / elapsed),
        "handshakes": await found.client.stat(f"{ssl}.handshake") - handshakes,
        "resumed": await found.client.stat(f"{ssl}.session_reused") - resumed,
    }


async def measure() -> list[dict[str, Any]]:
    """All ways, one after the other."""
    with tempfile.TemporaryDirectory() as directory:
        async with site(Path(directory)) as found:
            return [await measured(found, way) for way in WAYS]


def main() -> None:
    """Print one JSON object a line."""
    configure_logging("bench", "warning")
    for result in asyncio.run(measure()):
        sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
