"""How fast a change reaches every proxy: real Pilot, etcd and gRPC, simulated incremental Envoys.

The time is from the write to etcd until the last proxy has acknowledged; it contains Pilot's
debounce. Processor time, bytes and memory are those of the Pilot process alone.
"""

import asyncio
import json
import platform
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from statistics import quantiles
from typing import Any

from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (  # noqa: E501
    HttpConnectionManager,
)
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse
from grpc import aio

from mast.common.etcd import EtcdConfig, Store, connect
from mast.common.process.telemetry import configure_logging
from mast.pilot.api.ads import SERVICE
from mast.pilot.core.xds.resources import CDS, EDS, LDS, RDS
from tests.support.etcd_server import etcd_server
from tests.support.mesh_yaml import changes
from tests.support.pilot_process import PilotProcess, pilot_process

SERVICES = 200
PROXIES = 100
ROUNDS = 30
DEBOUNCE = timedelta(milliseconds=100)
LIMIT_SECONDS = 60

SERVICE_ENTRY = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: s{number}, namespace: default}}
spec:
  hosts: [s{number}.default.svc.cluster.local]
  resolution: STATIC
  location: MESH_INTERNAL
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  endpoints:
  - {{address: 10.0.{number}.1, labels: {{version: v1}}}}
  - {{address: 10.0.{number}.{last}, labels: {{version: v2}}}}
"""

VIRTUAL_SERVICE = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: s{number}, namespace: default}}
spec:
  hosts: [s{number}.default.svc.cluster.local]
  http:
  - timeout: {seconds}s
    route: [{{destination: {{host: s{number}.default.svc.cluster.local}}}}]
"""


@dataclass
class Proxies:
    """All simulated proxies; a response of a type is acknowledged at once and noted."""

    received: int = 0
    seen: dict[str, int] = field(default_factory=dict)
    news: asyncio.Condition = field(default_factory=asyncio.Condition)
    routes: tuple[str, ...] = ()

    async def note(self, type_url: str, size: int) -> None:
        async with self.news:
            self.received += size
            self.seen[type_url] = self.seen.get(type_url, 0) + 1
            self.news.notify_all()

    async def wait(self, type_url: str, count: int) -> None:
        """Until that many responses of a type were acknowledged since `clear`."""
        async with asyncio.timeout(LIMIT_SECONDS), self.news:
            await self.news.wait_for(lambda: self.seen.get(type_url, 0) >= count)

    def clear(self) -> None:
        self.seen.clear()


class Proxy:
    """One Envoy: asks for clusters, endpoints, listeners, routes; accepts everything."""

    def __init__(self, number: int, call: Any, proxies: Proxies) -> None:
        self._number = number
        self._call = call
        self._proxies = proxies

    async def start(self) -> None:
        first = DeltaDiscoveryRequest(type_url=CDS)
        name = f"client-{self._number}.default~default.svc.cluster.local"
        first.node.id = f"sidecar~10.255.{self._number // 250}.{self._number % 250 + 1}~{name}"
        first.node.metadata.update({"NAMESPACE": "default", "LABELS": {"app": "client"}})
        await self._call.write(first)
        clusters = await self._accept()
        names = [each.name for each in clusters.resources if each.name.startswith("outbound|")]
        await self._ask(EDS, names)
        await self._accept()
        await self._ask(LDS, ())
        listeners = await self._accept()
        if not self._proxies.routes:
            self._proxies.routes = tuple(route_names(listeners))
        await self._ask(RDS, self._proxies.routes)
        await self._accept()

    async def run(self) -> None:
        while True:
            await self._accept()

    async def _ask(self, type_url: str, names: Any) -> None:
        await self._call.write(
            DeltaDiscoveryRequest(type_url=type_url, resource_names_subscribe=names)
        )

    async def _accept(self) -> DeltaDiscoveryResponse:
        payload = await self._call.read()
        response = DeltaDiscoveryResponse.FromString(payload)
        await self._call.write(
            DeltaDiscoveryRequest(type_url=response.type_url, response_nonce=response.nonce)
        )
        await self._proxies.note(response.type_url, len(payload))
        return response


def route_names(response: DeltaDiscoveryResponse) -> set[str]:
    """Route configurations that the listeners of a response ask for."""
    found = set()
    for each in response.resources:
        listener = Listener.FromString(each.resource.value)
        for chain in (*listener.filter_chains, listener.default_filter_chain):
            for part in chain.filters:
                manager = HttpConnectionManager()
                if part.typed_config.Unpack(manager) and manager.rds.route_config_name:
                    found.add(manager.rds.route_config_name)
    return found


