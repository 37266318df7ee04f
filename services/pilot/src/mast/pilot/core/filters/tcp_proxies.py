"""Network filters of chains that carry bytes (pilot.md E10, F6)."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from envoy.config.listener.v3.listener_components_pb2 import Filter
from envoy.extensions.filters.network.mongo_proxy.v3.mongo_proxy_pb2 import MongoProxy
from envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import (
    TcpProxy,
    UpstreamConnectMode,
)

from istio.networking.v1alpha3.destination_rule_pb2 import ConnectionPoolSettings
from mast.pilot.core import names
from mast.pilot.core.filters.extensions import Extensions, Guard, Phase, Spot
from mast.pilot.core.filters.idle_timeouts import idle_timeout
from mast.pilot.core.model.model import Protocol
from mast.pilot.core.packing import packed

_Limits = ConnectionPoolSettings.TCPSettings

TCP_PROXY: Final = "envoy.filters.network.tcp_proxy"
MONGO_PROXY: Final = "envoy.filters.network.mongo_proxy"


def tcp_filters(
    proxy: TcpProxy,
    spot: Spot,
    extensions: Extensions,
    protocol: Protocol = Protocol.TCP,
) -> tuple[Filter, ...]:
    """The filters of a chain that ends in a TCP proxy, which gets the access loggers.

    Of protocols that stock Envoy can look into only Mongo is one that Istio looks into.
    """
    logged = TcpProxy()
    logged.CopyFrom(proxy)
    if (idle := idle_timeout(spot.proxy)) and not proxy.HasField("idle_timeout"):
        logged.idle_timeout.FromTimedelta(idle)
    interval = extensions.tcp_log_interval(spot)
    if interval is not None:
        _tell_openings(logged, interval)
    logged.access_log.extend(extensions.tcp_access_logs(spot))
    return tuple(_filters(logged, spot, extensions, protocol))


def _tell_openings(proxy: TcpProxy, interval: timedelta) -> None:
    """Log a connection when it is open, and every so often from then on (mixer_proxy.md K6).

    A server is called once its caller is known: by itself Envoy calls it during the handshake, and
    what is logged then says nothing of certificates. Connections without TLS do not wait.
    """
    options = proxy.access_log_options
    options.flush_access_log_on_connected = True
    options.access_log_flush_interval.FromTimedelta(interval)
    proxy.upstream_connect_mode = UpstreamConnectMode.ON_DOWNSTREAM_TLS_HANDSHAKE
    proxy.max_early_data_bytes.value = 0  # Envoy wants it told; nothing is read before either.


def to_cluster(cluster: str, limits: _Limits | None = None) -> TcpProxy:
    """A TCP proxy to one cluster, whose name prefixes its statistics (pilot.md C)."""
    proxy = TcpProxy(stat_prefix=cluster, cluster=cluster)
    if limits is not None and limits.HasField("idle_timeout"):
        proxy.idle_timeout.CopyFrom(limits.idle_timeout)
    return proxy


def network_plugins(spot: Spot, extensions: Extensions) -> Iterator[Filter]:
    """Plugins of all phases that see the bytes of a chain of HTTP (pilot.md E10)."""
    for phase in Phase:
        yield from extensions.network_plugins(spot, phase)


def _filters(
    proxy: TcpProxy, spot: Spot, extensions: Extensions, protocol: Protocol
) -> Iterator[Filter]:
    yield from extensions.network_filters(spot)
    leads_somewhere = proxy.cluster != names.BLACK_HOLE
    if leads_somewhere:
        yield from extensions.network_guards(spot, Guard.CUSTOM)
    yield from extensions.network_plugins(spot, Phase.AUTHN)
    yield from extensions.network_plugins(spot, Phase.AUTHZ)
    if leads_somewhere:
        yield from extensions.network_guards(spot, Guard.RULES)
    yield from extensions.network_plugins(spot, Phase.STATS)
    yield from extensions.network_plugins(spot, Phase.LAST)
    if protocol is Protocol.MONGO:
        mongo = MongoProxy(stat_prefix=proxy.stat_prefix)
        yield Filter(name=MONGO_PROXY, typed_config=packed(mongo))
    yield Filter(name=TCP_PROXY, typed_config=packed(proxy))
