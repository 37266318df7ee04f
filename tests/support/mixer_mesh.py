"""A real Envoy that asks Mixer's Envoy faces, with an engine that tests script."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar

import grpc.aio
from envoy.config.bootstrap.v3.bootstrap_pb2 import Bootstrap
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.base_pb2 import TransportSocket
from envoy.config.endpoint.v3.endpoint_components_pb2 import LbEndpoint
from envoy.config.listener.v3.listener_components_pb2 import Filter, ListenerFilter
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_components_pb2 import Route, RouteAction, RouteMatch, VirtualHost
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.http.ext_authz.v3.ext_authz_pb2 import ExtAuthz
from envoy.extensions.filters.http.router.v3.router_pb2 import Router
from envoy.extensions.filters.listener.tls_inspector.v3.tls_inspector_pb2 import TlsInspector
from envoy.extensions.filters.network.ext_authz.v3.ext_authz_pb2 import ExtAuthz as TcpExtAuthz
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (  # noqa: E501
    HttpConnectionManager,
    HttpFilter,
)
from envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import DownstreamTlsContext
from envoy.extensions.upstreams.http.v3.http_protocol_options_pb2 import HttpProtocolOptions

from istio.mesh.v1alpha1.config_pb2 import MeshConfig
from mast.mixer.api.admission import Admission
from mast.mixer.core.dictionary import WORDS
from mast.mixer.core.engine import SUCCESS, CheckVerdict, QuotaAsk, QuotaGrant, Reads
from mast.mixer.core.shedding import LatencyLimiter, Mode, RateLimiter, Shedder
from mast.mixer.core.values import Attributes
from mast.mixer.core.workloads import Pod
from mast.pilot.core.filters.extensions import Direction, Spot
from mast.pilot.core.filters.tcp_proxies import tcp_filters
from mast.pilot.core.mixer.filters import MixerExtensions
from mast.pilot.core.model.mesh import Mesh, complete
from mast.pilot.core.model.model import Port, Protocol, Service
from mast.pilot.core.model.proxy import Proxy, ProxyType
from mast.pilot.core.packing import packed

_Filter = TypeVar("_Filter", HttpFilter, Filter)

POLICY = "istio-policy.istio-system.svc.cluster.local"
TELEMETRY = "istio-telemetry.istio-system.svc.cluster.local"
MIXER_PORT = 15004
NODE_ID = "sidecar~127.0.0.1~ratings-1.default~default.svc.cluster.local"

RATINGS = Service(
    host="ratings.default.svc.cluster.local",
    namespace="default",
    name="ratings",
    ports=(Port(name="http", number=9080, target_port=9080, protocol=Protocol.HTTP),),
)


@dataclass
class Pods:
    """A registry of workloads by address only."""

    by_address: dict[bytes, Pod] = field(default_factory=dict)
    generation: int = 0

    def find(self, uid: str, address: bytes | None) -> Pod | None:
        return None if uid else self.by_address.get(address or b"")


def allow(*, seconds: float = 60, uses: int = 10000, **changes: object) -> CheckVerdict:
    """An OK verdict; ``changes`` set further fields."""
    return CheckVerdict(
        status=SUCCESS,
        valid_duration=timedelta(seconds=seconds),
        valid_use_count=uses,
        **{"referenced": (), **changes},  # type: ignore[arg-type]
    )


@dataclass
class ScriptedEngine:
    """Answers what ``answer`` gives; keeps what it was asked and told."""

    answer: Callable[[Attributes], CheckVerdict] = lambda _: allow()
    grant: Callable[[str, QuotaAsk], QuotaGrant] | None = None
    checked: list[Attributes] = field(default_factory=list)
    asked: list[Mapping[str, QuotaAsk]] = field(default_factory=list)
    reported: list[Attributes] = field(default_factory=list)
    check_reads: Reads = field(default_factory=Reads)
    report_reads: Reads = field(default_factory=lambda: Reads(frozenset(WORDS)))
    deduplication_ids: list[str] = field(default_factory=list)
    reports: asyncio.Event = field(default_factory=asyncio.Event)

    async def check(
        self,
        attributes: Attributes,
        quotas: Mapping[str, QuotaAsk] | None = None,
        *,
        deduplication_id: str = "",
    ) -> CheckVerdict:
        self.checked.append(attributes)
        self.asked.append(quotas or {})
        self.deduplication_ids.append(deduplication_id)
        verdict = self.answer(attributes)
        if verdict.status.code or not quotas or self.grant is None:
            return verdict
        granted = {name: self.grant(name, ask) for name, ask in quotas.items()}
        return CheckVerdict(
            verdict.status,
            verdict.valid_duration,
            verdict.valid_use_count,
            verdict.referenced,
            verdict.directive,
            granted,
        )

    async def report(self, records: Sequence[Attributes]) -> Sequence[str]:
        self.reported.extend(records)
        self.reports.set()
        return ()


def mesh(**settings: object) -> Mesh:
    """A MeshConfig with Mixer in it, unless the settings say else."""
    servers = {
        "mixer_check_server": f"{POLICY}:{MIXER_PORT}",
        "mixer_report_server": f"{TELEMETRY}:{MIXER_PORT}",
    }
    config = MeshConfig(**{**servers, **settings})  # type: ignore[arg-type]
    return Mesh(config=complete(config))


def proxy(kind: ProxyType = ProxyType.SIDECAR, **metadata: object) -> Proxy:
    """The sidecar of a ratings pod."""
    return Proxy(
        node_id=NODE_ID,
        type=kind,
        ip_addresses=("127.0.0.1",),
        id="ratings-1.default",
        dns_domain="default.svc.cluster.local",
        namespace="default",
        metadata=metadata,
    )


def spot(
    direction: Direction = Direction.INBOUND,
    kind: ProxyType = ProxyType.SIDECAR,
    **metadata: object,
) -> Spot:
    """A place in that sidecar's listeners, or in those of a gateway."""
    service = RATINGS if direction is Direction.INBOUND else None
    return Spot(proxy=proxy(kind, **metadata), direction=direction, port=9080, service=service)