@asynccontextmanager
async def connected(target: str, proxies: Proxies) -> AsyncIterator[float]:
    """All proxies, fully configured; gives the seconds that took."""
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
        began = time.monotonic()
        simulated = []
        for number in range(PROXIES):
            options = (
                ("grpc.use_local_subchannel_pool", 1),
                ("grpc.max_receive_message_length", -1),
            )
            channel = await stack.enter_async_context(aio.insecure_channel(target, options))
            stub = channel.stream_stream(
                f"/{SERVICE}/DeltaAggregatedResources",
                request_serializer=DeltaDiscoveryRequest.SerializeToString,
            )
            simulated.append(Proxy(number, stub(), proxies))
        async with asyncio.timeout(LIMIT_SECONDS), asyncio.TaskGroup() as starting:
            for each in simulated:
                starting.create_task(each.start())
        seconds = time.monotonic() - began
        running = [tasks.create_task(each.run()) for each in simulated]
        yield seconds
        for each in running:
            each.cancel()


async def put(store: Store, text: str) -> None:
    """Write objects as Galley would."""
    for each in changes(text):
        assert each.value is not None
        await store.put(each.key, each.value)


async def measure(
    store: Store,
    pilot: PilotProcess,
    proxies: Proxies,
    name: str,
    type_url: str,
    text: Callable[[int], str],
) -> dict[str, Any]:
    """Change something again and again; each time all proxies must acknowledge."""
    seconds = []
    cpu, received = pilot.cpu_seconds, proxies.received
    for number in range(ROUNDS):
        proxies.clear()
        began = time.monotonic()
        await put(store, text(number))
        await proxies.wait(type_url, PROXIES)
        seconds.append(time.monotonic() - began)
    cuts = quantiles(seconds, n=100, method="inclusive")
    return {
        "name": f"push_{name}",
        "value": round(cuts[49] * 1000, 1),
        "unit": "ms p50",
        "p99_ms": round(cuts[98] * 1000, 1),
        "debounce_ms": DEBOUNCE.total_seconds() * 1000,
        "cpu_seconds_per_push": round((pilot.cpu_seconds - cpu) / ROUNDS, 4),
        "bytes_per_push": (proxies.received - received) // ROUNDS,
        "resident_mib": round(pilot.resident_bytes / 2**20, 1),
        "services": SERVICES,
        "proxies": PROXIES,
        "rounds": ROUNDS,
        "python": platform.python_version(),
    }


async def main() -> None:
    """Print one JSON object per kind of change."""
    configure_logging("bench", "error")
    with tempfile.TemporaryDirectory() as directory:
        async with (
            etcd_server(Path(directory)) as etcd,
            connect(EtcdConfig(endpoints=(etcd.endpoint,))) as store,
        ):
            for number in range(SERVICES):
                await put(store, SERVICE_ENTRY.format(number=number, last=2))
            flags = ("--stream-rate", "10000")
            async with pilot_process(etcd.endpoint, Path(directory), *flags) as pilot:
                await bench(store, pilot)


async def bench(store: Store, pilot: PilotProcess) -> None:
    """Connect everybody, then change endpoints, routes and services."""
    proxies = Proxies()
    cpu = pilot.cpu_seconds
    async with connected(pilot.ads, proxies) as seconds:
        start = {
            "name": "push_start",
            "value": round(seconds, 2),
            "unit": "s until all proxies are configured",
            "cpu_seconds": round(pilot.cpu_seconds - cpu, 2),
            "bytes": proxies.received,
            "resident_mib": round(pilot.resident_bytes / 2**20, 1),
            "services": SERVICES,
            "proxies": PROXIES,
        }
        results = [
            start,
            await measure(
                store,
                pilot,
                proxies,
                "endpoint",
                EDS,
                lambda number: SERVICE_ENTRY.format(number=7, last=number + 3),
            ),
            await measure(
                store,
                pilot,
                proxies,
                "route",
                RDS,
                lambda number: VIRTUAL_SERVICE.format(number=7, seconds=number + 1),
            ),
            await measure(
                store,
                pilot,
                proxies,
                "service",
                CDS,
                lambda number: SERVICE_ENTRY.format(number=SERVICES + number, last=2),
            ),
        ]
    for each in results:
        sys.stdout.write(json.dumps(each) + "\n")


if __name__ == "__main__":
    asyncio.run(main())
