"""Pilot's ADS over resources that a test states, and an Envoy that gets everything from it."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import aiohttp
from envoy.config.bootstrap.v3.bootstrap_pb2 import Bootstrap
from envoy.config.core.v3.config_source_pb2 import ApiConfigSource
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2,
)
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2
from google.protobuf.json_format import ParseDict
from grpc import aio

from mast.common.identity.spiffe import SpiffeId
from mast.common.process.serving import Listen, serving
from mast.common.process.telemetry import Metrics
from mast.pilot.api import ads
from mast.pilot.api.ads import AdsService, Door
from mast.pilot.api.connection import Connection, Facilities
from mast.pilot.api.connections import Connections
from mast.pilot.api.instruments import BUCKETS, Instruments
from mast.pilot.core.model.proxy import Proxy
from mast.pilot.core.xds.admission import TokenBucket
from mast.pilot.core.xds.push import Push
from mast.pilot.core.xds.resources import LDS, Resource, resource
from mast.pilot.core.xds.watch import Instant
from tests.fakes.pilot_views import FakeMesh

T = TypeVar("T")

# Messages that appear by name only must be known to the parser.
_NAMED = (router_pb2, http_connection_manager_pb2, http_protocol_options_pb2)

NODE_ID = "sidecar~127.0.0.1~web-1.shop~shop.svc.cluster.local"


class MachineClock:
    """The clock of the machine."""

    def now(self) -> datetime:
        return datetime.fromtimestamp(time.clock_gettime(time.CLOCK_REALTIME), tz=UTC)

    def instant(self) -> Instant:
        return timedelta(seconds=time.monotonic())


class OneThread:
    """Runs the core on a thread of its own, as Pilot does."""

    def __init__(self, thread: ThreadPoolExecutor) -> None:
        self._thread = thread

    async def __call__(self, task: Callable[[], T], /) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, task)


class NobodyRegisters:
    """A registrar for proxies that do not register themselves."""

    revision = 0

    def found(self, healthy: bool, /) -> None:
        del healthy

    @asynccontextmanager
    async def registered(
        self, proxy: Proxy, identity: SpiffeId | None
    ) -> AsyncIterator["NobodyRegisters"]:
        del proxy, identity
        yield self


class NothingAside:
    """Lets everybody have what they want, and answers nothing else."""

    def admit(self, proxy: Proxy, identity: SpiffeId | None) -> None:
        del proxy, identity

    async def answer(
        self, proxy: Proxy, identity: SpiffeId | None, type_url: str, names: Sequence[str]
    ) -> None:
        del proxy, identity, type_url, names


@dataclass
class Ads:
    """A running ADS: change `mesh`, then `push`."""

    mesh: FakeMesh
    connections: Connections
    metrics: Metrics
    port: int = 0
    closed: list[Connection] = field(default_factory=list)

    async def push(self, registered: int = 0) -> None:
        number = self.connections.next_number()
        now = self.connections.facilities.clock.instant()
        await self.connections.publish(
            Push(number, self.mesh.snapshot(), now, registered=registered)
        )

    def watch(self, type_url: str, index: int = 0) -> Any:
        """State of a type on one of the open streams."""
        connection = list(self.connections.open.values())[index]
        return connection.session.state.watches.get(type_url)

    def metric(self, name: str) -> float:
        """Sum of a counter over its labels."""
        lines = self.metrics.render().splitlines()
        return sum(float(each.rsplit(" ", 1)[1]) for each in lines if each.startswith(name))


@asynccontextmanager
async def ads_server(
    mesh: FakeMesh,
    *,
    port: int = 0,
    address: str = "",
    door: Door | None = None,
    admission: TokenBucket | None = None,
    send_timeout: timedelta = timedelta(seconds=10),
    synced: bool = True,
    slots: int = 25,
    registrar: Any = None,
    also: Callable[[Connections], Any] | None = None,
    asides: Callable[[Connections], Any] | None = None,
) -> AsyncIterator[Ads]:
    """Serve the mesh; `synced` pushes it at once, `also` makes one more service.

    `asides` answers what is asked beside configuration; nobody does without it.
    """
    metrics = Metrics("pilot", buckets=BUCKETS)
    with ThreadPoolExecutor(1) as thread:
        facilities = Facilities(
            OneThread(thread),
            MachineClock(),
            Instruments(metrics, "test"),
            asyncio.Semaphore(slots),
            send_timeout,
        )
        connections = Connections(facilities, b"")
        running = Ads(mesh, connections, metrics)
        service = AdsService(
            door or Door(),
            connections,
            admission or TokenBucket(1000, 1000),
            registrar or NobodyRegisters(),
            asides(connections) if asides else NothingAside(),
            lambda connection: None,
            running.closed.append,
        )
        if synced:
            await running.push()

        def register(server: aio.Server) -> None:
            service.register(server)
            if also is not None:
                also(connections).register(server)

        async with serving(
            register,
            [Listen(address or f"127.0.0.1:{port}", name="ads")],
            services=(ads.SERVICE,),
            grace=timedelta(seconds=0.2),
        ) as server:
            running.port = server.ports[0]
            yield running
            connections.drain(timedelta(), random.random)


def bootstrap(port: int, *, delta: bool, metadata: dict[str, Any] | None = None) -> Bootstrap:
    """Everything over one ADS stream, as Pilot's agents write it (pilot.md A6)."""
    kind = ApiConfigSource.DELTA_GRPC if delta else ApiConfigSource.GRPC
    api = {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"}
    return ParseDict(
        {
            "node": {"id": NODE_ID, "cluster": "web.shop", "metadata": metadata or {}},
            "dynamic_resources": {
                "ads_config": {
                    "api_type": ApiConfigSource.ApiType.Name(kind),
                    "transport_api_version": "V3",
                    "set_node_on_first_message_only": True,
                    "grpc_services": [{"envoy_grpc": {"cluster_name": "xds-grpc"}}],
                },
                "cds_config": api,
                "lds_config": api,
            },
            "static_resources": {
                "clusters": [
                    {
                        "name": "xds-grpc",
                        "type": "STATIC",
                        "connect_timeout": "1s",
                        "load_assignment": {
                            "cluster_name": "xds-grpc",
                            "endpoints": [{"lb_endpoints": [_endpoint(port)]}],
                        },
                        "typed_extension_protocol_options": {
                            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                                "@type": "type.googleapis.com/"
                                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                                "explicit_http_config": {"http2_protocol_options": {}},
                            }
                        },
                    }
                ]
            },
        },
        Bootstrap(),
    )


