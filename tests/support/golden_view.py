"""Everything a proxy would get from a view: decoded for reading, and static for Envoy to check."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

from envoy.config.bootstrap.v3.bootstrap_pb2 import Bootstrap
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.config_source_pb2 import ApiConfigSource, ApiVersion
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_components_pb2 import FilterChain
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (  # noqa: E501
    HttpConnectionManager,
)
from google.protobuf.message import Message

from mast.pilot.core.security.transport_sockets import SDS_CLUSTER
from mast.pilot.core.xds.resources import CDS, ECDS, EDS, LDS, RDS, Resource, View
from tests.support.envoy_static import bootstrap, cluster, with_routes

M = TypeVar("M", bound=Message)

ADS_CLUSTER = "xds-grpc"
"""Where secrets of the mesh's own store would come from."""


@dataclass(frozen=True)
class Resources:
    """Decoded resources by name; all but clusters and listeners are those referred to."""

    clusters: dict[str, Cluster]
    endpoints: dict[str, ClusterLoadAssignment]
    listeners: dict[str, Listener]
    routes: dict[str, RouteConfiguration]
    extensions: dict[str, TypedExtensionConfig]


def resources_of(view: View) -> Resources:
    """All that a proxy with this view ends up with."""
    clusters = view.collection(CDS)
    listeners = {each.name: _decoded(each, Listener) for each in view.collection(LDS)}
    wanted = sorted({name for each in listeners.values() for name in _route_names(each)})
    return Resources(
        clusters={each.name: _decoded(each, Cluster) for each in clusters},
        endpoints={
            name: _decoded(_present(view.named(EDS, name), name), ClusterLoadAssignment)
            for name in sorted(clusters.requires)
        },
        listeners=listeners,
        routes={
            name: _decoded(_present(view.named(RDS, name), name), RouteConfiguration)
            for name in wanted
        },
        extensions={
            name: _decoded(_present(view.named(ECDS, name), name), TypedExtensionConfig)
            for name in sorted({name for each in listeners.values() for name in _plugins(each)})
        },
    )


def static(resources: Resources) -> Bootstrap:
    """The same as static configuration, endpoints and routes in their places."""
    clusters = [_with_endpoints(each, resources) for each in resources.clusters.values()]
    listeners = with_routes(list(resources.listeners.values()), resources.routes)
    elsewhere = [cluster(name, 1, http2=True) for name in (SDS_CLUSTER, ADS_CLUSTER)]
    result = bootstrap(listeners, [*clusters, *elsewhere])
    ads = result.dynamic_resources.ads_config
    ads.api_type, ads.transport_api_version = ApiConfigSource.DELTA_GRPC, ApiVersion.V3
    ads.grpc_services.add().envoy_grpc.cluster_name = ADS_CLUSTER
    return result


def _with_endpoints(each: Cluster, resources: Resources) -> Cluster:
    result = Cluster()
    result.CopyFrom(each)
    if each.HasField("eds_cluster_config"):
        name = each.eds_cluster_config.service_name or each.name
        result.ClearField("eds_cluster_config")
        result.type = Cluster.STATIC
        result.load_assignment.CopyFrom(resources.endpoints[name])
    return result


def _route_names(listener: Listener) -> Iterator[str]:
    for chain in (*listener.filter_chains, listener.default_filter_chain):
        yield from _chain_route_names(chain)


def _chain_route_names(chain: FilterChain) -> Iterator[str]:
    for each in chain.filters:
        manager = HttpConnectionManager()
        if each.typed_config.Unpack(manager) and manager.HasField("rds"):
            yield manager.rds.route_config_name


def _plugins(listener: Listener) -> Iterator[str]:
    """Names of the filters that are configured by ECDS."""
    for chain in (*listener.filter_chains, listener.default_filter_chain):
        for each in chain.filters:
            manager = HttpConnectionManager()
            inner = manager.http_filters if each.typed_config.Unpack(manager) else ()
            yield from (
                found.name for found in (each, *inner) if found.HasField("config_discovery")
            )


def _present(resource: Resource | None, name: str) -> Resource:
    assert resource is not None, f"{name} is referred to, but there is none"
    return resource


def _decoded(resource: Resource, kind: type[M]) -> M:
    message = kind()
    message.ParseFromString(resource.body)
    return message
