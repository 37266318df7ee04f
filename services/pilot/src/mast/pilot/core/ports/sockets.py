"""Sockets of listeners: where they bind, what they detect, what all of them have in common."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from envoy.config.accesslog.v3.accesslog_pb2 import AccessLog
from envoy.config.core.v3.address_pb2 import Address, Pipe, SocketAddress
from envoy.config.core.v3.base_pb2 import TrafficDirection
from envoy.config.listener.v3.listener_components_pb2 import (
    ListenerFilter,
    ListenerFilterChainMatchPredicate,
)
from envoy.config.listener.v3.listener_pb2 import AdditionalAddress, Listener
from envoy.extensions.filters.listener.http_inspector.v3.http_inspector_pb2 import HttpInspector
from envoy.extensions.filters.listener.original_dst.v3.original_dst_pb2 import OriginalDst
from envoy.extensions.filters.listener.original_src.v3.original_src_pb2 import OriginalSrc
from envoy.extensions.filters.listener.tls_inspector.v3.tls_inspector_pb2 import TlsInspector
from envoy.type.v3.range_pb2 import Int32Range
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import UInt32Value

from mast.pilot.core import names
from mast.pilot.core.filters.extensions import Direction
from mast.pilot.core.model.mesh import Mesh
from mast.pilot.core.model.proxy import InterceptionMode, Proxy
from mast.pilot.core.packing import packed
from mast.pilot.core.ports.filter_chains import PLAIN_HTTP, Chain, filter_chain, filter_chains

ORIGINAL_DST: Final = "envoy.filters.listener.original_dst"
ORIGINAL_SRC: Final = "envoy.filters.listener.original_src"
TLS_INSPECTOR: Final = "envoy.filters.listener.tls_inspector"
HTTP_INSPECTOR: Final = "envoy.filters.listener.http_inspector"

TPROXY_MARK: Final = 1337
"""Packet mark by which iptables knows the proxy's own connections (pilot.md E8)."""

UNIX: Final = "unix://"

_STATUS_PORTS: Final = frozenset({15021, 15090})
_PROXY_PORTS: Final = _STATUS_PORTS | {15000, 15001, 15004, 15006, 15020, 15053}
"""Ports on which the proxy and its agent listen themselves (pilot.md A, E6)."""

_PRIVILEGED: Final = 1024

_EXACT_BALANCE: Final = {
    Direction.INBOUND: "INBOUND_LISTENER_EXACT_BALANCE",
    Direction.OUTBOUND: "OUTBOUND_LISTENER_EXACT_BALANCE",
}
_TRAFFIC: Final = {
    Direction.INBOUND: TrafficDirection.INBOUND,
    Direction.OUTBOUND: TrafficDirection.OUTBOUND,
}


@dataclass(frozen=True, kw_only=True)
class Socket:
    """Where a listener listens.

    `address` is an IP or, with port 0, the path of a Unix socket. Without `bound` Envoy opens no
    socket: the listener takes connections that were captured for its address.
    """

    address: str
    port: int = 0
    bound: bool = False

    @property
    def name(self) -> str:
        """Name of the listener there (pilot.md C)."""
        return names.listener(self.address, self.port) if self.port else self.address

    @property
    def is_wildcard(self) -> bool:
        """It takes any address."""
        return self.address in ("0.0.0.0", "::")  # noqa: S104 - compared, not bound


@dataclass(frozen=True, kw_only=True)
class Draft:
    """What tells one listener from another; `default` takes what no chain matches."""

    name: str
    socket: Socket
    direction: Direction
    chains: Sequence[Chain]
    default: Chain | None = None
    listener_filters: Sequence[ListenerFilter] | None = None
    """Listener filters; None means those that the chains need."""
    access_log: Sequence[AccessLog] = ()


def any_address(proxy: Proxy) -> str:
    """The address that stands for all of a proxy's first IP version."""
    return "0.0.0.0" if proxy.ipv4 else "::"  # noqa: S104 - sidecars take all captured traffic


def loopback(proxy: Proxy) -> str:
    """The loopback address of a proxy's first IP version."""
    return "127.0.0.1" if proxy.ipv4 else "::1"