def _endpoint(port: int) -> dict[str, Any]:
    address = {"address": "127.0.0.1", "port_value": port}
    return {"endpoint": {"address": {"socket_address": address}}}


async def until(condition: Callable[[], Any], seconds: float = 30) -> None:
    """Return as soon as a condition that may be asynchronous holds."""
    async with asyncio.timeout(seconds):
        while True:
            found = condition()
            if asyncio.iscoroutine(found):
                found = await found
            if found:
                return
            await asyncio.sleep(0.01)


def http_listener(name: str, route: str, *, stat: str = "in", bad: bool = False) -> Resource:
    """A listener on a port of its own choice that gets its routes over ADS."""
    config: dict[str, Any] = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network."
        "http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": stat,
        "rds": {
            "route_config_name": route,
            "config_source": {
                "ads": {},
                "resource_api_version": "V3",
                "initial_fetch_timeout": "0s",
            },
        },
        "http_filters": [
            {
                "name": "router",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
                },
            }
        ],
    }
    if bad:
        config["http_filters"].insert(0, {"name": "unheard.of"})
    message = ParseDict(
        {
            "name": name,
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
            "filter_chains": [{"filters": [{"name": "hcm", "typed_config": config}]}],
        },
        Listener(),
    )
    return resource(name, LDS, message, requires=[route])


@dataclass
class Load:
    """Requests to one address, one after the other; `failures` are answers other than 200."""

    url: str
    host: str
    answers: int = 0
    failures: list[str] = field(default_factory=list)

    async def run(self) -> None:
        """Until cancelled."""
        async with aiohttp.ClientSession() as client:
            while True:
                try:
                    async with client.get(self.url, headers={"host": self.host}) as response:
                        await response.read()
                        status = response.status
                except aiohttp.ClientError as error:
                    self.failures.append(repr(error))
                    continue
                self.answers += 1
                if status != 200:
                    flags = response.headers.get("x-flags", "")
                    self.failures.append(f"{status} {flags}")


@asynccontextmanager
async def load(where: int | str, host: str = "web") -> AsyncIterator[Load]:
    """Requests to a port or URL, as fast as they are answered, in the block; none may fail."""
    running = Load(f"http://127.0.0.1:{where}/" if isinstance(where, int) else where, host)
    async with asyncio.TaskGroup() as tasks:
        working = tasks.create_task(running.run())
        await until(lambda: running.answers > 3)
        yield running
        before = running.answers
        await until(lambda: running.answers > before + 3)
        working.cancel()
    assert running.failures == []
