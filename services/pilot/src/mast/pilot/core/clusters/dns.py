"""Clusters that proxies resolve by DNS (pilot.md B16, G base)."""

from typing import Final

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.extensions.clusters.common.dns.v3.dns_pb2 import DnsLookupFamily
from envoy.extensions.clusters.dns.v3.dns_cluster_pb2 import DnsCluster
from envoy.extensions.clusters.dynamic_forward_proxy.v3.cluster_pb2 import ClusterConfig
from envoy.extensions.common.dynamic_forward_proxy.v3.dns_cache_pb2 import DnsCacheConfig
from envoy.extensions.network.dns_resolver.cares.v3.cares_dns_resolver_pb2 import (
    CaresDnsResolverConfig,
)
from google.protobuf.duration_pb2 import Duration
from google.protobuf.wrappers_pb2 import UInt32Value, UInt64Value

from mast.pilot.core.model.mesh import Mesh
from mast.pilot.core.model.proxy import Proxy
from mast.pilot.core.packing import packed, typed_extension

DNS_CLUSTER: Final = "envoy.cluster.dns"
FORWARD_PROXY_CLUSTER: Final = "envoy.clusters.dynamic_forward_proxy"
_CACHE_REFRESH: Final = Duration(seconds=60)
RESOLVER: Final = "envoy.network.dns_resolver.cares"


def apply_dns(cluster: Cluster, mesh: Mesh, proxy: Proxy, *, single_endpoint: bool) -> None:
    """Let the proxy resolve the names of the endpoints.

    `single_endpoint` treats all answers as one endpoint, the first being used: the cluster must
    have exactly one.
    """
    config = DnsCluster(
        dns_refresh_rate=mesh.config.dns_refresh_rate,
        respect_dns_ttl=True,
        dns_lookup_family=lookup_family(proxy),
        typed_dns_resolver_config=resolver(),
        all_addresses_in_single_endpoint=single_endpoint,
    )
    cluster.cluster_type.name = DNS_CLUSTER
    cluster.cluster_type.typed_config.CopyFrom(packed(config))


def apply_forward_proxy(cluster: Cluster, proxy: Proxy) -> None:
    """Let the proxy resolve the host of each request (pilot.md D, SE DYNAMIC_DNS).

    Envoy calls a cluster insecure that does not verify names by itself; this one speaks plain text
    or carries somebody else's TLS unless a DestinationRule says otherwise.
    """
    cluster.cluster_type.name = FORWARD_PROXY_CLUSTER
    config = ClusterConfig(dns_cache_config=dns_cache(proxy), allow_insecure_cluster_options=True)
    cluster.cluster_type.typed_config.CopyFrom(packed(config))
    cluster.lb_policy = Cluster.CLUSTER_PROVIDED


def dns_cache(proxy: Proxy) -> DnsCacheConfig:
    """The one cache that forward proxy clusters and their HTTP or SNI filters share.

    Nothing in it may change while a proxy runs: Envoy refuses another configuration of a name that
    is in use. So `dnsRefreshRate` does not count here; answers have a TTL anyway.
    """
    family = DnsLookupFamily.Name(lookup_family(proxy))
    return DnsCacheConfig(
        name="mast_dynamic_dns",
        dns_lookup_family=Cluster.DnsLookupFamily.Value(family),
        dns_refresh_rate=_CACHE_REFRESH,
        typed_dns_resolver_config=resolver(),
    )


def lookup_family(proxy: Proxy) -> DnsLookupFamily.ValueType:
    """The families of the proxy's own addresses."""
    if proxy.ipv4 and proxy.ipv6:
        return DnsLookupFamily.ALL
    return DnsLookupFamily.V4_ONLY if proxy.ipv4 else DnsLookupFamily.V6_ONLY


def resolver() -> TypedExtensionConfig:
    """A resolver that gives up soon: a silent one must not keep a proxy from starting (B16)."""
    return typed_extension(
        RESOLVER,
        CaresDnsResolverConfig(
            query_timeout_seconds=UInt64Value(value=1),
            query_tries=UInt32Value(value=2),
            udp_max_queries=UInt32Value(value=100),
        ),
    )
