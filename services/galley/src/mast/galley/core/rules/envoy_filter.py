"""EnvoyFilter (galley-and-kubernetes.md B2, pilot.md K1, K2)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mast.common.envoy.extensions import HTTP_FILTERS, NETWORK_FILTERS, config_type
from mast.galley.core.objects import ConfigObject
from mast.galley.core.problem import Finding, Path, warning
from mast.galley.core.rules import common, envoy_value, values
from mast.galley.core.rules.table import SPEC, Family, prefixed, required, when

_HCM = frozenset({"envoy.http_connection_manager",
                  "envoy.filters.network.http_connection_manager"})  # fmt: skip
_ANYTHING = frozenset(
    {"MERGE", "MERGE_AND_REPLACE_LIST", "ADD", "REMOVE", "REPLACE",
     "INSERT_BEFORE", "INSERT_AFTER", "INSERT_FIRST"}
)  # fmt: skip
_NO_REPLACE = _ANYTHING - {"REPLACE"}
# What may be done to what is patched (K1); INSERT_* means ADD where order does not matter (K2).
_OPERATIONS: Mapping[str, frozenset[str]] = {
    "LISTENER": _ANYTHING,
    "LISTENER_FILTER": _ANYTHING,
    "FILTER_CHAIN": _ANYTHING,
    "NETWORK_FILTER": _ANYTHING,
    "HTTP_FILTER": _ANYTHING,
    "ROUTE_CONFIGURATION": _NO_REPLACE,
    "VIRTUAL_HOST": _ANYTHING,
    "HTTP_ROUTE": _NO_REPLACE,
    "CLUSTER": _NO_REPLACE,
    "EXTENSION_CONFIG": frozenset({"ADD", "INSERT_BEFORE", "INSERT_AFTER", "INSERT_FIRST"}),
    "BOOTSTRAP": frozenset({"MERGE"}),
}
# Which match goes with what is patched.
_LISTENER = frozenset({"listener"})
_ROUTE = frozenset({"route_configuration"})
_MATCHES: Mapping[str, frozenset[str]] = {
    "LISTENER": _LISTENER,
    "FILTER_CHAIN": _LISTENER,
    "NETWORK_FILTER": _LISTENER,
    "LISTENER_FILTER": _LISTENER,
    "HTTP_FILTER": frozenset({"listener", "waypoint"}),
    "ROUTE_CONFIGURATION": _ROUTE,
    "VIRTUAL_HOST": _ROUTE,
    "HTTP_ROUTE": frozenset({"route_configuration", "waypoint"}),
    "CLUSTER": frozenset({"cluster"}),
    "EXTENSION_CONFIG": frozenset(),
    "BOOTSTRAP": frozenset(),
}
_CLASSES = frozenset({"NETWORK_FILTER", "HTTP_FILTER"})
_NAMED = frozenset({"REPLACE", "REMOVE"})
_NO_WAYPOINTS = "there are no waypoint proxies in this mesh"


def _object(obj: ConfigObject) -> Iterator[Finding]:
    spec = obj.spec
    message = "EnvoyFilter patches internals of Envoy: check it with every upgrade"
    yield warning(SPEC, "envoy-filter", message)
    yield from common.attachment(obj)
    if spec.filters:
        message = "'filters' is the form of 1.0 to 1.2; use configPatches"
        yield warning((*SPEC, "filters"), "deprecated", message)
    if spec.workload_labels:
        message = "'workloadLabels' is deprecated; use workloadSelector"
        yield warning((*SPEC, "workloadLabels"), "deprecated", message)
        if spec.HasField("workload_selector") or spec.targetRefs:
            message = "only one of 'workloadLabels', 'workloadSelector', 'targetRefs' may be set"
            yield Finding((*SPEC, "workloadLabels"), "one-of", message)


def _patch(patch: Any, at: Path) -> Iterator[Finding]:
    apply_to = _enum(patch, "apply_to")
    if apply_to == "INVALID":
        yield required((*at, "applyTo"), "applyTo")
        return
    operation = _enum(patch.patch, "operation")
    if not patch.HasField("patch"):
        yield required((*at, "patch"), "patch")
    elif operation == "INVALID":
        yield required((*at, "patch", "operation"), "operation")
    elif operation not in _OPERATIONS[apply_to]:
        allowed = ", ".join(sorted(_OPERATIONS[apply_to]))
        message = f"{operation} does not go with applyTo {apply_to}; allowed: {allowed}"
        yield Finding((*at, "patch", "operation"), "operation", message)
    else:
        yield from _change(patch.patch, apply_to, operation, (*at, "patch"))
    yield from _match(patch, apply_to, at)
    yield from _effect(patch, apply_to, operation, at)


def _change(change: Any, apply_to: str, operation: str, at: Path) -> Iterator[Finding]:
    """The value of a patch, and where an added filter goes."""
    here = (*at, "value")
    if operation == "REMOVE":
        if change.HasField("value"):
            yield warning(here, "without-effect", "REMOVE uses no value")
    elif not change.HasField("value"):
        yield required(here, "value")
    else:
        yield from envoy_value.findings(change.value, apply_to, operation, here)
    if change.filter_class and (apply_to not in _CLASSES or operation != "ADD"):
        message = "filterClass is for ADD of NETWORK_FILTER and HTTP_FILTER; it has no effect here"
        yield warning((*at, "filterClass"), "without-effect", message)


def _match(patch: Any, apply_to: str, at: Path) -> Iterator[Finding]:
    chosen = patch.match.WhichOneof("object_types")
    if chosen is not None and chosen not in _MATCHES[apply_to]:
        shown = "routeConfiguration" if chosen == "route_configuration" else chosen
        message = f"a match of {shown!r} does not go with applyTo {apply_to}"
        yield Finding((*at, "match", shown), "match", message)
    chain = patch.match.listener.filter_chain.filter
    here = (*at, "match", "listener", "filterChain", "filter")
    if patch.match.listener.filter_chain.HasField("filter") and not chain.name:
        yield required((*here, "name"), "name")
    if chain.HasField("sub_filter"):
        if chain.name not in _HCM:
            message = "'subFilter' needs the filter envoy.filters.network.http_connection_manager"
            yield Finding((*here, "subFilter"), "match", message)
        elif not chain.sub_filter.name:
            yield required((*here, "subFilter", "name"), "name")
    version = patch.match.proxy.proxy_version
    if version:
        where = (*at, "match", "proxy", "proxyVersion")
        if len(version) > values.REGEX_LIMIT:
            message = f"longer than {values.REGEX_LIMIT} characters"
            yield warning(where, "regex", message)
        else:
            yield from when(values.regex(version), where, "regex")


def _effect(patch: Any, apply_to: str, operation: str, at: Path) -> Iterator[Finding]:
    """What is accepted but never does anything."""
    match, here = patch.match, (*at, "match")
    context = _enum(match, "context")
    if context == "WAYPOINT":
        message = f"{_NO_WAYPOINTS}; the patch is for none"
        yield warning((*here, "context"), "without-effect", message)
    routes = match.route_configuration
    for name, value in (("gateway", routes.gateway), ("portName", routes.port_name)):
        if value and context not in {"GATEWAY", "ANY"}:
            message = f"{name!r} is for gateways; with context {context} it has no effect"
            yield warning((*here, "routeConfiguration", name), "without-effect", message)
    if operation in _NAMED and not _names_a_filter(apply_to, match.listener):
        message = f"{operation} of {apply_to} needs the name of the filter in its match"
        yield warning(here, "without-effect", message)


def _names_a_filter(apply_to: str, match: Any) -> bool:
    """The match tells which filter is meant, or it is none that is patched."""
    if apply_to == "LISTENER_FILTER":
        return bool(match.listener_filter)
    if apply_to == "NETWORK_FILTER":
        return bool(match.filter_chain.filter.name)
    if apply_to == "HTTP_FILTER":
        return bool(match.filter_chain.filter.sub_filter.name)
    return True


def _old_filter(each: Any, at: Path) -> Iterator[Finding]:
    """A filter to insert, as 1.0 to 1.2 had it: its settings need a type that its name tells."""
    kind = _enum(each, "filter_type")
    if kind == "INVALID":
        yield required((*at, "filterType"), "filterType")
        return
    if not each.filter_name:
        yield required((*at, "filterName"), "filterName")
        return
    category = HTTP_FILTERS if kind == "HTTP" else NETWORK_FILTERS
    of = config_type(category, each.filter_name)
    if of is None:
        message = f"stock Envoy 1.40 has no {kind} filter {each.filter_name!r}"
        yield Finding((*at, "filterName"), "unknown-type", message)
    elif not each.HasField("filter_config"):
        yield required((*at, "filterConfig"), "filterConfig")
    else:
        apply_to = "HTTP_FILTER" if kind == "HTTP" else "NETWORK_FILTER"
        yield from envoy_value.settings(each.filter_config, of, apply_to, (*at, "filterConfig"))
    position = each.insert_position
    if _enum(position, "index") in {"BEFORE", "AFTER"} and not position.relative_to:
        yield required((*at, "insertPosition", "relativeTo"), "relativeTo")


def _enum(message: Any, name: str) -> str:
    field = message.DESCRIPTOR.fields_by_name[name]
    return str(field.enum_type.values_by_number[getattr(message, name)].name)


_PREFIX = "istio.networking.v1alpha3.EnvoyFilter"
_PORT = ("port", values.port)

FAMILY = Family(
    messages=prefixed(_PREFIX, {"EnvoyConfigObjectPatch": _patch, "Filter": _old_filter}),
    fields=prefixed(
        _PREFIX,
        {
            "ListenerMatch.port_number": _PORT,
            "ListenerMatch.FilterChainMatch.destination_port": _PORT,
            "RouteConfigurationMatch.port_number": _PORT,
            "ClusterMatch.port_number": _PORT,
            "WaypointMatch.port_number": _PORT,
            "DeprecatedListenerMatch.port_number": _PORT,
        },
    ),
    objects={"EnvoyFilter": _object},
    without_effect=prefixed(
        _PREFIX,
        {
            "ListenerMatch.port_name": "use portNumber",
            "EnvoyConfigObjectMatch.waypoint": _NO_WAYPOINTS,
            "DeprecatedListenerMatch.port_name_prefix": "use configPatches",
            "DeprecatedListenerMatch.listener_protocol": "use configPatches",
            "DeprecatedListenerMatch.address": "use configPatches",
        },
    ),
)
