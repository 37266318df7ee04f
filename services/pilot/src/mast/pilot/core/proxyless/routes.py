"""Route configurations of gRPC clients: one service port, the part that gRPC supports (B29)."""

from collections.abc import Iterator, Sequence
from typing import Final

from envoy.config.route.v3.route_components_pb2 import (
    NonForwardingAction,
    RetryPolicy,
    Route,
    RouteAction,
    VirtualHost,
    WeightedCluster,
)
from envoy.config.route.v3.route_pb2 import RouteConfiguration

from mast.pilot.core import names
from mast.pilot.core.filters.cors import CORS_FILTER
from mast.pilot.core.filters.faults import FAULT_FILTER
from mast.pilot.core.model.proxy import Proxy
from mast.pilot.core.proxyless.matches import matches
from mast.pilot.core.proxyless.names import Target, domains
from mast.pilot.core.proxyless.unsupported import Unsupported, left_out
from mast.pilot.core.routes.viewpoints import service_routes
from mast.pilot.core.scope.egress import Egress
from mast.pilot.core.scope.scope import Scope

RETRIED: Final = (
    "cancelled",
    "deadline-exceeded",
    "internal",
    "resource-exhausted",
    "unavailable",
)
"""Conditions that gRPC retries on (gRFC A44)."""

_CHANNEL: Final = "io.grpc.channel_id"
"""Filter state that is one value for all calls of a channel (gRFC A42)."""


def route_configuration(name: str, found: Target, scope: Scope, proxy: Proxy) -> RouteConfiguration:
    """Routes to a service port: those of its VirtualService, else the one to all its endpoints.

    What gRPC cannot do is reported.
    """
    service, port = found.service, found.port
    known = domains(service, proxy)
    authorities = [*known, *(f"{each}:{port.number}" for each in known)]
    egress = _egress(found, scope)
    config = egress.virtual_service(service.host)
    made: list[Route] = []
    lost: set[str] = set()
    for each in service_routes(scope, proxy, egress, service, port):
        try:
            made += _routes(each, authorities)
        except Unsupported as error:
            lost.add(f"{error}, so that route {each.name or '(unnamed)'} is not there")
        lost.update(_ignored(each))
    subject = config.meta.object_name if config else None
    if finding := left_out(names.virtual_host(service.host, port.number), subject, lost):
        scope.report(finding)
    host = VirtualHost(
        name=names.virtual_host(service.host, port.number), domains=authorities, routes=made
    )
    return RouteConfiguration(name=name, virtual_hosts=[host])


def _egress(found: Target, scope: Scope) -> Egress:
    """The egress listener through which the port shows."""
    for each in scope.egress:
        service = each.service(found.service.host)
        if service is not None and service.port(found.port.number):
            return each
    raise ValueError(f"{found.service.host}:{found.port.number} shows through no egress listener")


def _routes(route: Route, authorities: Sequence[str]) -> Iterator[Route]:
    for match in matches(route.match, authorities):
        made = Route(name=route.name, match=match)
        if route.HasField("route"):
            made.route.CopyFrom(_action(route.route))
        else:
            # gRPC fails calls that match it, as it should: there is nobody to send them to.
            made.non_forwarding_action.CopyFrom(NonForwardingAction())
        if FAULT_FILTER in route.typed_per_filter_config:
            fault = route.typed_per_filter_config[FAULT_FILTER]
            made.typed_per_filter_config[FAULT_FILTER].CopyFrom(fault)
        yield made


def _action(action: RouteAction) -> RouteAction:
    made = RouteAction()
    if action.HasField("weighted_clusters"):
        made.weighted_clusters.clusters.extend(
            WeightedCluster.ClusterWeight(name=each.name, weight=each.weight)
            for each in action.weighted_clusters.clusters
        )
    else:
        made.cluster = action.cluster
    if action.timeout.ToTimedelta():
        made.max_stream_duration.max_stream_duration.CopyFrom(action.timeout)
    if (retry := _retry(action.retry_policy)) is not None:
        made.retry_policy.CopyFrom(retry)
    made.hash_policy.extend(_hashes(action.hash_policy))
    return made


def _retry(policy: RetryPolicy) -> RetryPolicy | None:
    conditions = [each for each in policy.retry_on.split(",") if each in RETRIED]
    if not conditions or not policy.num_retries.value:
        return None
    made = RetryPolicy(retry_on=",".join(conditions), num_retries=policy.num_retries)
    if policy.HasField("retry_back_off"):
        made.retry_back_off.CopyFrom(policy.retry_back_off)
    return made


def _hashes(policies: Sequence[RouteAction.HashPolicy]) -> Iterator[RouteAction.HashPolicy]:
    for each in policies:
        if each.HasField("header"):
            yield each
        elif each.connection_properties.source_ip:
            made = RouteAction.HashPolicy()
            made.filter_state.key = _CHANNEL
            yield made


def _ignored(route: Route) -> Iterator[str]:
    """What a route asks for and gRPC does not do."""
    action = route.route
    if not route.HasField("route"):
        yield f"{route.WhichOneof('action')}: such calls fail"
    if _changes_headers(route) or any(map(_changes_headers, action.weighted_clusters.clusters)):
        yield "headers"
    rewritten = ("prefix_rewrite", "regex_rewrite", "host_rewrite_literal")
    if any(each.name in rewritten for each, _ in action.ListFields()):
        yield "rewrite"
    if action.request_mirror_policies:
        yield "mirrors"
    if CORS_FILTER in route.typed_per_filter_config:
        yield "corsPolicy"
    if action.retry_policy.HasField("per_try_timeout"):
        yield "retries.perTryTimeout"
    if action.HasField("retry_policy") and _retry(action.retry_policy) is None:
        yield f"retries.retryOn {action.retry_policy.retry_on}"
    if len(list(_hashes(action.hash_policy))) < len(action.hash_policy):
        yield "consistentHash by cookie or query parameter"


def _changes_headers(target: Route | WeightedCluster.ClusterWeight) -> bool:
    return bool(
        target.request_headers_to_add
        or target.request_headers_to_remove
        or target.response_headers_to_add
        or target.response_headers_to_remove
    )
