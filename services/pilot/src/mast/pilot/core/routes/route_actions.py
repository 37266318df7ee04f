"""Actions of VirtualService HTTP routes: where Envoy sends a request, and how it changes it."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from envoy.config.core.v3.base_pb2 import DataSource, RuntimeFractionalPercent
from envoy.config.route.v3.route_components_pb2 import (
    DirectResponseAction,
    RedirectAction,
    Route,
    RouteAction,
    RouteMatch,
    WeightedCluster,
)
from envoy.type.matcher.v3.regex_pb2 import RegexMatchAndSubstitute, RegexMatcher
from google.protobuf.duration_pb2 import Duration
from google.protobuf.wrappers_pb2 import BoolValue, UInt32Value

from istio.networking.v1alpha3.destination_rule_pb2 import LoadBalancerSettings
from istio.networking.v1alpha3.virtual_service_pb2 import (
    Destination,
    HTTPDirectResponse,
    HTTPRedirect,
    HTTPRetry,
    HTTPRewrite,
    HTTPRoute,
    HTTPRouteDestination,
)
from mast.pilot.core.filters.cors import CORS_FILTER, cors_policy
from mast.pilot.core.filters.extensions import Additions
from mast.pilot.core.filters.faults import FAULT_FILTER, fault, fraction
from mast.pilot.core.filters.header_operations import header_mutations
from mast.pilot.core.packing import packed
from mast.pilot.core.routes.retries import DEFAULT_RETRY, retry_policy

ConsistentHash = LoadBalancerSettings.ConsistentHashLB

MAX_DIRECT_RESPONSE_BYTES: Final = 1 << 20
"""Largest body of a `directResponse` (pilot.md F)."""

REDIRECT_CODES: Final = {
    301: RedirectAction.MOVED_PERMANENTLY,
    302: RedirectAction.FOUND,
    303: RedirectAction.SEE_OTHER,
    307: RedirectAction.TEMPORARY_REDIRECT,
    308: RedirectAction.PERMANENT_REDIRECT,
}
"""The statuses that Envoy can redirect with."""

_ELIDED_PORTS: Final = {"http": 80, "https": 443}
_NO_LIMIT: Final = Duration()
_NO_MATCH: Final = RouteMatch()
_NO_BACKEND: Final = 500
"""What a route without destinations answers (pilot.md I8)."""


@dataclass(frozen=True, kw_only=True)
class Backend:
    """The cluster that a destination stands for, and what a route must know of it."""

    cluster: str
    hash: ConsistentHash | None = None
    """How the DestinationRule of the destination ties requests to endpoints."""
    additions: Additions = field(default_factory=Additions)
    """What the mesh itself adds to requests that go there."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What surrounds an action: port and scheme of the listener, the meaning of destinations."""

    port: int
    backend: Callable[[Destination], Backend]
    retry: HTTPRetry = field(default_factory=lambda: DEFAULT_RETRY)
    scheme: str = "http"
    gateway_semantics: bool = False
    """The route comes from Gateway API: a missing cluster is answered with 500, not 503."""


def set_action(route: Route, http: HTTPRoute, setting: Setting) -> None:
    """Give a route that has its match the action of an HTTPRoute (pilot.md F)."""
    if http.HasField("redirect"):
        header_mutations(http.headers).apply(route)
        route.redirect.CopyFrom(redirect(http.redirect, setting, route.match))
    elif http.HasField("direct_response"):
        header_mutations(http.headers).apply(route)
        route.direct_response.CopyFrom(direct_response(http.direct_response))
    else:
        _set_forwarding(route, http, setting)
    if injected := fault(http.fault):
        route.typed_per_filter_config[FAULT_FILTER].CopyFrom(packed(injected))
    if http.HasField("cors_policy"):
        route.typed_per_filter_config[CORS_FILTER].CopyFrom(packed(cors_policy(http.cors_policy)))


