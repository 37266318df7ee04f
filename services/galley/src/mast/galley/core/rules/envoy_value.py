"""Values of EnvoyFilter patches: Envoy's own messages, checked as Envoy does (pilot.md K1, N14).

What stays Envoy's to find: Wasm modules, what programs do when they are loaded, rules that only an
extension's code knows, names of clusters, secrets and files that are not there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from envoy.config.bootstrap.v3.bootstrap_pb2 import Bootstrap
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.config.listener.v3.listener_components_pb2 import Filter, FilterChain, ListenerFilter
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_components_pb2 import Route, VirtualHost
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (  # noqa: E501
    HttpFilter,
)
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct

from mast.common.envoy import extensions, types
from mast.common.envoy.constraints import deprecated, messages_in, violations
from mast.galley.core.decode import decode, descriptor_of
from mast.galley.core.documents import from_json
from mast.galley.core.problem import Finding, Path, warning
from mast.galley.core.rules import programs, values
from mast.galley.core.rules.table import when

MESSAGES: Mapping[str, type[Message]] = {
    "LISTENER": Listener,
    "LISTENER_FILTER": ListenerFilter,
    "FILTER_CHAIN": FilterChain,
    "NETWORK_FILTER": Filter,
    "HTTP_FILTER": HttpFilter,
    "ROUTE_CONFIGURATION": RouteConfiguration,
    "VIRTUAL_HOST": VirtualHost,
    "HTTP_ROUTE": Route,
    "CLUSTER": Cluster,
    "EXTENSION_CONFIG": TypedExtensionConfig,
    "BOOTSTRAP": Bootstrap,
}
# Objects that are found by their names; a route may do without, a chain as well.
_NAMED = frozenset(MESSAGES) - {"HTTP_ROUTE", "FILTER_CHAIN", "BOOTSTRAP"}
_MERGES = frozenset({"MERGE", "MERGE_AND_REPLACE_LIST"})
# Messages with a name and typed settings: what kind of extension they hold.
_CATEGORIES: Mapping[str, tuple[str, ...]] = {
    "envoy.config.accesslog.v3.AccessLog": ("envoy.access_loggers",),
    "envoy.config.core.v3.TransportSocket": (
        "envoy.transport_sockets.upstream",
        "envoy.transport_sockets.downstream",
    ),
    "envoy.config.listener.v3.Filter": (extensions.NETWORK_FILTERS,),
    "envoy.config.listener.v3.ListenerFilter": (
        extensions.LISTENER_FILTERS,
        "envoy.filters.udp_listener",
    ),
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter": (
        extensions.HTTP_FILTERS,
    ),
}
_OLDER = re.compile(r"\.v[12](alpha\d*)?\.")
_REGEX = "envoy.type.matcher.v3.RegexMatcher"
_LUA = "envoy.extensions.filters.http.lua.v3.Lua"
_EXPRESSION = "envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter"


def findings(value: Struct, apply_to: str, operation: str, at: Path) -> Iterator[Finding]:
    """Everything wrong with the value of a patch."""
    content = MessageToDict(value)
    decoded = decode(from_json(content), MESSAGES[apply_to], at, envoy=True)
    if decoded.findings:
        yield from map(_explained, decoded.findings)
        return
    message = decoded.message
    try:
        types.parsed(value, MESSAGES[apply_to])
    except types.Unreadable as error:
        yield Finding(at, "wrong-type", str(error))
        return
    merges = operation in _MERGES
    if not merges and apply_to in _NAMED and not message.name:
        yield Finding((*at, "name"), "required", "'name' is required")
    for path, complaint, absent in violations(message):
        whole = not merges or any(isinstance(each, int) for each in path)
        unnamed = path == ("name",)  # complained of above
        if (whole or not absent) and not unnamed:
            yield Finding((*at, *path), "envoy-value", f"Envoy refuses this: {complaint}")
    for each in deprecated(message):
        yield warning((*at, *each.path), "deprecated", each.complaint)
    for path, inner in messages_in(message):
        whole = not merges or any(isinstance(each, int) for each in path)
        if whole and _is_untyped(inner):
            said = "'typed_config' is required: Envoy knows extensions by its '@type' alone"
            yield Finding((*at, *path, "typed_config"), "required", said)
        yield from _message(inner, (*at, *path))


def settings(value: Struct, of: str, apply_to: str, at: Path) -> Iterator[Finding]:
    """What is wrong with untyped settings of a filter whose type is known (Istio 1.0 to 1.2)."""
    found = findings(typed_filter(value, of), apply_to, "ADD", ())
    for each in found:
        yield replace(each, path=(*at, *each.path[1:]))


def typed_filter(value: Struct, of: str) -> Struct:
    """A filter with typed settings, in JSON form, of settings without a type."""
    return ParseDict(
        {"name": of, "typed_config": {**MessageToDict(value), "@type": f"{types.PREFIX}{of}"}},
        Struct(),
    )


def _explained(finding: Finding) -> Finding:
    """Envoy's v2 form is told apart from mistakes."""
    if finding.rule == "unknown-field" and finding.path[-1] == "config":
        message = "'config' is of Envoy's v2 API, which is gone; use typed_config with its @type"
        return Finding(finding.path, "typed-config", message)
    return finding


