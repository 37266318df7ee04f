"""What Istio 1.4 refused and later versions take (galley-and-kubernetes.md, after B2; B3 "1.4")."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from mast.galley.core.objects import ConfigObject
from mast.galley.core.problem import Finding, Path
from mast.galley.core.rules.table import SPEC, is_set, required

_WHOLE = 100
_HOUR_NS = 3_600_000_000_000
_LOCAL = frozenset({"127.0.0.1", ""})
# What a proxy of 1.4 has if nothing is said (galley-and-kubernetes.md C2, "1.4").
_DRAIN_NS = 45_000_000_000
_SHUTDOWN_NS = 60_000_000_000


def check(obj: ConfigObject) -> Iterator[Finding]:
    """What 1.4 would refuse in an object that today's rules take."""
    rule = _RULES.get(str(obj.kind))
    if rule is not None:
        yield from rule(obj.spec)


def _export_to(spec: Any) -> Iterator[Finding]:
    at = (*SPEC, "exportTo")
    if len(spec.export_to) > 1:
        yield Finding(at, "export-to", f"{len(spec.export_to)} entries; 1.4 allows one: '.' or '*'")
    for index, entry in enumerate(spec.export_to):
        if entry not in {".", "*"}:
            yield Finding((*at, index), "export-to", f"{entry!r} is not allowed; 1.4 has '.', '*'")


def _weights(destinations: Sequence[Any], at: Path) -> Iterator[Finding]:
    """Shares in percent; several add up to 100."""
    for index, each in enumerate(destinations):
        if each.weight > _WHOLE:
            message = f"weight {each.weight} is out of range; 1.4 allows 0 to 100"
            yield Finding((*at, index, "weight"), "weight", message)
    total = sum(each.weight for each in destinations)
    if len(destinations) > 1 and total != _WHOLE:
        yield Finding(at, "weight", f"weights add up to {total}; 1.4 needs 100")


def _virtual_service(spec: Any) -> Iterator[Finding]:
    yield from _export_to(spec)
    for protocol in ("http", "tls", "tcp"):
        for index, route in enumerate(getattr(spec, protocol)):
            yield from _weights(route.route, (*SPEC, protocol, index, "route"))
    for index, route in enumerate(spec.http):
        if route.websocket_upgrade and route.HasField("redirect"):
            message = "'websocketUpgrade' is not allowed together with 'redirect'"
            yield Finding((*SPEC, "http", index, "websocketUpgrade"), "not-allowed", message)


def _service_entry(spec: Any) -> Iterator[Finding]:
    yield from _export_to(spec)
    if spec.resolution == spec.STATIC and not spec.endpoints:
        yield required((*SPEC, "endpoints"), "endpoints")


def _sidecar(spec: Any) -> Iterator[Finding]:
    yield from _selector(spec, "workload_selector", "workloadSelector")
    if not spec.egress:
        yield required((*SPEC, "egress"), "egress")
    for index, listener in enumerate(spec.ingress):
        at = (*SPEC, "ingress", index, "defaultEndpoint")
        text = listener.default_endpoint
        if not text:
            yield required(at, "defaultEndpoint")
        elif not text.startswith("unix:") and text.rpartition(":")[0] not in _LOCAL:
            allowed = "127.0.0.1:PORT, :PORT, unix:///path"
            yield Finding(at, "endpoint", f"{text!r} is not allowed; 1.4 has {allowed}")


def _selector(spec: Any, name: str, shown: str) -> Iterator[Finding]:
    if spec.HasField(name) and not getattr(spec, name).labels:
        yield required((*SPEC, shown, "labels"), "labels")


def _envoy_filter(spec: Any) -> Iterator[Finding]:
    yield from _selector(spec, "workload_selector", "workloadSelector")


def _mesh_config(spec: Any) -> Iterator[Finding]:
    """A proxy is gone only after it has drained, within an hour (B3)."""
    config = spec.default_config
    at = (*SPEC, "defaultConfig")
    lengths = {}
    for name, fallback in (
        ("drain_duration", _DRAIN_NS),
        ("parent_shutdown_duration", _SHUTDOWN_NS),
    ):
        given = is_set(config, name)
        lengths[name] = getattr(config, name).ToNanoseconds() if given else fallback
        if lengths[name] > _HOUR_NS:
            where = (*at, config.DESCRIPTOR.fields_by_name[name].json_name)
            yield Finding(where, "duration", "longer than 1h, which 1.4 does not allow")
    if lengths["parent_shutdown_duration"] <= lengths["drain_duration"]:
        message = "not longer than 'drainDuration', which 1.4 needs"
        yield Finding((*at, "parentShutdownDuration"), "duration", message)


_RULES: Mapping[str, Callable[[Any], Iterator[Finding]]] = {
    "networking.istio.io/DestinationRule": _export_to,
    "networking.istio.io/EnvoyFilter": _envoy_filter,
    "networking.istio.io/ServiceEntry": _service_entry,
    "networking.istio.io/Sidecar": _sidecar,
    "networking.istio.io/VirtualService": _virtual_service,
    "mesh.istio.io/MeshConfig": _mesh_config,
}