@dataclass(frozen=True, kw_only=True)
class Stand:
    """A place with its listeners ``http`` and ``tcp``, or ``http-NAME`` and ``tcp-NAME``.

    ``filters`` and ``network_filters`` come before those that check; ``routes`` before the one to
    the application. ``deadline`` is that of checks: a busy machine needs more than Pilot gives.
    """

    extensions: MixerExtensions
    where: Spot
    name: str = ""
    filters: Sequence[HttpFilter] = ()
    network_filters: Sequence[Filter] = ()
    routes: Sequence[Route] = ()
    listener_filters: Sequence[ListenerFilter] = ()
    tls: DownstreamTlsContext | None = None
    deadline: timedelta = timedelta(seconds=30)

    @property
    def cluster(self) -> str:
        """What leads to the application."""
        inbound = self.where.direction is Direction.INBOUND
        return "inbound|9080||" if inbound else f"outbound|9080||{RATINGS.host}"

    def listeners(self) -> Sequence[Listener]:
        """The two listeners."""
        suffix = f"-{self.name}" if self.name else ""
        found = [
            _listener(f"http{suffix}", [self._http()]),
            _listener(f"tcp{suffix}", self._tcp()),
        ]
        for each in found:
            each.listener_filters.extend(self.listener_filters)
            if self.tls:
                socket = TransportSocket(name="tls", typed_config=packed(self.tls))
                each.filter_chains[0].transport_socket.CopyFrom(socket)
                inspector = packed(TlsInspector())
                each.listener_filters.add(name="tls_inspector", typed_config=inspector)
        return found

    def _http(self) -> Filter:
        extensions, where = self.extensions, self.where
        last = Route(match=RouteMatch(prefix="/"), route=RouteAction(cluster=self.cluster))
        routes = [*self.routes, last]
        additions = extensions.destination(where, RATINGS.host, RATINGS)
        for route in routes:
            additions.apply(route)
            additions.apply_metadata(route)
        manager = HttpConnectionManager(
            stat_prefix="http",
            http_filters=[
                *extensions.http_filters(where),
                *self.filters,
                *(self._patient(each, ExtAuthz()) for each in extensions.checks(where)),
                HttpFilter(name="envoy.filters.http.router", typed_config=packed(Router())),
            ],
            access_log=extensions.http_access_logs(where),
            route_config=RouteConfiguration(
                name="http", virtual_hosts=[VirtualHost(name="all", domains=["*"], routes=routes)]
            ),
        )
        manager.use_remote_address.value = where.proxy.type is ProxyType.ROUTER
        return Filter(name="http", typed_config=packed(manager))

    def _tcp(self) -> Sequence[Filter]:
        """As Pilot makes them, but for a shorter time between logs."""
        to_cluster = TcpProxy(stat_prefix="tcp", cluster=self.cluster)
        made = tcp_filters(to_cluster, self.where, self.extensions)
        proxied = TcpProxy()
        made[-1].typed_config.Unpack(proxied)
        if proxied.HasField("access_log_options"):
            proxied.access_log_options.access_log_flush_interval.FromSeconds(1)
        made[-1].typed_config.CopyFrom(packed(proxied))
        return [*self.network_filters, *(self._patient(each, TcpExtAuthz()) for each in made)]

    def _patient(self, made: _Filter, check: ExtAuthz | TcpExtAuthz) -> _Filter:
        """A filter, with the deadline if it checks."""
        if made.typed_config.Unpack(check):
            check.grpc_service.timeout.FromTimedelta(self.deadline)
            made.typed_config.CopyFrom(packed(check))
        return made


