"""A request from its program to the endpoints it may reach, and into the proxies there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import Any

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.listener.v3.listener_components_pb2 import FilterChain
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import DownstreamTlsContext

from mast.cli.envoy.configuration import connection_manager
from mast.cli.explain import chains
from mast.cli.explain.access import Author, guarded
from mast.cli.explain.http import through_manager
from mast.cli.explain.inbound import arrive
from mast.cli.explain.policies import of_requests
from mast.cli.explain.rbac import Arrival
from mast.cli.explain.routing import Share
from mast.cli.explain.site import Side, Surroundings
from mast.cli.explain.story import Cause, Story
from mast.cli.explain.traffic import HTTP_1, HTTP_2, RAW, TLS, Connection, Request
from mast.cli.explain.upstream import (
    Upstream,
    policies,
    presents_identity,
    tls_text,
    upstreams,
)
from mast.cli.inspect.clusters import cluster_type
from mast.cli.inspect.listeners import match_text
from mast.cli.inspect.tables import address_text
from mast.pilot.core import names
from mast.pilot.core.model import collection_names
from mast.pilot.core.model.model import Service
from mast.pilot.core.model.proxy import ProxyType

OUTSIDE = "203.0.113.1"
"""Stands for the address (RFC 5737) of a name that only DNS outside of the mesh knows."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a program asks for; ``scheme`` is http, https, tls or tcp.

    ``address`` is what the name resolves to if that is known, ``alpns`` and ``sni`` are those of
    TLS that the program itself speaks.
    """

    host: str
    port: int
    scheme: str = "http"
    path: str = "/"
    method: str = "GET"
    headers: Sequence[tuple[str, str]] = ()
    http2: bool = False
    address: str = ""
    source_address: str = ""
    sni: str = ""
    alpns: tuple[str, ...] = ()
    claims: Mapping[str, Any] | None = None

    @property
    def secure(self) -> bool:
        """The program itself speaks TLS."""
        return self.scheme in {"https", "tls"}

    @property
    def authority(self) -> str:
        """Host and port as an HTTP client writes them."""
        usual = {"http": 80, "https": 443}.get(self.scheme)
        return self.host if self.port == usual else f"{self.host}:{self.port}"

    def request(self, *, secure: bool) -> Request:
        """The request as the proxy reads it."""
        return Request(
            authority=dict(self.headers).get("host", self.authority),
            path=self.path,
            method=self.method,
            scheme="https" if secure else "http",
            headers=[each for each in self.headers if each[0] != "host"],
            claims=self.claims,
        )


def explain(asked: Asked, side: Side, around: Surroundings, *, onwards: bool = True) -> Story:
    """Everything that is decided about a request of the program beside a proxy.

    Beside a router the request comes from outside: it is made to the router itself. Without
    ``onwards`` the story ends where the proxy has chosen clusters.
    """
    story = Story()
    story.tell("from", side.node.id, _sidecar(side), _of_users(side, asked.port, around))
    service = side.service(asked.host)
    address = _address(asked, service, side, around, story)
    connection = Connection(
        address=address,
        port=asked.port,
        source_address=asked.source_address or side.address,
        transport=TLS if asked.secure else RAW,
        server_name=asked.sni or (asked.host if asked.secure and not _is_ip(asked.host) else ""),
        alpns=asked.alpns,
        speaks="" if asked.scheme == "tcp" else HTTP_2 if asked.http2 else HTTP_1,
    )
    listener = _listener(asked, connection, side, around, story)
    if listener is None:
        return story
    chain = _chain(listener, connection, story)
    if chain is None:
        return story
    shares, request = _through(chain, asked, connection, side, around, story)
    if onwards:
        _onwards(shares, request, connection, side, around, story)
    return story


def _sidecar(side: Side) -> list[str]:
    kind = side.proxy.interception_mode if side.proxy.type is ProxyType.SIDECAR else "router"
    labels = ", ".join(f"{key}={value}" for key, value in sorted(side.proxy.labels.items()))
    return [f"{kind}; labels {labels or 'none'}"]


def _of_users(side: Side, port: int, around: Surroundings) -> list[Cause]:
    """What users put before and into a proxy; rules of access guard what comes from outside."""
    found: list[Cause] = []
    if side.proxy.type is ProxyType.ROUTER:
        found += of_requests(side, around.causes, port)
    if side.scope.sidecar is not None:
        found.append(around.causes.of(side.scope.sidecar))
    patches = around.causes.selecting(
        collection_names.ENVOY_FILTERS, side.proxy.namespace, side.proxy.labels
    )
    return [*found, *patches]


def _is_ip(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _address(
    asked: Asked, service: Service | None, side: Side, around: Surroundings, story: Story
) -> str:
    """The address that the program dials."""
    if side.proxy.type is ProxyType.ROUTER:
        story.tell("address", f"the router itself, {side.address}:{asked.port}")
        return side.address
    causes = list(around.causes.service(service)) if service else []
    name = service.host if service else asked.host
    if asked.address or _is_ip(asked.host):
        address = asked.address or asked.host
        story.tell("address", f"{name} at {address}", (), causes)
        return address
    if service is None:
        detail = f"{OUTSIDE} stands for what DNS says; give it with --address if it matters"
        story.tell("address", f"{asked.host} is no service that the proxy sees", [detail])
        return OUTSIDE
    automatic = side.proxy.flag("DNS_CAPTURE") or side.proxy.flag("DNS_AUTO_ALLOCATE")
    vips = service.vips(side.proxy.cluster_id, automatic=automatic)
    found = [each for each in vips if "/" not in each]
    if found:
        story.tell("address", f"{name} at {found[0]}", (), causes)
        return found[0]
    if service.headless:
        ready = [
            address
            for each in side.scope.endpoints(service.key)
            if each.is_ip
            for address in each.addresses
            if side.proxy.speaks(address)
        ]
        if ready:
            story.tell("address", f"{name} is headless, an endpoint at {ready[0]}", (), causes)
            return ready[0]
    detail = f"{OUTSIDE} stands for what DNS says; give it with --address if it matters"
    story.tell("address", f"{name} has no address of its own", [detail], causes)
    return OUTSIDE


def _listener(
    asked: Asked, connection: Connection, side: Side, around: Surroundings, story: Story
) -> Listener | None:
    """The listener that gets the connection."""
    causes: Sequence[Cause] = ()
    listeners = side.configuration.listeners
    every = list(listeners.values())
    if side.captures:
        first = listeners.get(names.VIRTUAL_OUTBOUND)
        found = chains.handed_over(every, first, connection) if first else None
        how = f"captured on the way to {connection.address}:{connection.port}"
    elif side.proxy.type is ProxyType.ROUTER:
        found = chains.bound_to(every, connection.address, connection.port)
        how = "dialled by the client"
        causes = around.causes.gateways(side.proxy.labels, connection.port)
    else:
        port = side.proxy.http_proxy_port or side.scope.mesh.config.proxy_http_port
        forward = asked.scheme == "http" and port
        bind = side.proxy.outbound_bind or "127.0.0.1"
        found = chains.bound_to(every, bind, port if forward else connection.port)
        how = "used as HTTP proxy" if forward else f"dialled at {bind}"
    if found is None:
        story.tell("listener", f"refused: nobody listens ({how})", (), causes)
        return None
    story.tell("listener", f"{found.name} at {address_text(found.address)}, {how}", (), causes)
    return found


def _chain(listener: Listener, connection: Connection, story: Story) -> FilterChain | None:
    seen = chains.seen(listener, connection)
    chain = chains.filter_chain(listener, connection)
    known = [f"transport {seen.transport or 'not looked at'}"]
    known += [f"server name {seen.server_name}"] if seen.server_name else []
    known += [f"protocols {', '.join(seen.alpns)}"] if seen.alpns else []
    if chain is None:
        story.tell("chain", "closed: no filter chain matches", ["; ".join(known)])
        return None
    name = chain.name or "without a name"
    default = chain == listener.default_filter_chain
    asks = "takes what no other chain does" if default else match_text(chain.filter_chain_match)
    story.tell("chain", f"{name}: {asks}", ["; ".join(known)])
    return chain


def _through(
    chain: FilterChain,
    asked: Asked,
    connection: Connection,
    side: Side,
    around: Surroundings,
    story: Story,
) -> tuple[Sequence[Share], Request | None]:
    """Clusters that the filters of a chain send to; the request if it was read as HTTP."""
    author = Author(around.causes, side.proxy.namespace)
    if guarded(chain.filters, Arrival(connection), author, story) is None:
        return (), None
    terminated = chain.transport_socket.typed_config.Is(DownstreamTlsContext.DESCRIPTOR)
    manager = connection_manager(chain)
    if manager is not None:
        if connection.transport == TLS and not terminated:
            story.tell("protocol", "400: the program speaks TLS where the proxy expects HTTP")
            story.status = 400
            return (), None
        request = asked.request(secure=terminated)
        return through_manager(manager, request, connection, side, around, story)
    for each in chain.filters:
        proxy = TcpProxy()
        if each.typed_config.Unpack(proxy):
            return tcp_shares(proxy, story), None
    story.tell("protocol", f"{', '.join(each.name for each in chain.filters) or 'closed'}")
    return (), None


def tcp_shares(proxy: TcpProxy, story: Story) -> Sequence[Share]:
    """The clusters of a TCP proxy, by weight."""
    if proxy.HasField("weighted_clusters"):
        weighted = proxy.weighted_clusters.clusters
        total = sum(each.weight for each in weighted) or 1
        shares = [Share(each.name, 100 * each.weight / total) for each in weighted]
    else:
        shares = [Share(proxy.cluster, 100)]
    where = ", ".join(f"{each.percent:g}% to {each.cluster}" for each in shares)
    story.tell("tcp", f"bytes are passed on, {where}")
    return shares


def _onwards(
    shares: Iterable[Share],
    request: Request | None,
    connection: Connection,
    side: Side,
    around: Surroundings,
    story: Story,
) -> None:
    """Into each cluster, and into the proxy of its first endpoint."""
    for share in shares:
        story.clusters[share.cluster] = story.clusters.get(share.cluster, 0) + share.percent
        cluster = side.configuration.clusters.get(share.cluster)
        if cluster is None:
            story.status = story.status or 503
            story.tell("cluster", f"503: {share.cluster} is not known to the proxy")
            continue
        chosen = _cluster(cluster, connection, side, around, story)
        if chosen is not None:
            _into(chosen, cluster, request, connection, side, around, story)


def _cluster(
    cluster: Cluster, connection: Connection, side: Side, around: Surroundings, story: Story
) -> Upstream | None:
    parts = names.parse_outbound_cluster(cluster.name)
    causes = list(around.causes.cluster(cluster, parts.subset if parts else ""))
    story.tell("cluster", f"{cluster.name} ({cluster_type(cluster)})", policies(cluster), causes)
    if cluster.name == names.BLACK_HOLE:
        story.tell("endpoint", "none: nothing gets any further")
        return None
    if cluster.type == Cluster.ORIGINAL_DST and not cluster.HasField("cluster_type"):
        story.tell("endpoint", f"{connection.address}:{connection.port}, as it was dialled")
        return None
    found = upstreams(cluster, side.configuration.endpoints_of(cluster))
    if not found:
        story.tell("endpoint", "503: there is none")
        story.status = story.status or 503
        return None
    chosen = next((each for each in found if each.takes_requests), found[0])
    story.tell("endpoint", f"one of {len(found)}", [each.text for each in found])
    return chosen


def _into(
    chosen: Upstream,
    cluster: Cluster,
    request: Request | None,
    connection: Connection,
    side: Side,
    around: Surroundings,
    story: Story,
) -> None:
    socket = chosen.endpoint.endpoint.address.socket_address
    other = around.at(socket.address)
    where = f"{tls_text(chosen.tls)} to {address_text(chosen.endpoint.endpoint.address)}"
    story.tell("towards", where)
    if other is None:
        return
    alpns = tuple(chosen.tls.common_tls_context.alpn_protocols) if chosen.tls else ()
    if chosen.tls and request is not None and not alpns:
        # Clusters that speak as their client does get their ALPN from the route (pilot.md E11).
        http2 = connection.speaks == HTTP_2
        alpns = names.MTLS_HTTP_2 if http2 else names.MTLS_HTTP_1
    arriving = replace(
        connection,
        address=socket.address,
        port=socket.port_value,
        source_address=side.address,
        transport=TLS if chosen.tls else connection.transport,
        server_name=chosen.tls.sni if chosen.tls else connection.server_name,
        alpns=alpns if chosen.tls else connection.alpns,
        identities=(side.identity,) if chosen.tls and presents_identity(chosen.tls) else (),
    )
    arrive(arriving, request, other, around, story)
