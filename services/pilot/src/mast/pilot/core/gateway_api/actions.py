"""Filters, backends, timeouts and retries of routes as parts of a VirtualService entry."""

import re
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Final

from istio.networking.v1alpha3.virtual_service_pb2 import (
    CorsPolicy,
    Headers,
    HTTPRedirect,
    HTTPRetry,
    HTTPRoute,
    StringMatch,
)
from mast.pilot.core.gateway_api.references import UNRESOLVED, Backend, backend
from mast.pilot.core.gateway_api.rules import Untranslatable
from mast.pilot.core.gateway_api.sight import Sight
from mast.pilot.core.model.model import ConfigMeta
from mastapi.kubernetes.v1.routes_pb2 import (
    GRPCBackendRef,
    GRPCRouteFilter,
    HTTPBackendRef,
    HTTPCORSFilter,
    HTTPHeaderFilter,
    HTTPRequestMirrorFilter,
    HTTPRequestRedirectFilter,
    HTTPRouteFilter,
    HTTPRouteRetry,
    HTTPRouteTimeouts,
    HTTPURLRewriteFilter,
)

Filter = HTTPRouteFilter | GRPCRouteFilter
WeightedRef = HTTPBackendRef | GRPCBackendRef

_FOUND: Final = 302
_DEFAULT_ATTEMPTS: Final = 2
_RETRIED: Final = "connect-failure,refused-stream,unavailable,cancelled"
_CORS_MAX_AGE: Final = timedelta(seconds=5)
_WHOLE_PATH: Final = "^/.*$"
_DURATION_PART: Final = re.compile(r"([0-9]+)(ms|h|m|s)")
_UNITS: Final = {
    "ms": timedelta(milliseconds=1),
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
}


def duration(text: str) -> timedelta:
    """A duration as Gateway API writes it, such as 1h30m (GEP-2257)."""
    parts = _DURATION_PART.findall(text)
    return sum((int(amount) * _UNITS[unit] for amount, unit in parts), timedelta())


def apply_filters(
    http: HTTPRoute, filters: Iterable[Filter], sight: Sight, route: ConfigMeta
) -> Sequence[Backend]:
    """Set what the filters of a rule ask for; returns the backends that copies go to.

    Raises `Untranslatable` for a filter that Mast does not have.
    """
    mirrored = []
    for each in filters:
        match each.type:
            case "RequestHeaderModifier":
                _set_headers(http.headers.request, each.request_header_modifier)
            case "ResponseHeaderModifier":
                _set_headers(http.headers.response, each.response_header_modifier)
            case "RequestMirror":
                found = backend(sight, route, each.request_mirror.backend_ref)
                mirrored.append(found)
                if found.problem is None:
                    share = _percentage(each.request_mirror)
                    http.mirrors.add(destination=found.destination).percentage.value = share
            case "RequestRedirect" if isinstance(each, HTTPRouteFilter):
                http.redirect.CopyFrom(_redirect(each.request_redirect))
            case "URLRewrite" if isinstance(each, HTTPRouteFilter):
                _rewrite(http, each.url_rewrite)
            case "CORS" if isinstance(each, HTTPRouteFilter):
                http.cors_policy.CopyFrom(_cors(each.cors))
            case other:
                raise Untranslatable(f"filter {other!r} is not supported")
    return mirrored


def apply_backends(
    http: HTTPRoute, references: Iterable[WeightedRef], sight: Sight, route: ConfigMeta
) -> Sequence[Backend]:
    """Send requests to backends by weight; those of weight 0 get none, not even a single one.

    A backend that cannot be used keeps its share: its requests are answered with 500 (I8).
    Raises `Untranslatable` for filters that only whole rules can have.
    """
    found = []
    for each in references:
        made = backend(sight, route, each)
        found.append(made)
        weight = each.weight if each.HasField("weight") else 1
        if not weight:
            continue
        destination = http.route.add(destination=made.destination, weight=weight)
        for one in each.filters:
            if one.type == "RequestHeaderModifier":
                _set_headers(destination.headers.request, one.request_header_modifier)
            elif one.type == "ResponseHeaderModifier":
                _set_headers(destination.headers.response, one.response_header_modifier)
            else:
                raise Untranslatable(f"filter {one.type!r} is not supported for a backend")
    if all(each.destination.host == UNRESOLVED for each in http.route):
        # Nothing to share out: the rule itself answers 500.
        del http.route[:]
    return found


