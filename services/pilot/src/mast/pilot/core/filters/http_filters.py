"""HTTP filters of a sidecar's connection managers, in their order (pilot.md E10)."""

from collections.abc import Iterator, Sequence

from envoy.extensions.filters.http.cors.v3.cors_pb2 import Cors
from envoy.extensions.filters.http.fault.v3.fault_pb2 import HTTPFault
from envoy.extensions.filters.http.grpc_stats.v3.config_pb2 import FilterConfig as GrpcStats
from envoy.extensions.filters.http.grpc_web.v3.grpc_web_pb2 import GrpcWeb
from envoy.extensions.filters.http.router.v3.router_pb2 import Router
from envoy.extensions.filters.http.stateful_session.v3.stateful_session_pb2 import StatefulSession
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (  # noqa: E501
    HttpFilter,
)
from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import BoolValue

from mast.pilot.core.filters.alpn import alpn_filter
from mast.pilot.core.filters.cors import CORS_FILTER
from mast.pilot.core.filters.extensions import Direction, Extensions, Guard, Phase, Spot
from mast.pilot.core.filters.faults import FAULT_FILTER
from mast.pilot.core.filters.on_demand import on_demand_filter
from mast.pilot.core.filters.persistent_sessions import STATEFUL_SESSION_FILTER
from mast.pilot.core.model.model import Protocol
from mast.pilot.core.packing import packed


def http_filters(
    spot: Spot, protocol: Protocol, extensions: Extensions, last: Sequence[HttpFilter] = ()
) -> Iterator[HttpFilter]:
    """The filters of one connection manager; the router is the last (pilot.md E10).

    `protocol` is that of the port: GRPC-WEB is translated to gRPC on the way in. Filters that find
    out where a request goes stand in `last`, right before the router.
    """
    if spot.direction is Direction.OUTBOUND and spot.proxy.on_demand:
        yield on_demand_filter()
    yield from extensions.http_filters(spot)
    yield from extensions.guards(spot, Guard.CUSTOM)
    yield from extensions.plugins(spot, Phase.AUTHN)
    yield from extensions.guards(spot, Guard.TOKENS)
    yield from extensions.plugins(spot, Phase.AUTHZ)
    yield from extensions.guards(spot, Guard.RULES)
    yield from extensions.checks(spot)
    yield from extensions.plugins(spot, Phase.STATS)
    yield from extensions.plugins(spot, Phase.LAST)
    if protocol is Protocol.GRPC_WEB:
        yield _filter("envoy.filters.http.grpc_web", GrpcWeb())
    yield _filter(
        "envoy.filters.http.grpc_stats",
        GrpcStats(emit_filter_state=True, stats_for_all_methods=BoolValue(value=False)),
    )
    if spot.direction is Direction.OUTBOUND:
        yield alpn_filter()
    yield _filter(FAULT_FILTER, HTTPFault())
    yield _filter(CORS_FILTER, Cors())
    if spot.direction is Direction.OUTBOUND:
        yield _filter(STATEFUL_SESSION_FILTER, StatefulSession())
    yield from last
    quiet = extensions.proxy_headers().envoy_debug_headers.disabled.value
    yield _filter("envoy.filters.http.router", Router(suppress_envoy_headers=quiet))


def _filter(name: str, config: Message) -> HttpFilter:
    return HttpFilter(name=name, typed_config=packed(config))
