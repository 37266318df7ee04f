"""Attributes of APIs: HTTPAPISpecs and their bindings (mixer_proxy.md C18).

1.0 proxies worked them out, later ones did not; here Mixer does for proxies of all versions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeAlias

from istio.mixer.v1.attributes_pb2 import Attributes as PlainAttributes
from istio.mixer.v1.config.client.api_spec_pb2 import (
    APIKey,
    HTTPAPISpec,
    HTTPAPISpecBinding,
    HTTPAPISpecPattern,
)
from mast.common.expressions.tree import EvaluationError
from mast.mixer.core.bound_services import names_service
from mast.mixer.core.engine import Condition, Reference
from mast.mixer.core.lang.functions import regex
from mast.mixer.core.values import NANOS, Attributes, Duration, Timestamp, Value

SPECS = "istio/config/v1alpha2/httpapispecs"
BINDINGS = "istio/config/v1alpha2/httpapispecbindings"

API_KEY = "request.api_key"
DEFAULT_KEYS = (APIKey(query="key"), APIKey(query="api_key"), APIKey(header="x-api-key"))
"""Where the key of an API is unless its spec says (Istio HTTPAPISpec, "api_keys")."""

_PARAMETER = re.compile(r"\{[^{}]*\}")

# Namespace and name of an object.
Name: TypeAlias = tuple[str, str]


@dataclass(frozen=True, slots=True)
class ApiAttributes:
    """What APIs tell of one request.

    ``origins`` has, by the name of every attribute that they might tell, what in the request
    decides about it.
    """

    values: Mapping[str, Value] = field(default_factory=dict)
    origins: Mapping[str, tuple[Reference, ...]] = field(default_factory=dict)

    def traced(self, references: Iterable[Reference]) -> tuple[Reference, ...]:
        """The references, those to such attributes replaced by their origins."""
        found: dict[Reference, None] = {}
        for each in references:
            found.update(dict.fromkeys(self.origins.get(each.name, (each,))))
        return tuple(found)


NOTHING = ApiAttributes()


@dataclass(frozen=True)
class ApiSpecs:
    """The specs and bindings of one moment."""

    specs: Mapping[Name, HTTPAPISpec] = field(default_factory=dict)
    bindings: Mapping[Name, HTTPAPISpecBinding] = field(default_factory=dict)

    def with_object(self, collection: str, name: Name, message: Any) -> ApiSpecs:
        """The same with one object put in place, or taken out if it is None."""
        specs, bindings = dict(self.specs), dict(self.bindings)
        table: dict[Name, Any] = specs if collection == SPECS else bindings
        table.pop(name, None)
        if message is not None:
            table[name] = message
        return ApiSpecs(specs, bindings)

    def attributes(self, request: Attributes) -> ApiAttributes:
        """What the APIs of the request's service tell; the first that tells something wins.

        Nothing replaces an attribute that the request has.
        """
        if not self.bindings:
            return NOTHING
        found = _Found(request)
        for spec in self._bound(found):
            found.add(spec)
        values = {name: value for name, value in found.values.items() if name not in request}
        return ApiAttributes(values, found.origins)

    def _bound(self, found: _Found) -> Iterable[HTTPAPISpec]:
        host = found.read("destination.service.host")
        chosen: dict[Name, None] = {}
        for name in sorted(self.bindings):
            binding = self.bindings[name]
            if names_service(binding.services, name[0], host):
                for reference in binding.api_specs:
                    chosen[reference.namespace or name[0], reference.name] = None
        return [self.specs[name] for name in chosen if name in self.specs]


class _Found:
    """The attributes found so far, and where they come from."""

    def __init__(self, request: Attributes) -> None:
        self._request = request
        self.values: dict[str, Value] = {}
        self.origins: dict[str, tuple[Reference, ...]] = {}
        self._every: tuple[Reference, ...] = ()

    def read(self, name: str) -> Value | None:
        """An attribute that all depends on."""
        value = self._request.get(name)
        self._every = (*self._every, _reference(name, None, value))
        return value

    def add(self, spec: HTTPAPISpec) -> None:
        """Everything that a spec tells."""
        self._put(plain(spec.attributes), ())
        path, method = self._request.get("request.path"), self._request.get("request.method")
        operation = (
            _reference("request.path", None, path),
            _reference("request.method", None, method),
        )
        for pattern in spec.patterns:
            told = plain(pattern.attributes)
            matched = _matches(pattern, str(path or ""), str(method or ""))
            self._put(told if matched else {}, operation, told)
            if matched:
                break
        for key in spec.api_keys or DEFAULT_KEYS:
            text, origin = _key(key, self._request)
            self._put({API_KEY: text} if text else {}, (origin,), {API_KEY: text})

    def _put(
        self,
        values: Mapping[str, Value],
        origin: tuple[Reference, ...],
        possible: Iterable[str] | None = None,
    ) -> None:
        for name in values if possible is None else possible:
            before = self.origins.get(name, self._every)
            self.origins[name] = tuple(dict.fromkeys((*before, *origin)))
        for name, value in values.items():
            self.values.setdefault(name, value)


def _reference(name: str, key: str | None, value: object) -> Reference:
    return Reference(name, key, Condition.ABSENCE if value is None else Condition.EXACT)


def _matches(pattern: HTTPAPISpecPattern, path: str, method: str) -> bool:
    """Whether a request is this operation: a template is for the path without the query."""
    if pattern.http_method and pattern.http_method != method:
        return False
    if pattern.WhichOneof("pattern") == "regex":
        try:
            return regex(pattern.regex).fullmatch(path) is not None
        except EvaluationError:
            return False
    return _template(pattern.uri_template).fullmatch(path.partition("?")[0]) is not None


@lru_cache(maxsize=4096)
def _template(text: str) -> re.Pattern[str]:
    """A URI template; each parameter stands for a part of one segment (RFC 6570, level 1)."""
    literals = map(re.escape, _PARAMETER.split(text))
    return re.compile("[^/]+".join(literals))


def _key(key: APIKey, request: Attributes) -> tuple[str, Reference]:
    """The text of a key, empty if the request has none, and where it would be."""
    place = key.WhichOneof("key")
    if place == "query":
        text = _entry(request, "request.query_params", key.query)
        return text or "", _reference("request.query_params", key.query, text)
    name = "cookie" if place == "cookie" else key.header.lower()
    text = _entry(request, "request.headers", name)
    origin = _reference("request.headers", name, text)
    return (_cookie(text or "", key.cookie) if place == "cookie" else text or ""), origin


def _entry(request: Attributes, name: str, key: str) -> str | None:
    value = request.get(name)
    return value.get(key) if isinstance(value, Mapping) else None


def _cookie(header: str, name: str) -> str:
    for pair in header.split(";"):
        key, _, value = pair.strip().partition("=")
        if key == name:
            return value.strip('"')
    return ""


def plain(message: PlainAttributes) -> dict[str, Value]:
    """The attributes of an uncompressed message; values of no type are left out."""
    found: dict[str, Value] = {}
    for name, value in message.attributes.items():
        kind = value.WhichOneof("value")
        if kind == "timestamp_value":
            found[name] = Timestamp(
                value.timestamp_value.seconds * NANOS + value.timestamp_value.nanos
            )
        elif kind == "duration_value":
            length = value.duration_value
            found[name] = Duration(length.seconds * NANOS + length.nanos)
        elif kind == "string_map_value":
            found[name] = dict(value.string_map_value.entries)
        elif kind is not None:
            found[name] = getattr(value, kind)
    return found