def redirect(rule: HTTPRedirect, setting: Setting, match: RouteMatch = _NO_MATCH) -> RedirectAction:
    """A redirect; a port that is the default of its scheme is not spelled out (pilot.md F).

    `match` is what the route matches, a prefix of which `prefixRewrite` replaces.
    `FROM_REQUEST_PORT` is the port of the listener, a status that Envoy lacks is 301.
    """
    action = RedirectAction(
        host_redirect=rule.authority,
        response_code=REDIRECT_CODES.get(rule.redirect_code, RedirectAction.MOVED_PERMANENTLY),
    )
    if rule.scheme:
        action.scheme_redirect = rule.scheme
    if rule.uri:
        action.path_redirect = rule.uri
    elif rule.prefix_rewrite:
        _replace_prefix(action, rule.prefix_rewrite, match)
    derived = rule.derive_port == HTTPRedirect.FROM_REQUEST_PORT
    port = setting.port if derived else rule.port
    if port != _ELIDED_PORTS.get(rule.scheme or setting.scheme):
        action.port_redirect = port
    return action


def direct_response(rule: HTTPDirectResponse) -> DirectResponseAction:
    """An answer that Envoy gives by itself."""
    action = DirectResponseAction(status=rule.status)
    kind = rule.body.WhichOneof("specifier")
    if kind == "string":
        action.body.CopyFrom(DataSource(inline_string=rule.body.string))
    elif kind == "bytes":
        action.body.CopyFrom(DataSource(inline_bytes=rule.body.bytes))
    return action


def hash_policy(consistent_hash: ConsistentHash) -> RouteAction.HashPolicy | None:
    """The key by which a consistent hash picks an endpoint, None if it names none (pilot.md F)."""
    kind = consistent_hash.WhichOneof("hash_key")
    policy = RouteAction.HashPolicy()
    if kind == "http_header_name":
        policy.header.header_name = consistent_hash.http_header_name
    elif kind == "http_cookie":
        cookie = consistent_hash.http_cookie
        policy.cookie.name = cookie.name
        policy.cookie.path = cookie.path
        if cookie.HasField("ttl"):
            policy.cookie.ttl.CopyFrom(cookie.ttl)
        for attribute in cookie.attributes:
            policy.cookie.attributes.add(name=attribute.name, value=attribute.value)
    elif kind == "http_query_parameter_name":
        policy.query_parameter.name = consistent_hash.http_query_parameter_name
    elif consistent_hash.use_source_ip:
        policy.connection_properties.source_ip = True
    else:
        return None
    return policy


def forwarding(backend: Backend, retry: HTTPRetry, timeout: Duration = _NO_LIMIT) -> RouteAction:
    """The action that sends a request to one backend, with its timeout, retries and hash."""
    action = RouteAction(cluster=backend.cluster)
    _set_policies(action, [backend], retry, timeout)
    return action


def _set_forwarding(route: Route, http: HTTPRoute, setting: Setting) -> None:
    chosen = _weighted(http.route)
    if not chosen:
        route.direct_response.status = _NO_BACKEND
        return
    backends = [setting.backend(each.destination) for each in chosen]
    action = route.route
    if len(chosen) == 1:
        action.cluster = backends[0].cluster
        _set_mutations(route, http, chosen[0], backends[0])
    else:
        for destination, backend in zip(chosen, backends, strict=True):
            weight = action.weighted_clusters.clusters.add(
                name=backend.cluster, weight=UInt32Value(value=destination.weight)
            )
            _set_mutations(weight, http, destination, backend)
    backends[0].additions.apply_metadata(route)
    host = http.rewrite.authority or header_mutations(http.headers).host
    if len(chosen) == 1:
        host = header_mutations(chosen[0].headers).host or host
    if host:
        action.host_rewrite_literal = host
    _set_rewrite(action, http.rewrite, route.match)
    retry = http.retries if http.HasField("retries") else setting.retry
    _set_policies(action, backends, retry, http.timeout)
    action.request_mirror_policies.extend(
        _mirror_policy(setting.backend(destination).cluster, percent)
        for destination, percent in _mirrors(http)
        if percent and destination.host
    )
    if setting.gateway_semantics:
        action.cluster_not_found_response_code = RouteAction.INTERNAL_SERVER_ERROR


