"""Route configurations of inbound ports: one route, to the workload (pilot.md E14)."""

from typing import Final

from envoy.config.route.v3.route_components_pb2 import (
    Decorator,
    RetryPolicy,
    Route,
    RouteAction,
    RouteMatch,
    VirtualHost,
)
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from google.protobuf.duration_pb2 import Duration
from google.protobuf.wrappers_pb2 import BoolValue, UInt32Value

from mast.pilot.core import names
from mast.pilot.core.filters.extensions import Extensions, Spot
from mast.pilot.core.model.model import Protocol

_RETRIES: Final = 2
_NO_LIMIT: Final = Duration()


def inbound_route(
    cluster: str, service_port: int, protocol: Protocol, spot: Spot, extensions: Extensions
) -> RouteConfiguration:
    """The route configuration of an inbound port, or of the passthrough cluster.

    Requests that were not sent yet when the connection broke are repeated, except gRPC; there is
    no time limit.
    """
    service = spot.service
    host = service.host if service else cluster
    action = RouteAction(cluster=cluster, timeout=_NO_LIMIT)
    action.max_stream_duration.max_stream_duration.CopyFrom(_NO_LIMIT)
    action.max_stream_duration.grpc_timeout_header_max.CopyFrom(_NO_LIMIT)
    if protocol is not Protocol.GRPC:
        action.retry_policy.CopyFrom(
            RetryPolicy(retry_on="reset-before-request", num_retries=UInt32Value(value=_RETRIES))
        )
    route = Route(
        name=names.DEFAULT_ROUTE,
        match=RouteMatch(prefix="/"),
        route=action,
        decorator=Decorator(operation=f"{host}:{service_port}/*"),
    )
    additions = extensions.destination(spot, host, service)
    additions.apply(route)
    additions.apply_metadata(route)
    virtual_host = VirtualHost(
        name=names.inbound_virtual_host(service_port), domains=["*"], routes=[route]
    )
    own = extensions.virtual_host(spot, service)
    own.apply(virtual_host)
    own.apply_metadata(virtual_host)
    return RouteConfiguration(
        name=cluster,
        virtual_hosts=[virtual_host],
        validate_clusters=BoolValue(value=False),
    )
