"""HTTPRoute, GRPCRoute, TLSRoute, TCPRoute (Gateway API; pilot.md I8)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from mast.galley.core.problem import Finding, Path
from mast.galley.core.rules import values
from mast.galley.core.rules.kubernetes import (
    GATEWAY_API,
    PACKAGE,
    duration,
    hostname,
    milliseconds,
    named_entries,
    positive_duration,
    precise_hostname,
    section,
    sized,
    sizes,
    targets,
    unsupported,
    weight,
)
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

_ISTIO = "networking.istio.io"
_BACKENDS = {("", "Service"): "Service", (_ISTIO, "Hostname"): f"{_ISTIO}/Hostname"}
_GATEWAY = (GATEWAY_API, "Gateway")
_PARENTS = {
    _GATEWAY: "Gateway",
    ("", "Service"): "core/Service",
    (_ISTIO, "ServiceEntry"): f"{_ISTIO}/ServiceEntry",
}
_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")
_STATUSES = frozenset({301, 302, 303, 307, 308})
_PATH = re.compile(r"/([-A-Za-z0-9/._~!$&'()*+,;=:@]|%[0-9a-fA-F]{2})*")
_NOT_IN_PATH = ("//", "/./", "/../", "%2f", "%2F", "#")
_NOT_AT_ITS_END = ("/..", "/.")
_PATH_LIMIT = 1024
_GRPC_SERVICE = re.compile(r"[A-Za-z_][A-Za-z_0-9]*(\.[A-Za-z_][A-Za-z_0-9]*)*")
_GRPC_METHOD = re.compile(r"[A-Za-z_][A-Za-z_0-9]*")
_ORIGIN = re.compile(
    r"\*|[a-z][-a-z0-9+.]*://(\*\.)?([^\s:/*?#]+|\[[0-9a-fA-F:]+\]|\*)(:[0-9]{1,5})?"
)
_MATCHES_LIMIT = 128

# The field of a filter that belongs to its type.
_FILTERS: Mapping[str, str] = {
    "RequestHeaderModifier": "request_header_modifier",
    "ResponseHeaderModifier": "response_header_modifier",
    "RequestMirror": "request_mirror",
    "RequestRedirect": "request_redirect",
    "URLRewrite": "url_rewrite",
    "CORS": "cors",
}
_REFUSED: Mapping[str, tuple[str, str]] = {
    "ExtensionRef": ("extension_ref", "no extension is known; use an EnvoyFilter or WasmPlugin"),
    "ExternalAuth": ("external_auth", "use an AuthorizationPolicy with action CUSTOM"),
}
_REPEATABLE = frozenset({"RequestMirror"})
_OF_BACKENDS = ("RequestHeaderModifier", "ResponseHeaderModifier")
_REGEX = "RegularExpression"


def _http_route(spec: Any, at: Path) -> Iterator[Finding]:
    yield from named_entries(spec, at, "rules")
    number = sum(len(rule.matches) for rule in spec.rules)
    if number > _MATCHES_LIMIT:
        message = f"{number} matches in all rules; allowed: {_MATCHES_LIMIT}"
        yield Finding((*at, "rules"), "size", message)


def _parent(parent: Any, at: Path) -> Iterator[Finding]:
    group = parent.group if parent.HasField("group") else GATEWAY_API
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
    yield from _once_each(kinds, (*at, "filters"))
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
    why = "persistence is a label of the Service: istio.io/persistent-session"
    yield from unsupported(rule, at, why, "session_persistence")


def _once_each(kinds: list[str], at: Path) -> Iterator[Finding]:
    for index in values.duplicates(kinds):
        if kinds[index] not in _REPEATABLE:
            yield Finding((*at, index), "duplicate", f"{kinds[index]} is given twice")


def _one_prefix(matches: Any) -> bool:
    if len(matches) > 1:
        return False
    return all((match.path.type or "PathPrefix") == "PathPrefix" for match in matches)


def _http_filter(each: Any, at: Path) -> Iterator[Finding]:
    """The type names the one field that is set."""
    if each.type in _REFUSED:
        _, why = _REFUSED[each.type]
        yield Finding((*at, "type"), "unsupported", f"{each.type!r} is not supported: {why}")
        return
    fields = each.DESCRIPTOR.fields_by_name
    known = {kind: name for kind, name in _FILTERS.items() if name in fields}
    if each.type and each.type not in known:
        message = f"{each.type!r} is not allowed; allowed: {', '.join(known)}"
        yield Finding((*at, "type"), "filter", message)
        return
    for name in fields:
        if name == "type":
            continue
        if name == known.get(each.type):
            if not is_set(each, name):
                yield required((*at, json_name(each, name)), json_name(each, name))
        else:
            yield from forbidden(each, at, f"with type {each.type}", name)


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
    if len(text) > _PATH_LIMIT:
        return f"path has {len(text)} characters; allowed: {_PATH_LIMIT}"
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


def _header(header: Any, at: Path) -> Iterator[Finding]:
    yield from when(values.header_value(header.value), (*at, "value"), "header")
    yield from when(values.at_most(4096)(header.value), (*at, "value"), "header")


def _header_filter(modifier: Any, at: Path) -> Iterator[Finding]:
    if not any(is_set(modifier, name) for name in ("set", "add", "remove")):
        yield required(at, "set", "add", "remove")
    names = [each.name.lower() for each in (*modifier.set, *modifier.add)]
    names += [each.lower() for each in modifier.remove]
    for index in values.duplicates(names):
        if names[index]:
            message = f"header {names[index]!r} is changed twice"
            yield Finding(at, "duplicate", message)


def _mirror(mirror: Any, at: Path) -> Iterator[Finding]:
    yield from exclusive(mirror, at, "percent", "fraction")


def _fraction(fraction: Any, at: Path) -> Iterator[Finding]:
    whole = fraction.denominator if fraction.HasField("denominator") else 100
    if whole < 1:
        yield Finding(
            (*at, "denominator"), "fraction", f"{whole} is not allowed; allowed: 1 or more"
        )
    elif not 0 <= fraction.numerator <= whole:
        message = f"{fraction.numerator} of {whole} is not allowed; allowed: 0 to {whole}"
        yield Finding((*at, "numerator"), "fraction", message)
    else:
        share = values.fraction(100 * fraction.numerator / whole)
        yield from when(share, (*at, "numerator"), "fraction")


def _status(code: int) -> str | None:
    if code in _STATUSES:
        return None
    return f"status {code} is not allowed; allowed: {', '.join(map(str, sorted(_STATUSES)))}"


def _redirect(redirect: Any, at: Path) -> Iterator[Finding]:
    if not redirect.ListFields():
        yield required(at, "scheme", "hostname", "path", "port", "statusCode")


def _rewrite(rewrite: Any, at: Path) -> Iterator[Finding]:
    if not rewrite.ListFields():
        yield required(at, "hostname", "path")


def _path_modifier(modifier: Any, at: Path) -> Iterator[Finding]:
    fields = {"ReplaceFullPath": "replace_full_path", "ReplacePrefixMatch": "replace_prefix_match"}
    for kind, name in fields.items():
        if modifier.type == kind and not is_set(modifier, name):
            yield required((*at, json_name(modifier, name)), json_name(modifier, name))
        elif modifier.type != kind:
            yield from forbidden(modifier, at, f"with type {modifier.type}", name)


def _new_path(text: str) -> str | None:
    """A path that takes the place of another: it is written into the request line."""
    if len(text) > _PATH_LIMIT:
        return f"path has {len(text)} characters; allowed: {_PATH_LIMIT}"
    if text and not text.startswith("/"):
        return f"path {text!r} must begin with '/'"
    return values.header_text(text)


def _cors(cors: Any, at: Path) -> Iterator[Finding]:
    for field in ("allow_origins", "allow_methods", "allow_headers", "expose_headers"):
        texts = list(getattr(cors, field))
        if "*" in texts and len(texts) > 1:
            message = "'*' must be the only entry"
            yield Finding((*at, json_name(cors, field)), "cors", message)
        for index in values.duplicates(texts):
            here = (*at, json_name(cors, field), index)
            yield Finding(here, "duplicate", f"{texts[index]!r} is given twice")


def _origin(text: str) -> str | None:
    if len(text) <= 253 and _ORIGIN.fullmatch(text):
        return None
    return f"{text!r} is not an origin; write for example https://a.com, https://*.a.com:8443, *"


def _name_or_all(text: str) -> str | None:
    return None if text == "*" else values.token(text)


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
    yield from _once_each([each.type for each in rule.filters], (*at, "filters"))
    why = "persistence is a label of the Service: istio.io/persistent-session"
    yield from unsupported(rule, at, why, "session_persistence")


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
        elif not form.fullmatch(text) or len(text) > _PATH_LIMIT:
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
    yield from _once_each(kinds, (*at, "filters"))
    for index, each in enumerate(kinds):
        if each in _FILTERS and each not in _OF_BACKENDS:
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
            "HTTPRouteMatch.method": ("method", values.one_of(*_METHODS)),
            "HTTPPathMatch.type": (
                "match-type",
                values.one_of("Exact", "PathPrefix", _REGEX),
            ),
            "HTTPHeaderMatch.type": ("match-type", _MATCH_TYPE),
            "HTTPHeaderMatch.name": ("header", values.token),
            "HTTPQueryParamMatch.type": ("match-type", _MATCH_TYPE),
            "HTTPQueryParamMatch.name": ("query-parameter", values.query_parameter),
            "HTTPHeader.name": ("header", values.token),
            "HTTPHeaderFilter.remove": ("header", values.token),
            "HTTPRequestMirrorFilter.percent": ("percentage", values.percent),
            "HTTPRequestRedirectFilter.scheme": ("scheme", values.one_of("http", "https")),
            "HTTPRequestRedirectFilter.hostname": ("host", precise_hostname),
            "HTTPRequestRedirectFilter.port": _PORT,
            "HTTPRequestRedirectFilter.status_code": ("status", _status),
            "HTTPURLRewriteFilter.hostname": ("host", precise_hostname),
            "HTTPPathModifier.type": (
                "path-modifier",
                values.one_of("ReplaceFullPath", "ReplacePrefixMatch"),
            ),
            "HTTPPathModifier.replace_full_path": ("path", _new_path),
            "HTTPPathModifier.replace_prefix_match": ("path", _new_path),
            "HTTPCORSFilter.allow_origins": ("cors", _origin),
            "HTTPCORSFilter.allow_methods": ("cors", values.one_of(*_METHODS, "*")),
            "HTTPCORSFilter.allow_headers": ("cors", _name_or_all),
            "HTTPCORSFilter.expose_headers": ("cors", _name_or_all),
            "HTTPCORSFilter.max_age": ("cors", values.not_negative),
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
            "HTTPRouteFilter": _http_filter,
            "HTTPHeader": _header,
            "HTTPHeaderFilter": sized(
                {"set": (0, 16), "add": (0, 16), "remove": (0, 16)}, _header_filter
            ),
            "HTTPRequestMirrorFilter": _mirror,
            "Fraction": _fraction,
            "HTTPRequestRedirectFilter": _redirect,
            "HTTPURLRewriteFilter": _rewrite,
            "HTTPPathModifier": _path_modifier,
            "HTTPCORSFilter": sized(
                {
                    "allow_origins": (0, 64),
                    "allow_methods": (0, 9),
                    "allow_headers": (0, 64),
                    "expose_headers": (0, 64),
                },
                _cors,
            ),
            "BackendObjectReference": _backend,
            "HTTPBackendRef": _changing_backend,
            "GRPCRouteSpec": sized(_ROUTE_LIMITS, _http_route),
            "GRPCRouteRule": sized(_RULE_LIMITS, _grpc_rule),
            "GRPCRouteMatch": sized({"headers": (0, 16)}),
            "GRPCMethodMatch": _grpc_method,
            "GRPCRouteFilter": _http_filter,
            "GRPCBackendRef": _changing_backend,
            "TLSRouteSpec": sized({**_ROUTE_LIMITS, "rules": (1, 1)}),
            "TLSRouteRule": sized({"backend_refs": (1, 16)}),
            "TCPRouteSpec": sized({"parent_refs": (0, 32), "rules": (1, 1)}),
            "TCPRouteRule": sized({"backend_refs": (1, 16)}),
            "BackendRef": _backend,
        },
    ),
)
