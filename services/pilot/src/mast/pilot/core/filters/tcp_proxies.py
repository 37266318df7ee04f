"""Network filters of chains that carry bytes (pilot.md E10, F6)."""

from collections.abc import Iterator
from typing import Final

from envoy.config.listener.v3.listener_components_pb2 import Filter
from envoy.data.accesslog.v3.accesslog_pb2 import AccessLogType
from envoy.extensions.filters.network.mongo_proxy.v3.mongo_proxy_pb2 import MongoProxy
from envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy

from mast.pilot.core.filters.access_logs import access_logs
from mast.pilot.core.filters.extensions import Extensions, Spot
from mast.pilot.core.filters.idle_timeouts import idle_timeout
from mast.pilot.core.model.mesh import Mesh
from mast.pilot.core.model.model import Protocol
from mast.pilot.core.packing import packed

TCP_PROXY: Final = "envoy.filters.network.tcp_proxy"
MONGO_PROXY: Final = "envoy.filters.network.mongo_proxy"


def tcp_filters(
    proxy: TcpProxy,
    spot: Spot,
    mesh: Mesh,
    extensions: Extensions,
    protocol: Protocol = Protocol.TCP,
) -> tuple[Filter, ...]:
    """The filters of a chain that ends in a TCP proxy, which gets the access loggers.

    Those of the mesh log connections that end, whatever extensions want to hear of.
    Of protocols that stock Envoy can look into only Mongo is one that Istio looks into.
    """
    logged = TcpProxy()
    logged.CopyFrom(proxy)
    if (idle := idle_timeout(spot.proxy)) and not proxy.HasField("idle_timeout"):
        logged.idle_timeout.FromTimedelta(idle)
    own = access_logs(mesh)
    interval = extensions.tcp_log_interval(spot)
    if interval is not None:
        options = logged.access_log_options
        options.flush_access_log_on_connected = True
        options.access_log_flush_interval.FromTimedelta(interval)
        for each in own:
            each.filter.log_type_filter.types.append(AccessLogType.TcpConnectionEnd)
    logged.access_log.extend([*own, *extensions.tcp_access_logs(spot)])
    return tuple(_filters(logged, spot, extensions, protocol))


def to_cluster(cluster: str) -> TcpProxy:
    """A TCP proxy to one cluster, whose name prefixes its statistics (pilot.md C)."""
    return TcpProxy(stat_prefix=cluster, cluster=cluster)


def _filters(
    proxy: TcpProxy, spot: Spot, extensions: Extensions, protocol: Protocol
) -> Iterator[Filter]:
    yield from extensions.network_filters(spot)
    if protocol is Protocol.MONGO:
        mongo = MongoProxy(stat_prefix=proxy.stat_prefix)
        yield Filter(name=MONGO_PROXY, typed_config=packed(mongo))
    yield Filter(name=TCP_PROXY, typed_config=packed(proxy))
