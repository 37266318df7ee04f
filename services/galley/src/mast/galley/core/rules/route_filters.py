"""Filters of HTTPRoute and GRPCRoute (Gateway API; pilot.md I8)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mast.galley.core.problem import Finding, Path
from mast.galley.core.rules import values
from mast.galley.core.rules.kubernetes import METHODS, PACKAGE, PATH_LIMIT, precise_hostname, sized
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

_STATUSES = frozenset({301, 302, 303, 307, 308})
_ORIGIN = re.compile(
    r"\*|[a-z][-a-z0-9+.]*://(\*\.)?([^\s:/*?#]+|\[[0-9a-fA-F:]+\]|\*)(:[0-9]{1,5})?"
)
FILTERS: Mapping[str, str] = {
    "RequestHeaderModifier": "request_header_modifier",
    "ResponseHeaderModifier": "response_header_modifier",
    "RequestMirror": "request_mirror",
    "RequestRedirect": "request_redirect",
    "URLRewrite": "url_rewrite",
    "CORS": "cors",
}
"""The field of a filter that belongs to its type."""

_REFUSED: Mapping[str, str] = {
    "ExtensionRef": "no extension is known; use an EnvoyFilter or WasmPlugin",
    "ExternalAuth": "use an AuthorizationPolicy with action CUSTOM",
}
_REPEATABLE = frozenset({"RequestMirror"})


def once_each(kinds: Sequence[str], at: Path) -> Iterator[Finding]:
    """All filters but mirrors are given at most once (Gateway API HTTPRouteRule, "filters")."""
    for index in values.duplicates(kinds):
        if kinds[index] not in _REPEATABLE:
            yield Finding((*at, index), "duplicate", f"{kinds[index]} is given twice")


def _http_filter(each: Any, at: Path) -> Iterator[Finding]:
    """The type names the one field that is set."""
    if each.type in _REFUSED:
        message = f"{each.type!r} is not supported: {_REFUSED[each.type]}"
        yield Finding((*at, "type"), "unsupported", message)
        return
    fields = each.DESCRIPTOR.fields_by_name
    known = {kind: name for kind, name in FILTERS.items() if name in fields}
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
    if len(text) > PATH_LIMIT:
        return f"path has {len(text)} characters; allowed: {PATH_LIMIT}"
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


FAMILY = Family(
    fields=prefixed(
        PACKAGE,
        {
            "HTTPHeader.name": ("header", values.token),
            "HTTPHeaderFilter.remove": ("header", values.token),
            "HTTPRequestMirrorFilter.percent": ("percentage", values.percent),
            "HTTPRequestRedirectFilter.scheme": ("scheme", values.one_of("http", "https")),
            "HTTPRequestRedirectFilter.hostname": ("host", precise_hostname),
            "HTTPRequestRedirectFilter.port": ("port", values.port),
            "HTTPRequestRedirectFilter.status_code": ("status", _status),
            "HTTPURLRewriteFilter.hostname": ("host", precise_hostname),
            "HTTPPathModifier.type": (
                "path-modifier",
                values.one_of("ReplaceFullPath", "ReplacePrefixMatch"),
            ),
            "HTTPPathModifier.replace_full_path": ("path", _new_path),
            "HTTPPathModifier.replace_prefix_match": ("path", _new_path),
            "HTTPCORSFilter.allow_origins": ("cors", _origin),
            "HTTPCORSFilter.allow_methods": ("cors", values.one_of(*METHODS, "*")),
            "HTTPCORSFilter.allow_headers": ("cors", _name_or_all),
            "HTTPCORSFilter.expose_headers": ("cors", _name_or_all),
            "HTTPCORSFilter.max_age": ("cors", values.not_negative),
        },
    ),
    messages=prefixed(
        PACKAGE,
        {
            "HTTPRouteFilter": _http_filter,
            "GRPCRouteFilter": _http_filter,
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
        },
    ),
)
