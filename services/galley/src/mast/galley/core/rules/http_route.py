"""HTTP rules of a VirtualService (galley-and-kubernetes.md B2)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mast.galley.core.metadata import dns_label
from mast.galley.core.problem import Finding, Path, warning
from mast.galley.core.rules import common, values
from mast.galley.core.rules.table import (
    Family,
    exclusive,
    forbidden,
    is_set,
    json_name,
    prefixed,
    required,
    when,
)

BODY_LIMIT = 1 << 20
BODY_LARGE = 100 << 10
# Envoy adds up weights in 32 bits.
WEIGHTS_LIMIT = 2**32 - 1
_ACTIONS = ("route", "redirect", "direct_response", "delegate")
_RETRY_ON = frozenset(
    {
        "5xx",
        "gateway-error",
        "reset",
        "reset-before-request",
        "connect-failure",
        "envoy-ratelimited",
        "retriable-4xx",
        "refused-stream",
        "retriable-status-codes",
        "retriable-headers",
        "http3-post-connect-failure",
        "cancelled",
        "deadline-exceeded",
        "internal",
        "resource-exhausted",
        "unavailable",
    }
)
_GRPC_STATUS = frozenset(
    {
        "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND",
        "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
        "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS",
        "UNAUTHENTICATED",
    }
)  # fmt: skip


def _http_route(route: Any, at: Path) -> Iterator[Finding]:
    """One action, and what goes with it."""
    given = [name for name in _ACTIONS if is_set(route, name)]
    if not given:
        yield required(at, *(json_name(route, name) for name in _ACTIONS))
    elif len(given) > 1:
        first, second = (json_name(route, name) for name in given[:2])
        yield Finding((*at, second), "one-of", f"only one of {first!r} and {second!r} may be set")
    for action in ("redirect", "direct_response"):
        if action in given:
            why = f"together with {json_name(route, action)!r}"
            yield from forbidden(route, at, why, "fault", "rewrite")
    yield from exclusive(route, at, "mirror", "mirrors")
    yield from exclusive(route, at, "mirror_percent", "mirror_percentage")
    if is_set(route, "mirror_percent"):
        message = "'mirrorPercent' is deprecated; use mirrorPercentage"
        yield warning((*at, "mirrorPercent"), "deprecated", message)
        yield from when(
            values.percent(route.mirror_percent.value), (*at, "mirrorPercent"), "percentage"
        )
    if route.redirect.prefix_rewrite and not _only_prefixes(route.match):
        message = "'prefixRewrite' needs matches by uri prefix only"
        yield Finding((*at, "redirect", "prefixRewrite"), "redirect", message)
    yield from weights(route.route, (*at, "route"))
    yield from _authorities(route, at)


def _only_prefixes(matches: Sequence[Any]) -> bool:
    return bool(matches) and all(m.uri.WhichOneof("match_type") == "prefix" for m in matches)


def _authorities(route: Any, at: Path) -> Iterator[Finding]:
    """The authority is set in one place."""
    set_in = [("rewrite", "authority")] if route.rewrite.authority else []
    if _sets_authority(route.headers):
        set_in.append(("headers", "request"))
    for index, destination in enumerate(route.route):
        if _sets_authority(destination.headers):
            path = (*at, "route", index, "headers", "request")
            if set_in:
                message = f"the authority is already set by {'.'.join(set_in[0])}"
                yield Finding(path, "authority", message)
    if len(set_in) > 1:
        message = "the authority is already set by rewrite.authority"
        yield Finding((*at, "headers", "request"), "authority", message)


def _sets_authority(headers: Any) -> bool:
    return any(":authority" in ops for ops in (headers.request.set, headers.request.add))


def weights(destinations: Sequence[Any], at: Path) -> Iterator[Finding]:
    """Several destinations share by weight: not all of them zero, together what Envoy can count."""
    total = sum(max(0, d.weight) for d in destinations)
    if len(destinations) > 1 and total == 0:
        yield Finding(at, "weight", "the weights of several destinations must not all be 0")
    if total > WEIGHTS_LIMIT:
        message = f"weights add up to {total}; allowed: {WEIGHTS_LIMIT}"
        yield Finding(at, "weight", message)


def _http_match(match: Any, at: Path) -> Iterator[Finding]:
    yield from common.labels(match.source_labels, (*at, "sourceLabels"))
    yield from common.gateway_names(match.gateways, (*at, "gateways"))
    for field in ("headers", "without_headers"):
        for key in getattr(match, field):
            here = (*at, json_name(match, field), key)
            if key.startswith("@"):
                continue
            if key.startswith(":"):
                message = f"{key!r} is a pseudo header; use method, authority, uri or scheme"
                yield Finding(here, "header", message)
            else:
                yield from when(values.token(key), here, "header")
    for key in match.query_params:
        yield from when(values.query_parameter(key), (*at, "queryParams", key), "query-parameter")


def _redirect(redirect: Any, at: Path) -> Iterator[Finding]:
    if not redirect.ListFields():
        yield required(at, "uri", "authority", "scheme", "redirectCode")
    yield from exclusive(redirect, at, "uri", "prefix_rewrite")
    code = redirect.redirect_code
    if code and not 300 <= code <= 399:
        message = f"redirect code {code} is not allowed; allowed: 300 to 399"
        yield Finding((*at, "redirectCode"), "redirect", message)


def _rewrite(rewrite: Any, at: Path) -> Iterator[Finding]:
    if not rewrite.ListFields():
        yield required(at, "uri", "uriRegexRewrite", "authority")
    yield from exclusive(rewrite, at, "uri", "uri_regex_rewrite")


def _regex_rewrite(rewrite: Any, at: Path) -> Iterator[Finding]:
    yield from when(values.regex(rewrite.match), (*at, "match"), "regex")


def _direct_response(response: Any, at: Path) -> Iterator[Finding]:
    body = getattr(response.body, response.body.WhichOneof("specifier") or "string")
    size = len(body.encode() if isinstance(body, str) else body)
    if size > BODY_LIMIT:
        message = f"body has {size} bytes; allowed: {BODY_LIMIT}"
        yield Finding((*at, "body"), "too-large", message)
    elif size > BODY_LARGE:
        message = f"body has {size} bytes; every proxy holds it in memory"
        yield warning((*at, "body"), "large-body", message)


def _retries(retries: Any, at: Path) -> Iterator[Finding]:
    """No attempts, no other field; conditions that Envoy knows."""
    if retries.attempts == 0:
        for field, _ in retries.ListFields():
            message = f"{field.json_name!r} has no effect: 'attempts' is 0, retries are off"
            yield Finding((*at, field.json_name), "retries", message)
    for condition in filter(None, (part.strip() for part in retries.retry_on.split(","))):
        if (status := values.digits(condition)) is not None:
            yield from when(values.http_status(status), (*at, "retryOn"), "retries")
        elif condition not in _RETRY_ON:
            message = f"{condition!r} is unknown; allowed: a status code, {', '.join(_RETRY_ON)}"
            yield Finding((*at, "retryOn"), "retries", message)


def _fault(fault: Any, at: Path) -> Iterator[Finding]:
    if not (is_set(fault, "delay") or is_set(fault, "abort")):
        yield required(at, "delay", "abort")


def _delay(delay: Any, at: Path) -> Iterator[Finding]:
    yield from exclusive(delay, at, "percent", "percentage")
    if delay.WhichOneof("http_delay_type") is None:
        yield required((*at, "fixedDelay"), "fixedDelay")


def _abort(abort: Any, at: Path) -> Iterator[Finding]:
    yield from exclusive(abort, at, "percent", "percentage")
    chosen = abort.WhichOneof("error_type")
    if chosen is None:
        yield warning(at, "abort", "neither 'httpStatus' nor 'grpcStatus' is set: nothing aborts")
    if chosen == "grpc_status" and abort.grpc_status.upper() not in _GRPC_STATUS:
        message = f"{abort.grpc_status!r} is no gRPC status such as UNAVAILABLE"
        yield Finding((*at, "grpcStatus"), "abort", message)


def _cors(cors: Any, at: Path) -> Iterator[Finding]:
    yield from exclusive(cors, at, "allow_origin", "allow_origins")
    for index, origin in enumerate(cors.allow_origins):
        if origin.WhichOneof("match_type") is None:
            yield required((*at, "allowOrigins", index), "exact", "prefix", "regex")


def _operations(operations: Any, at: Path) -> Iterator[Finding]:
    """Header operations; of the pseudo headers only a request's authority may be set."""
    is_request = at[-1:] == ("request",)
    for field in ("set", "add"):
        headers: Mapping[str, str] = getattr(operations, field)
        for name, value in headers.items():
            here = (*at, field, name)
            if not (is_request and name == ":authority"):
                yield from when(values.header_name(name), here, "header")
            yield from when(values.header_value(value), here, "header")
    for index, name in enumerate(operations.remove):
        yield from when(values.header_name(name), (*at, "remove", index), "header")


