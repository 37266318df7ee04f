"""Static configuration of an Envoy behind traffic capture, like Pilot's but minimal."""

from __future__ import annotations

from datetime import timedelta

from envoy.config.bootstrap.v3.bootstrap_pb2 import Bootstrap
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.address_pb2 import Address, BindConfig, SocketAddress
from envoy.config.listener.v3.listener_components_pb2 import Filter, FilterChain, ListenerFilter
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.filters.listener.original_dst.v3.original_dst_pb2 import OriginalDst
from envoy.extensions.filters.listener.original_src.v3.original_src_pb2 import OriginalSrc
from envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy
from google.protobuf.wrappers_pb2 import BoolValue

from mast.agent.core import messages
from tests.integration.agent.namespaces import Link

OUTBOUND = "PassthroughCluster"
INBOUND = "InboundPassthroughCluster"
SERVICE = "service"
SERVICE_PORT = 80
_SECOND = timedelta(seconds=1)


def bootstrap(link: Link, *, transparent: bool = False, bind_source: bool = True) -> Bootstrap:
    """Both capture listeners on IPv4 and IPv6, and a service at the VIP: the workload itself.

    ``transparent`` keeps the client's address inbound (TPROXY); else Envoy connects from
    127.0.0.6, unless ``bind_source`` is false.
    """
    result = Bootstrap()
    result.admin.address.CopyFrom(messages.socket("127.0.0.1", 15000))
    source = "127.0.0.6" if bind_source and not transparent else ""
    source6 = "::6" if bind_source and not transparent else ""
    service = messages.cluster(SERVICE, messages.socket(link.workload.ipv4, 8080), timeout=_SECOND)
    service.ClearField("alt_stat_name")
    result.static_resources.clusters.extend(
        [
            _original_destination(OUTBOUND, ""),
            _original_destination(INBOUND, source),
            _original_destination(f"{INBOUND}6", source6),
            service,
        ]
    )
    result.static_resources.listeners.extend(
        [
            _capture("virtualOutbound", "0.0.0.0", 15001, OUTBOUND, own=False),  # noqa: S104
            _capture("virtualOutbound6", "::", 15001, OUTBOUND, own=False),
            _inbound("virtualInbound", "0.0.0.0", INBOUND, transparent=transparent),  # noqa: S104
            _inbound("virtualInbound6", "::", f"{INBOUND}6", transparent=transparent),
            _service(link),
        ]
    )
    return result


def _original_destination(name: str, source: str) -> Cluster:
    cluster = Cluster(
        name=name,
        type=Cluster.ORIGINAL_DST,
        lb_policy=Cluster.CLUSTER_PROVIDED,
        connect_timeout=messages.duration(_SECOND),
    )
    if source:
        address = SocketAddress(address=source, port_value=0)
        cluster.upstream_bind_config.CopyFrom(BindConfig(source_address=address))
    return cluster


def _tcp_chain(cluster: str) -> FilterChain:
    proxy = TcpProxy(stat_prefix=cluster, cluster=cluster)
    return FilterChain(filters=[Filter(name="tcp", typed_config=messages.packed(proxy))])


def _capture(name: str, host: str, port: int, cluster: str, *, own: bool) -> Listener:
    return Listener(
        name=name,
        address=_address(host, port),
        use_original_dst=BoolValue(value=not own),
        filter_chains=[_tcp_chain(cluster)],
    )


def _inbound(name: str, host: str, cluster: str, *, transparent: bool) -> Listener:
    listener = _capture(name, host, 15006, cluster, own=True)
    destination = OriginalDst()
    listener.listener_filters.append(
        ListenerFilter(name="original_dst", typed_config=messages.packed(destination))
    )
    if transparent:
        listener.transparent.value = True
        mark = OriginalSrc(mark=1337)
        listener.listener_filters.append(
            ListenerFilter(name="original_src", typed_config=messages.packed(mark))
        )
    return listener


def _service(link: Link) -> Listener:
    """A service of the mesh at the VIP: reached only through virtualOutbound."""
    listener = _capture("service", link.vip, SERVICE_PORT, SERVICE, own=True)
    listener.bind_to_port.value = False
    return listener


def _address(host: str, port: int) -> Address:
    address = messages.socket(host, port)
    address.socket_address.ipv4_compat = False
    return address