def _message(message: Message, at: Path) -> Iterator[Finding]:
    """What is wrong with one message inside a value that its own fields do not tell."""
    content: Any = message
    name = descriptor_of(message).full_name
    if name == _REGEX:
        yield from when(values.regex(content.regex), (*at, "regex"), "regex")
    if name == _LUA:
        yield from _programs(content, at)
    if name == _EXPRESSION:
        yield from when(programs.expression(content.expression), (*at, "expression"), "expression")
    if "typed_config" not in descriptor_of(message).fields_by_name:
        return
    url = content.typed_config.type_url
    of = _meant(content.typed_config)
    if not url:
        return
    here = (*at, "typed_config")
    for category in _CATEGORIES.get(name, ())[:1]:
        old, new = content.name, extensions.canonical(category, content.name)
        if old != new:
            said = f"{old!r} is an old name of {new!r}; other patches may look for the new one"
            yield warning((*at, "name"), "deprecated", said)
    allowed = [each for c in _CATEGORIES.get(name, ()) for each in extensions.config_types(c)]
    if allowed and of not in allowed:
        what = name.rpartition(".")[2]
        yield Finding(here, "unknown-type", f"{of!r} configures no {what} of stock Envoy 1.40")
    elif not allowed and _foreign(of):
        said = f"{of!r} is no extension of stock Envoy 1.40"
        yield warning(here, "unknown-type", said)


def _programs(lua: Any, at: Path) -> Iterator[Finding]:
    """The programs of a Lua filter that are not in files."""
    yield from when(programs.lua(lua.inline_code), (*at, "inline_code"), "lua")
    here = (*at, "default_source_code", "inline_string")
    yield from when(programs.lua(lua.default_source_code.inline_string), here, "lua")
    for name, source in lua.source_codes.items():
        here = (*at, "source_codes", name, "inline_string")
        yield from when(programs.lua(source.inline_string), here, "lua")


def _is_untyped(message: Message) -> bool:
    """An extension of a kind that always has settings, here or by ECDS, without any."""
    fields = descriptor_of(message).fields_by_name
    if descriptor_of(message).full_name not in _CATEGORIES:
        return False
    given = (name for name in ("typed_config", "config_discovery") if name in fields)
    return not any(message.HasField(name) for name in given)


def _meant(typed: Any) -> str:
    """The type of typed settings, inside a TypedStruct as well."""
    name = types.type_name(typed.type_url)
    inner = types.unpacked(typed) if name in types.TYPED_STRUCTS else None
    return name if inner is None else types.type_name(getattr(inner, "type_url", ""))


def _foreign(name: str) -> bool:
    """A message of Envoy's older APIs, or of an extension that stock Envoy is built without."""
    of_envoy = name.startswith("envoy.extensions.") or bool(_OLDER.search(name))
    return of_envoy and name not in extensions.all_types()