def listener(draft: Draft, proxy: Proxy, mesh: Mesh, *, quic: bool = False) -> Listener:
    """The message of a listener (pilot.md E7, E8), of one for QUIC on UDP (I6)."""
    socket = draft.socket
    filters = draft.listener_filters
    if filters is None:
        filters = inspectors(draft.chains)
    result = Listener(
        name=draft.name,
        address=_address(socket.address, socket.port),
        filter_chains=filter_chains(draft.chains),
        listener_filters=filters,
        continue_on_listener_filters_timeout=True,
        traffic_direction=_TRAFFIC[draft.direction],
        access_log=draft.access_log,
        max_connections_to_accept_per_socket_event=UInt32Value(value=1),
    )
    if quic:
        _speak_quic(result)
    if socket.is_wildcard and proxy.ipv4 and proxy.ipv6:
        result.additional_addresses.append(AdditionalAddress(address=_address("::", socket.port)))
    if not socket.bound:
        result.bind_to_port.value = False
    if draft.default:
        result.default_filter_chain.CopyFrom(filter_chain(draft.default))
    timeout = Duration()
    if any(each.name == HTTP_INSPECTOR for each in filters):
        timeout.CopyFrom(mesh.config.protocol_detection_timeout)
    result.listener_filters_timeout.CopyFrom(timeout)
    if proxy.flag(_EXACT_BALANCE[draft.direction]):
        result.connection_balance_config.exact_balance.SetInParent()
    return result


def _speak_quic(result: Listener) -> None:
    result.address.socket_address.protocol = SocketAddress.UDP
    result.udp_listener_config.quic_options.SetInParent()
    result.udp_listener_config.downstream_socket_config.prefer_gro.value = True
    result.ClearField("max_connections_to_accept_per_socket_event")


def capture(result: Listener, proxy: Proxy) -> None:
    """Make a listener the one that iptables sends traffic to, in the proxy's mode (pilot.md E8)."""
    if proxy.interception_mode is InterceptionMode.TPROXY:
        result.transparent.value = True


def captures(proxy: Proxy) -> bool:
    """Traffic reaches the proxy by iptables; else the application dials the proxy (pilot.md E8)."""
    return proxy.interception_mode is not InterceptionMode.NONE


def outbound_bind(proxy: Proxy) -> str:
    """The address that outbound listeners bind to if the application is to dial them."""
    return proxy.outbound_bind or loopback(proxy)


def can_bind(proxy: Proxy, mesh: Mesh, socket: Socket) -> bool:
    """Whether a listener may take a socket: not one of the proxy's, nor one it has no right to."""
    if socket.bound:
        privileged = 0 < socket.port < _PRIVILEGED and proxy.flag("UNPRIVILEGED_POD")
        return not privileged and socket.port not in _PROXY_PORTS
    captured = {mesh.config.proxy_listen_port, mesh.config.proxy_inbound_listen_port}
    return not socket.is_wildcard or socket.port not in captured | _STATUS_PORTS


def inspectors(chains: Iterable[Chain]) -> list[ListenerFilter]:
    """The listener filters that detect what chains match (pilot.md E7)."""
    chains = list(chains)
    found = []
    if any(each.snis or each.transport or each.alpns for each in chains):
        found.append(tls_inspector())
    if any(set(PLAIN_HTTP) & set(each.alpns) for each in chains):
        found.append(http_inspector())
    return found


def tls_inspector(without: Sequence[int] = ()) -> ListenerFilter:
    """Detects TLS, server name and ALPN, except on some destination ports."""
    return _listener_filter(TLS_INSPECTOR, TlsInspector(), without)


def http_inspector(without: Sequence[int] = ()) -> ListenerFilter:
    """Detects HTTP in plain text, except on some destination ports."""
    return _listener_filter(HTTP_INSPECTOR, HttpInspector(), without)


def original_destination(proxy: Proxy) -> list[ListenerFilter]:
    """Restores the address that a client dialled, with TPROXY also the client's own."""
    found = [_listener_filter(ORIGINAL_DST, OriginalDst())]
    if proxy.interception_mode is InterceptionMode.TPROXY:
        found.append(_listener_filter(ORIGINAL_SRC, OriginalSrc(mark=TPROXY_MARK)))
    return found


def _listener_filter(name: str, config: Message, without: Sequence[int] = ()) -> ListenerFilter:
    result = ListenerFilter(name=name, typed_config=packed(config))
    rules = [
        ListenerFilterChainMatchPredicate(
            destination_port_range=Int32Range(start=port, end=port + 1)
        )
        for port in sorted(without)
    ]
    if len(rules) == 1:
        result.filter_disabled.CopyFrom(rules[0])
    elif rules:
        result.filter_disabled.or_match.rules.extend(rules)
    return result


def _address(address: str, port: int) -> Address:
    if port == 0:
        return Address(pipe=Pipe(path=address))
    return Address(socket_address=SocketAddress(address=address, port_value=port))
