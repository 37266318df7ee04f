"""Headers that Mixer's configuration reads of reports: access logs must be told them (K)."""

import re
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from google.protobuf.json_format import MessageToDict

from mast.common.kinds import BY_GROUP_KIND, LEGACY_TEMPLATES
from mast.pilot.core.scope.scope import Scope

_KEY: Final = "headers of Mixer's reports"
_GROUP: Final = "config.istio.io"
_OF_CHECKS: Final = frozenset({"apikey", "authorization", "checknothing", "listentry", "quota"})
"""Templates of which no report is made."""
_LEGACY: Final = sorted(LEGACY_TEMPLATES.keys() - _OF_CHECKS)

_READ: Final = re.compile(r"""\b(request|response)\.headers\s*\[\s*(["'`])([^"'`]*)\2\s*\]""")
_NAME: Final = re.compile(r"[a-z0-9!#$%&*+.^_|~-]+")
_SECRET: Final = frozenset({"authorization", "cookie", "proxy-authorization", "set-cookie"})


@dataclass(frozen=True)
class LoggedHeaders:
    """Names of headers, sorted."""

    request: Sequence[str] = ()
    response: Sequence[str] = ()


def logged_headers(scope: Scope) -> LoggedHeaders:
    """What rules and instances of the root namespace and of the own one read.

    Those that carry secrets are never logged: policies can read them, reports cannot.
    """
    return scope.cached(_KEY, _visible)


def _visible(scope: Scope) -> LoggedHeaders:
    places = sorted({scope.mesh.root_namespace, scope.namespace})
    found = [scope.shared((_KEY, each), partial(_read, namespace=each)) for each in places]
    return LoggedHeaders(
        tuple(sorted({name for each in found for name in each.request})),
        tuple(sorted({name for each in found for name in each.response})),
    )


def _read(scope: Scope, namespace: str) -> LoggedHeaders:
    """What one namespace reads; worked out once for all proxies."""
    found: dict[str, set[str]] = {"request": set(), "response": set()}
    for text in _expressions(scope, namespace):
        for side, _, name in _READ.findall(text):
            if _NAME.fullmatch(name) and name not in _SECRET:
                found[side].add(name)
    found["request"] |= _keys_of_apis(scope, namespace)
    return LoggedHeaders(tuple(sorted(found["request"])), tuple(sorted(found["response"])))


def _expressions(scope: Scope, namespace: str) -> Iterator[str]:
    """All texts that may be expressions about a report."""
    for kind in ("rule", "instance", *_LEGACY):
        for config in scope.configs(BY_GROUP_KIND[_GROUP, kind].collection, namespace):
            if kind != "instance" or config.spec.compiled_template not in _OF_CHECKS:
                yield from _texts(MessageToDict(config.spec))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)


def _keys_of_apis(scope: Scope, namespace: str) -> Set[str]:
    """Headers that the keys of APIs are in (C18)."""
    specs = scope.configs(BY_GROUP_KIND[_GROUP, "HTTPAPISpec"].collection, namespace)
    named = {key.header.lower() for spec in specs for key in spec.spec.api_keys}
    return {name for name in named if _NAME.fullmatch(name) and name not in _SECRET}