def apply_timeouts(http: HTTPRoute, timeouts: HTTPRouteTimeouts, retry: HTTPRouteRetry) -> None:
    """Time limits, and repetition within them (Gateway API HTTPRouteTimeouts, HTTPRouteRetry)."""
    if timeouts.request:
        http.timeout.FromTimedelta(duration(timeouts.request))
    attempt = duration(timeouts.backend_request)
    if not (retry.ListFields() or attempt):
        return
    http.retries.attempts = retry.attempts if retry.HasField("attempts") else _DEFAULT_ATTEMPTS
    if not http.retries.attempts:
        # Without repetition the only attempt has the time of the request.
        if attempt and not duration(timeouts.request):
            http.timeout.FromTimedelta(attempt)
        elif attempt:
            http.timeout.FromTimedelta(min(attempt, duration(timeouts.request)))
        return
    _set_retry(http.retries, retry, attempt)


def _set_retry(retries: HTTPRetry, retry: HTTPRouteRetry, attempt: timedelta) -> None:
    if retry.codes:
        retries.retry_on = ",".join([_RETRIED, *map(str, dict.fromkeys(retry.codes))])
    if retry.backoff:
        retries.backoff.FromTimedelta(duration(retry.backoff))
    if attempt:
        retries.per_try_timeout.FromTimedelta(attempt)


def _set_headers(target: Headers.HeaderOperations, modifier: HTTPHeaderFilter) -> None:
    for each in modifier.set:
        target.set[each.name] = each.value
    for each in modifier.add:
        target.add[each.name] = each.value
    target.remove.extend(modifier.remove)


def _percentage(mirror: HTTPRequestMirrorFilter) -> float:
    if mirror.HasField("percent"):
        return mirror.percent
    if mirror.HasField("fraction"):
        whole = mirror.fraction.denominator if mirror.fraction.HasField("denominator") else 100
        return 100 * mirror.fraction.numerator / whole
    return 100


def _redirect(rule: HTTPRequestRedirectFilter) -> HTTPRedirect:
    redirect = HTTPRedirect(
        scheme=rule.scheme,
        authority=rule.hostname,
        redirect_code=rule.status_code or _FOUND,
    )
    if rule.path.type == "ReplaceFullPath":
        redirect.uri = rule.path.replace_full_path or "/"
    elif rule.path.type == "ReplacePrefixMatch":
        redirect.prefix_rewrite = rule.path.replace_prefix_match or "/"
    if rule.port:
        redirect.port = rule.port
    elif rule.scheme:
        redirect.derive_port = HTTPRedirect.FROM_PROTOCOL_DEFAULT
    else:
        redirect.derive_port = HTTPRedirect.FROM_REQUEST_PORT
    return redirect


def _rewrite(http: HTTPRoute, rule: HTTPURLRewriteFilter) -> None:
    http.rewrite.authority = rule.hostname
    if rule.path.type == "ReplacePrefixMatch":
        http.rewrite.uri = rule.path.replace_prefix_match or "/"
    elif rule.path.type == "ReplaceFullPath":
        http.rewrite.uri_regex_rewrite.match = _WHOLE_PATH
        path = rule.path.replace_full_path or "/"
        http.rewrite.uri_regex_rewrite.rewrite = path.replace("\\", r"\\")


def _cors(rule: HTTPCORSFilter) -> CorsPolicy:
    """Cross-origin rules; the proxy answers preflights of other origins (Gateway API, "cors")."""
    policy = CorsPolicy(
        allow_origins=[_origin(each) for each in rule.allow_origins],
        allow_methods=rule.allow_methods,
        allow_headers=rule.allow_headers,
        expose_headers=rule.expose_headers,
        unmatched_preflights=CorsPolicy.IGNORE,
    )
    policy.max_age.FromTimedelta(timedelta(seconds=rule.max_age) or _CORS_MAX_AGE)
    if rule.HasField("allow_credentials"):
        policy.allow_credentials.value = rule.allow_credentials
    return policy


def _origin(text: str) -> StringMatch:
    """An origin, whose host may have a wildcard for any number of labels."""
    if text == "*":
        return StringMatch(regex=".*")
    if "*" not in text:
        return StringMatch(exact=text)
    return StringMatch(regex=".+".join(re.escape(part) for part in text.split("*")))
