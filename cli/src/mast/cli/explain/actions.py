"""What a route does with a request besides choosing where it goes, in words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from envoy.config.core.v3.base_pb2 import HeaderValueOption, RuntimeFractionalPercent
from envoy.config.route.v3.route_components_pb2 import Route, RouteAction
from envoy.extensions.filters.http.fault.v3.fault_pb2 import HTTPFault
from envoy.type.v3.percent_pb2 import FractionalPercent
from google.protobuf.duration_pb2 import Duration

from mast.pilot.core.filters.cors import CORS_FILTER
from mast.pilot.core.filters.faults import FAULT_FILTER

_DENOMINATORS = {
    FractionalPercent.HUNDRED: 1,
    FractionalPercent.TEN_THOUSAND: 100,
    FractionalPercent.MILLION: 10_000,
}


def described(route: Route) -> Iterator[str]:
    """Faults, limits, retries, copies and changes, a line each."""
    yield from _faults(route)
    if route.HasField("route"):
        yield from _limits(route.route)
        yield from _copies(route.route)
    yield from _headers("request", route.request_headers_to_add, route.request_headers_to_remove)
    yield from _headers("response", route.response_headers_to_add, route.response_headers_to_remove)
    if CORS_FILTER in route.typed_per_filter_config:
        yield "answers CORS preflights"


def _faults(route: Route) -> Iterator[str]:
    fault = HTTPFault()
    if FAULT_FILTER not in route.typed_per_filter_config:
        return
    route.typed_per_filter_config[FAULT_FILTER].Unpack(fault)
    if fault.HasField("delay"):
        share = percent(fault.delay.percentage)
        yield f"fault: {share:g}% are delayed by {_seconds(fault.delay.fixed_delay)}"
    if fault.HasField("abort"):
        share = percent(fault.abort.percentage)
        grpc = fault.abort.WhichOneof("error_type") == "grpc_status"
        status = f"gRPC {fault.abort.grpc_status}" if grpc else str(fault.abort.http_status)
        yield f"fault: {share:g}% are answered with {status}"


def _limits(action: RouteAction) -> Iterator[str]:
    if action.HasField("timeout") and action.timeout.ToTimedelta():
        yield f"timeout {_seconds(action.timeout)}"
    else:
        yield "no timeout"
    if action.HasField("retry_policy"):
        policy = action.retry_policy
        tried = f"{policy.num_retries.value} retries on {policy.retry_on}"
        limited = policy.HasField("per_try_timeout")
        yield tried + (f", {_seconds(policy.per_try_timeout)} each" if limited else "")
    if action.prefix_rewrite:
        yield f"prefix is replaced by {action.prefix_rewrite}"
    if action.HasField("regex_rewrite"):
        rewrite = action.regex_rewrite
        yield f"path: {rewrite.pattern.regex} is replaced by {rewrite.substitution}"
    if action.host_rewrite_literal:
        yield f"host becomes {action.host_rewrite_literal}"
    for each in action.hash_policy:
        yield f"endpoint by hash of {each.WhichOneof('policy_specifier')}"


def _copies(action: RouteAction) -> Iterator[str]:
    for each in action.request_mirror_policies:
        share = runtime_percent(each.runtime_fraction) if each.HasField("runtime_fraction") else 100
        yield f"{share:g}% are copied to {each.cluster}"


def _headers(
    what: str, added: Iterable[HeaderValueOption], removed: Iterable[str]
) -> Iterator[str]:
    for each in added:
        yield f"{what} header {each.header.key}: {each.header.value}"
    for name in removed:
        yield f"{what} header {name} is removed"


def percent(share: FractionalPercent) -> float:
    """A fraction as a percentage."""
    return share.numerator / _DENOMINATORS[share.denominator]


def runtime_percent(share: RuntimeFractionalPercent) -> float:
    """The default of a fraction that may be changed at run time, as a percentage."""
    return percent(share.default_value)


def _seconds(duration: Duration) -> str:
    return f"{duration.ToTimedelta().total_seconds():g}s"