def bootstrap(
    extensions: MixerExtensions, where: Spot, mixer_port: int, app_port: int
) -> Bootstrap:
    """Listeners ``http`` and ``tcp`` in front of one program, with Mixer's filters."""
    servers = {POLICY: mixer_port, TELEMETRY: mixer_port}
    return with_stands([Stand(extensions=extensions, where=where)], servers, app_port)


def with_stands(
    stands: Sequence[Stand], servers: Mapping[str, int], app_port: int, node_id: str = NODE_ID
) -> Bootstrap:
    """The listeners of several places in front of one program; ``servers`` are ports by host."""
    result = Bootstrap()
    result.node.id = node_id
    result.node.cluster = "ratings.default"
    for host, port in servers.items():
        cluster = result.static_resources.clusters.add()
        cluster.CopyFrom(_cluster(f"outbound|{MIXER_PORT}||{host}", port))
        options = HttpProtocolOptions()
        options.explicit_http_config.http2_protocol_options.SetInParent()
        cluster.typed_extension_protocol_options[
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
        ].CopyFrom(packed(options))
    for name in sorted({each.cluster for each in stands}):
        result.static_resources.clusters.append(_cluster(name, app_port))
    for each in stands:
        result.static_resources.listeners.extend(each.listeners())
    return result


def _cluster(name: str, port: int) -> Cluster:
    cluster = Cluster(name=name, type=Cluster.STATIC)
    cluster.connect_timeout.FromTimedelta(timedelta(seconds=1))
    cluster.load_assignment.cluster_name = name
    endpoint = LbEndpoint()
    endpoint.endpoint.address.socket_address.address = "127.0.0.1"
    endpoint.endpoint.address.socket_address.port_value = port
    cluster.load_assignment.endpoints.add().lb_endpoints.append(endpoint)
    return cluster


def _listener(name: str, filters: Sequence[Filter]) -> Listener:
    listener = Listener(name=name)
    listener.address.socket_address.address = "127.0.0.1"
    listener.address.socket_address.port_value = 0
    listener.filter_chains.add().filters.extend(filters)
    return listener


@dataclass
class Application:
    """A program that answers HTTP requests and keeps their headers."""

    port: int
    requests: list[dict[str, str]] = field(default_factory=list)


@asynccontextmanager
async def application(extra: str = "") -> AsyncIterator[Application]:
    """An HTTP/1 server with keep-alive; ``extra`` are header lines of its responses.

    Requests for ``/silent`` get no response.
    """

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = head.decode().split("\r\n")[1:]
                pairs = [line.partition(": ")[::2] for line in lines if line]
                app.requests.append({name.lower(): value for name, value in pairs})
                if head.split(b" ")[1] == b"/silent":
                    continue
                writer.write(f"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n{extra}\r\nok".encode())
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    app = Application(server.sockets[0].getsockname()[1])
    async with server:
        yield app


@asynccontextmanager
async def mixer(register: Callable[[grpc.aio.Server], None], port: int = 0) -> AsyncIterator[int]:
    """A gRPC server with what ``register`` adds, and its port."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    register(server)
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield bound
    finally:
        await server.stop(None)


def admit_all() -> Admission:
    """An admission that takes every call on."""
    return admission(Mode.DISABLED)


def admission(mode: Mode, rate: float = 0, burst: int = 0) -> Admission:
    """An admission by rate; ``rate`` is per second, 0 means any."""
    shedder = Shedder(mode, RateLimiter(rate, burst), LatencyLimiter(0, 1, 0))
    return Admission(shedder, time.monotonic, lambda _: None)