_PACKAGE = "istio.networking.v1alpha3"
_OLD_HEADERS = ("request_headers", "response_headers")  # Istio 1.0 to 1.4
_OWNERS = ("HTTPRoute", "HTTPRouteDestination")
_REMOVED_HEADERS = [f"{owner}.remove_{name}" for owner in _OWNERS for name in _OLD_HEADERS]
_ADDED_HEADERS = [
    "HTTPRoute.append_headers",
    *(f"{owner}.append_{name}" for owner in _OWNERS for name in _OLD_HEADERS),
]
_REQUEST_LINES = (
    "HTTPRedirect.uri",
    "HTTPRedirect.authority",
    "HTTPRedirect.prefix_rewrite",
    "HTTPRewrite.uri",
    "HTTPRewrite.authority",
    "RegexRewrite.rewrite",
)

FAMILY = Family(
    fields=prefixed(
        _PACKAGE,
        {
            **dict.fromkeys(_ADDED_HEADERS, ("header", values.header_value)),
            **dict.fromkeys(_REMOVED_HEADERS, ("header", values.header_name)),
            "HTTPRouteDestination.weight": ("weight", values.not_negative),
            "HTTPMatchRequest.port": ("port", values.port),
            "HTTPMatchRequest.source_namespace": ("namespace", dns_label),
            **dict.fromkeys(_REQUEST_LINES, ("control-character", values.header_text)),
            "HTTPRedirect.scheme": ("redirect", values.one_of("http", "https")),
            "HTTPRedirect.port": ("port", values.port),
            "HTTPDirectResponse.status": ("status", values.http_status),
            "HTTPRetry.attempts": ("retries", values.not_negative),
            "Percent.value": ("percentage", values.fraction),
            "HTTPFaultInjection.Delay.percent": ("percentage", values.percent),
            "HTTPFaultInjection.Abort.percent": ("percentage", values.percent),
            "HTTPFaultInjection.Abort.http_status": ("status", values.http_status),
            "CorsPolicy.allow_origin": ("cors", values.nonempty),
            "CorsPolicy.allow_methods": ("cors", values.token),
            "CorsPolicy.allow_headers": ("cors", values.token),
            "CorsPolicy.expose_headers": ("cors", values.token),
            "CorsPolicy.max_age": ("duration", values.whole_seconds),
            "Delegate.name": ("name", dns_label),
            "Delegate.namespace": ("name", dns_label),
        },
    ),
    keys=prefixed(_PACKAGE, dict.fromkeys(_ADDED_HEADERS, ("header", values.header_name))),
    messages=prefixed(
        _PACKAGE,
        {
            "HTTPRoute": _http_route,
            "HTTPMatchRequest": _http_match,
            "HTTPRedirect": _redirect,
            "HTTPRewrite": _rewrite,
            "RegexRewrite": _regex_rewrite,
            "HTTPDirectResponse": _direct_response,
            "HTTPRetry": _retries,
            "HTTPFaultInjection": _fault,
            "HTTPFaultInjection.Delay": _delay,
            "HTTPFaultInjection.Abort": _abort,
            "CorsPolicy": _cors,
            "Headers.HeaderOperations": _operations,
        },
    ),
    unsupported=prefixed(
        _PACKAGE,
        {
            "HTTPFaultInjection.Delay.exponential_delay": "use fixedDelay",
            "HTTPFaultInjection.Abort.http2_error": "use httpStatus or grpcStatus",
        },
    ),
    without_effect={
        f"{_PACKAGE}.HTTPRoute.websocket_upgrade": "every route lets WebSockets through",
    },
)