def _set_policies(
    action: RouteAction, backends: Sequence[Backend], retry: HTTPRetry, timeout: Duration
) -> None:
    hashes = [found for each in backends if each.hash and (found := hash_policy(each.hash))]
    # A message has no hash of its own; equal policies of several subsets count once.
    unique = {each.SerializeToString(deterministic=True): each for each in hashes}
    action.hash_policy.extend(unique.values())
    policy = retry_policy(retry, hashed=bool(hashes))
    if policy:
        action.retry_policy.CopyFrom(policy)
    action.timeout.CopyFrom(timeout)
    if not timeout.ToTimedelta():
        # Honours grpc-timeout. Beside a timeout it would make Envoy ignore that timeout.
        action.max_stream_duration.grpc_timeout_header_max.CopyFrom(_NO_LIMIT)


def _weighted(destinations: Sequence[HTTPRouteDestination]) -> list[HTTPRouteDestination]:
    """Destinations that get traffic: a single one always does, several if they have weight."""
    if len(destinations) == 1:
        return list(destinations)
    return [each for each in destinations if each.weight > 0]


def _set_mutations(
    target: Route | WeightedCluster.ClusterWeight,
    http: HTTPRoute,
    destination: HTTPRouteDestination,
    backend: Backend,
) -> None:
    """The mutations of a route, then those of its destination, then those of the mesh.

    All of them go into the weighted cluster if there are several: Envoy would apply what stands in
    the route after that, and a destination could not override it.
    """
    header_mutations(http.headers).apply(target)
    own = header_mutations(destination.headers)
    own.apply(target)
    backend.additions.apply(target)
    if isinstance(target, WeightedCluster.ClusterWeight) and own.host:
        target.host_rewrite_literal = own.host


def _set_rewrite(action: RouteAction, rewrite: HTTPRewrite, match: RouteMatch) -> None:
    if rewrite.HasField("uri_regex_rewrite"):
        action.regex_rewrite.CopyFrom(
            RegexMatchAndSubstitute(
                pattern=RegexMatcher(regex=rewrite.uri_regex_rewrite.match),
                substitution=rewrite.uri_regex_rewrite.rewrite,
            )
        )
    elif not rewrite.uri:
        return
    elif match.WhichOneof("path_specifier") in ("prefix", "path_separated_prefix"):
        _replace_prefix(action, rewrite.uri, match)
    else:
        # An exact or regex match has matched the whole path, so all of it is replaced.
        action.regex_rewrite.CopyFrom(
            RegexMatchAndSubstitute(
                pattern=RegexMatcher(regex="^.+$"), substitution=rewrite.uri.replace("\\", r"\\")
            )
        )


def _replace_prefix(action: RouteAction | RedirectAction, text: str, match: RouteMatch) -> None:
    """Put a text in the place of the matched prefix.

    One that was matched by whole segments ends before a `/` or where the path ends, so that a `/`
    at the end of the text would stand twice, and without one the path could be empty.
    """
    prefix = match.path_separated_prefix
    if not prefix:
        action.prefix_rewrite = text
    elif kept := text.rstrip("/"):
        action.prefix_rewrite = kept
    else:
        action.regex_rewrite.CopyFrom(
            RegexMatchAndSubstitute(
                pattern=RegexMatcher(regex=f"^{re.escape(prefix)}/?(.*)$"), substitution=r"/\1"
            )
        )


def _mirrors(http: HTTPRoute) -> Iterator[tuple[Destination, float]]:
    """Destinations of copies and their percentages; one that is not set is 100 (pilot.md F)."""
    if http.HasField("mirror_percentage"):
        yield http.mirror, http.mirror_percentage.value
    elif http.HasField("mirror_percent"):
        yield http.mirror, http.mirror_percent.value
    elif http.HasField("mirror"):
        yield http.mirror, 100
    for each in http.mirrors:
        yield each.destination, each.percentage.value if each.HasField("percentage") else 100


def _mirror_policy(cluster: str, percent: float) -> RouteAction.RequestMirrorPolicy:
    return RouteAction.RequestMirrorPolicy(
        cluster=cluster,
        runtime_fraction=RuntimeFractionalPercent(default_value=fraction(percent)),
        trace_sampled=BoolValue(value=False),
        disable_shadow_host_suffix_append=True,
    )
