"""HTTPRoute, GRPCRoute, TLSRoute, TCPRoute (Gateway API; pilot.md I8)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from mast.galley.core.problem import Finding, Path, warning
from mast.galley.core.rules import values
from mast.galley.core.rules.kubernetes import (
    GATEWAY_API,
    METHODS,
    PACKAGE,
    PATH_LIMIT,
    duration,
    hostname,
    milliseconds,
    named_entries,
    positive_duration,
    section,
    sized,
    sizes,
    targets,
    weight,
)
from mast.galley.core.rules.route_filters import FILTERS, once_each
from mast.galley.core.rules.table import (
    Family,
    forbidden,
    json_name,
    prefixed,
    required,
    when,
)

_ISTIO = "networking.istio.io"
_BACKENDS = {("", "Service"): "Service", (_ISTIO, "Hostname"): f"{_ISTIO}/Hostname"}
_GATEWAY = (GATEWAY_API, "Gateway")
_PARENTS = {
    _GATEWAY: "Gateway",
    ("", "Service"): "core/Service",
    (_ISTIO, "ServiceEntry"): f"{_ISTIO}/ServiceEntry",
}
_PATH = re.compile(r"/([-A-Za-z0-9/._~!$&'()*+,;=:@]|%[0-9a-fA-F]{2})*")
_NOT_IN_PATH = ("//", "/./", "/../", "%2f", "%2F", "#")
_NOT_AT_ITS_END = ("/..", "/.")
_GRPC_SERVICE = re.compile(r"[A-Za-z_][A-Za-z_0-9]*(\.[A-Za-z_][A-Za-z_0-9]*)*")
_GRPC_METHOD = re.compile(r"[A-Za-z_][A-Za-z_0-9]*")
_MATCHES_LIMIT = 128
_OF_BACKENDS = ("RequestHeaderModifier", "ResponseHeaderModifier")
_REGEX = "RegularExpression"


def _http_route(spec: Any, at: Path) -> Iterator[Finding]:
    yield from named_entries(spec, at, "rules")
    number = sum(len(rule.matches) for rule in spec.rules)
    if number > _MATCHES_LIMIT:
        message = f"{number} matches in all rules; allowed: {_MATCHES_LIMIT}"
        yield Finding((*at, "rules"), "size", message)


def _parent(parent: Any, at: Path) -> Iterator[Finding]:
    """What a route may hang on; a Service is one of the core group where no group is said.

    Differs from Gateway API, whose own group holds then, and has no Service: nothing else can be
    meant, and Istio's samples of 1.16 say it so.
    """
    group = parent.group if parent.HasField("group") else GATEWAY_API
    if parent.kind == "Service" and not parent.HasField("group"):
        message = "without 'group' others look for a Service of Gateway API; write group: ''"
        yield warning((*at, "group"), "reference", message)
        group = ""
    meant = (group, parent.kind or "Gateway")
    if meant not in _PARENTS:
        allowed = ", ".join(_PARENTS.values())
        shown = "/".join(part for part in meant if part)
        message = f"{shown} is not supported; allowed: {allowed}"
        yield Finding((*at, "kind"), "reference", message)
    elif meant != _GATEWAY:
        yield from forbidden(parent, at, f"for a {parent.kind}", "section_name")


def _http_rule(rule: Any, at: Path) -> Iterator[Finding]:
    """Filters that go together, and what a rule that answers by itself must not have."""
    kinds = [each.type for each in rule.filters]
    yield from once_each(kinds, (*at, "filters"))
    if "RequestRedirect" in kinds:
        yield from forbidden(rule, at, "together with a RequestRedirect", "backend_refs")
        if "URLRewrite" in kinds:
            here = (*at, "filters", kinds.index("URLRewrite"))
            yield Finding(here, "one-of", "only one of RequestRedirect and URLRewrite may be given")
    for index, each in enumerate(rule.filters):
        for name in ("request_redirect", "url_rewrite"):
            path = getattr(each, name).path
            if path.type == "ReplacePrefixMatch" and not _one_prefix(rule.matches):
                message = "'ReplacePrefixMatch' needs exactly one match, by PathPrefix"
                here = (*at, "filters", index, json_name(each, name), "path", "type")
                yield Finding(here, "path-modifier", message)


def _one_prefix(matches: Any) -> bool:
    if len(matches) > 1:
        return False
    return all((match.path.type or "PathPrefix") == "PathPrefix" for match in matches)


def _path_match(match: Any, at: Path) -> Iterator[Finding]:
    here = (*at, "value")
    if match.type == _REGEX:
        if not match.value:
            yield required(here, "value")
        else:
            yield from when(values.regex(match.value), here, "regex")
    elif match.value:
        yield from when(_path(match.value), here, "path")


def _path(text: str) -> str | None:
    """A path as it may be matched exactly or by prefix."""
    if len(text) > PATH_LIMIT:
        return f"path has {len(text)} characters; allowed: {PATH_LIMIT}"
    if not text.startswith("/"):
        return f"path {text!r} must begin with '/'"
    wrong = [part for part in _NOT_IN_PATH if part in text]
    wrong += [part for part in _NOT_AT_ITS_END if text.endswith(part)]
    if wrong:
        return f"path {text!r} must not have {wrong[0]!r}"
    if not _PATH.fullmatch(text):
        return f"path {text!r} has characters that no path has; write them as %XX"
    return None


def _value_match(match: Any, at: Path) -> Iterator[Finding]:
    here = (*at, "value")
    if match.type == _REGEX:
        yield from when(values.regex(match.value), here, "regex")
    yield from when(values.header_text(match.value), here, "value")
    yield from when(values.at_most(4096)(match.value), here, "value")


def _timeouts(timeouts: Any, at: Path) -> Iterator[Finding]:
    texts = (timeouts.request, timeouts.backend_request)
    if any(not text or duration(text) for text in texts):
        return
    request, attempt = map(milliseconds, texts)
    if request and attempt > request:
        message = f"{timeouts.backend_request} is longer than request, {timeouts.request}"
        yield Finding((*at, "backendRequest"), "duration", message)


def _retry_code(code: int) -> str | None:
    return None if 400 <= code <= 599 else f"status {code} is not allowed; allowed: 400 to 599"


def _grpc_rule(rule: Any, at: Path) -> Iterator[Finding]:
    yield from once_each([each.type for each in rule.filters], (*at, "filters"))


def _grpc_method(method: Any, at: Path) -> Iterator[Finding]:
    if not (method.service or method.method):
        yield required(at, "service", "method")
    yield from _grpc_path(method, at)
    for name, form in (("service", _GRPC_SERVICE), ("method", _GRPC_METHOD)):
        text = getattr(method, name)
        if not text:
            continue
        if method.type == _REGEX:
            yield from when(values.regex(text), (*at, name), "regex")
        elif not form.fullmatch(text) or len(text) > PATH_LIMIT:
            yield Finding((*at, name), "grpc-name", f"{text!r} is not the name of a gRPC {name}")


def _grpc_path(method: Any, at: Path) -> Iterator[Finding]:
    """Expressions for service and method become one, which has to be small enough as well."""
    parts = (method.service, method.method)
    if method.type == _REGEX and all(values.regex(part) is None for part in parts if part):
        yield from when(values.regex(f"/(?:{parts[0]})/(?:{parts[1]})"), at, "regex")


def _backend(backend: Any, at: Path) -> Iterator[Finding]:
    yield from targets(backend, at, _BACKENDS, default=("", "Service"))
    if not backend.port:
        yield required((*at, "port"), "port")


def _changing_backend(backend: Any, at: Path) -> Iterator[Finding]:
    yield from _backend(backend, at)
    yield from sizes(backend, at, {"filters": (0, 16)})
    kinds = [each.type for each in backend.filters]
    yield from once_each(kinds, (*at, "filters"))
    for index, each in enumerate(kinds):
        if each in FILTERS and each not in _OF_BACKENDS:
            message = f"{each!r} is not supported for a backend; allowed: {', '.join(_OF_BACKENDS)}"
            yield Finding((*at, "filters", index, "type"), "unsupported", message)


_ROUTE_LIMITS = {"parent_refs": (0, 32), "hostnames": (0, 16), "rules": (1, 16)}
_RULE_LIMITS = {"matches": (0, 64), "filters": (0, 16), "backend_refs": (0, 16)}
_MATCH_TYPE = values.one_of("Exact", _REGEX)
_HOST = ("host", hostname)
_PORT = ("port", values.port)

FAMILY = Family(
    fields=prefixed(
        PACKAGE,
        {
            "ParentReference.section_name": ("name", section),
            "ParentReference.port": _PORT,
            "HTTPRouteSpec.hostnames": _HOST,
            "HTTPRouteRule.name": ("name", section),
            "HTTPRouteTimeouts.request": ("duration", duration),
            "HTTPRouteTimeouts.backend_request": ("duration", duration),
            "HTTPRouteRetry.codes": ("status", _retry_code),
            "HTTPRouteRetry.attempts": ("attempts", values.not_negative),
            "HTTPRouteRetry.backoff": ("duration", positive_duration),
            "HTTPRouteMatch.method": ("method", values.one_of(*METHODS)),
            "HTTPPathMatch.type": (
                "match-type",
                values.one_of("Exact", "PathPrefix", _REGEX),
            ),
            "HTTPHeaderMatch.type": ("match-type", _MATCH_TYPE),
            "HTTPHeaderMatch.name": ("header", values.token),
            "HTTPQueryParamMatch.type": ("match-type", _MATCH_TYPE),
            "HTTPQueryParamMatch.name": ("query-parameter", values.query_parameter),
            "BackendObjectReference.port": _PORT,
            "HTTPBackendRef.port": _PORT,
            "HTTPBackendRef.weight": ("weight", weight),
            "GRPCRouteSpec.hostnames": _HOST,
            "GRPCRouteRule.name": ("name", section),
            "GRPCMethodMatch.type": ("match-type", _MATCH_TYPE),
            "GRPCBackendRef.port": _PORT,
            "GRPCBackendRef.weight": ("weight", weight),
            "TLSRouteSpec.hostnames": _HOST,
            "TLSRouteRule.name": ("name", section),
            "TCPRouteRule.name": ("name", section),
            "BackendRef.port": _PORT,
            "BackendRef.weight": ("weight", weight),
        },
    ),
    messages=prefixed(
        PACKAGE,
        {
            "ParentReference": _parent,
            "HTTPRouteSpec": sized(_ROUTE_LIMITS, _http_route),
            "HTTPRouteRule": sized(_RULE_LIMITS, _http_rule),
            "HTTPRouteTimeouts": _timeouts,
            "HTTPRouteMatch": sized({"headers": (0, 16), "query_params": (0, 16)}),
            "HTTPPathMatch": _path_match,
            "HTTPHeaderMatch": _value_match,
            "HTTPQueryParamMatch": _value_match,
            "BackendObjectReference": _backend,
            "HTTPBackendRef": _changing_backend,
            "GRPCRouteSpec": sized(_ROUTE_LIMITS, _http_route),
            "GRPCRouteRule": sized(_RULE_LIMITS, _grpc_rule),
            "GRPCRouteMatch": sized({"headers": (0, 16)}),
            "GRPCMethodMatch": _grpc_method,
            "GRPCBackendRef": _changing_backend,
            "TLSRouteSpec": sized({**_ROUTE_LIMITS, "rules": (1, 1)}),
            "TLSRouteRule": sized({"backend_refs": (1, 16)}),
            "TCPRouteSpec": sized({"parent_refs": (0, 32), "rules": (1, 1)}),
            "TCPRouteRule": sized({"backend_refs": (1, 16)}),
            "BackendRef": _backend,
        },
    ),
    unsupported=prefixed(
        PACKAGE,
        {
            f"{each}.session_persistence": (
                "persistence is a label of the Service: istio.io/persistent-session"
            )
            for each in ("HTTPRouteRule", "GRPCRouteRule")
        },
    ),
)
