"""EnvoyFilter (galley-and-kubernetes.md B2)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mast.galley.core.objects import ConfigObject
from mast.galley.core.problem import Finding, Path, warning
from mast.galley.core.rules import common, values
from mast.galley.core.rules.table import SPEC, Family, required, when

_HCM = frozenset({"envoy.http_connection_manager",
                  "envoy.filters.network.http_connection_manager"})  # fmt: skip
# Which match goes with what is patched; what is not here takes any.
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
    "BOOTSTRAP": frozenset(),
}


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
    elif operation != "REMOVE" and not patch.patch.HasField("value"):
        yield required((*at, "patch", "value"), "value")
    elif operation != "REMOVE" and apply_to in {"NETWORK_FILTER", "HTTP_FILTER"}:
        yield from _typed(patch.patch, (*at, "patch", "value"))
    yield from _match(patch, apply_to, at)


def _match(patch: Any, apply_to: str, at: Path) -> Iterator[Finding]:
    allowed = _MATCHES.get(apply_to)
    chosen = patch.match.WhichOneof("object_types")
    if allowed is not None and chosen is not None and chosen not in allowed:
        shown = "routeConfiguration" if chosen == "route_configuration" else chosen
        message = f"a match of {shown!r} does not go with applyTo {apply_to}"
        yield Finding((*at, "match", shown), "match", message)
    chain = patch.match.listener.filter_chain.filter
    here = (*at, "match", "listener", "filterChain", "filter")
    if patch.match.listener.filter_chain.HasField("filter") and not chain.name:
        yield required((*here, "name"), "name")
    if chain.HasField("sub_filter") and chain.name not in _HCM:
        message = "'subFilter' needs the filter envoy.filters.network.http_connection_manager"
        yield Finding((*here, "subFilter"), "match", message)
    version = patch.match.proxy.proxy_version
    if version:
        where = (*at, "match", "proxy", "proxyVersion")
        if len(version) > values.REGEX_LIMIT:
            message = f"longer than {values.REGEX_LIMIT} characters"
            yield warning(where, "regex", message)
        else:
            yield from when(values.regex(version), where, "regex")


def _typed(patch: Any, at: Path) -> Iterator[Finding]:
    """A filter's settings need their type: Envoy has no untyped ones any more."""
    fields = patch.value.fields
    if "config" in fields and "typed_config" not in fields:
        message = "'config' is ignored by Envoy; use typed_config with its @type"
        yield warning((*at, "config"), "typed-config", message)
    typed = fields["typed_config"].struct_value if "typed_config" in fields else None
    if typed is not None and "@type" not in typed.fields:
        message = "typed_config needs '@type'"
        yield Finding((*at, "typed_config"), "typed-config", message)


def _enum(message: Any, name: str) -> str:
    field = message.DESCRIPTOR.fields_by_name[name]
    return str(field.enum_type.values_by_number[getattr(message, name)].name)


FAMILY = Family(
    messages={"istio.networking.v1alpha3.EnvoyFilter.EnvoyConfigObjectPatch": _patch},
    objects={"EnvoyFilter": _object},
)
