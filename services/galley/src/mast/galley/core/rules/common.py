"""Rules that several families share (galley-and-kubernetes.md B1)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mast.galley.core.metadata import dns_label, label_key, label_value
from mast.galley.core.objects import ConfigObject
from mast.galley.core.problem import Finding, Path, warning
from mast.galley.core.rules import values
from mast.galley.core.rules.table import SPEC, Family, is_set, json_name, when

_TARGET_KINDS = {
    ("", "Service"),
    ("core", "Service"),
    ("networking.istio.io", "ServiceEntry"),
    ("gateway.networking.k8s.io", "Gateway"),
    ("gateway.networking.k8s.io", "GatewayClass"),
}


def export_to(
    entries: Sequence[str], own_namespace: str, *, none_allowed: bool = False
) -> Iterator[Finding]:
    """``.``, ``*`` or namespaces, each once; ``*`` and ``~`` stand alone, ``~`` only if allowed."""
    seen: set[str] = set()
    for index, entry in enumerate(entries):
        at = (*SPEC, "exportTo", index)
        meant = own_namespace if entry == "." else entry
        if meant in seen:
            yield Finding(at, "export-to", f"{entry!r} is given twice")
        seen.add(meant)
        if entry == "~" and not none_allowed:
            yield Finding(at, "export-to", "'~' is only allowed in a ServiceEntry")
        elif entry not in {".", "*", "~"}:
            yield from when(dns_label(entry), at, "export-to")
    for alone in ("*", "~"):
        if alone in seen and len(entries) > 1:
            message = f"{alone!r} must be the only entry"
            yield Finding((*SPEC, "exportTo"), "export-to", message)


def labels(content: Mapping[str, str], at: Path) -> Iterator[Finding]:
    """Labels of Kubernetes' grammar."""
    for key, value in content.items():
        yield from when(label_key(key), (*at, key), "label")
        yield from when(label_value(value), (*at, key), "label")


def selector_labels(content: Mapping[str, str], at: Path) -> Iterator[Finding]:
    """Labels that select workloads: no wildcards; none at all selects everything."""
    if not content:
        yield warning(at, "empty-selector", "the selector is empty and selects every workload")
    for key, value in content.items():
        if not key:
            yield Finding((*at, key), "selector", "a label key must not be empty")
        elif "*" in key or "*" in value:
            message = f"{key}={value}: wildcards are not supported in a selector"
            yield Finding((*at, key), "selector", message)
        else:
            yield from labels({key: value}, at)


def gateway_names(gateways: Sequence[str], at: Path) -> Iterator[Finding]:
    """``mesh`` or ``[namespace/]name``."""
    for index, gateway in enumerate(gateways):
        here = (*at, index)
        namespace, slash, name = gateway.rpartition("/")
        if slash and "." not in name:
            yield from when(dns_label(namespace), here, "gateway")
            yield from when(dns_label(name), here, "gateway")
        elif "." in gateway and not slash and values.fqdn(gateway) is None:
            message = f"{gateway!r} names a gateway by host; write namespace/name"
            yield warning(here, "gateway", message)
        else:
            yield from when(dns_label(gateway), here, "gateway")


def _match_labels(selector: Any, at: Path) -> Iterator[Finding]:
    yield from selector_labels(selector.match_labels, (*at, "matchLabels"))


def _labels(selector: Any, at: Path) -> Iterator[Finding]:
    yield from selector_labels(selector.labels, (*at, "labels"))


def _string_match(match: Any, at: Path) -> Iterator[Finding]:
    """Prefix and regex say something; an empty prefix is fine for a URI, ``*`` without headers."""
    chosen = match.WhichOneof("match_type")
    if chosen is None:
        return
    text = getattr(match, chosen)
    here = (*at, chosen)
    if chosen in {"prefix", "suffix"} and not text and "uri" not in at[-1:]:
        yield Finding(here, "string-match", f"{chosen} must not be empty")
    if chosen == "regex" and not (text == "*" and "withoutHeaders" in at[-2:]):
        yield from when(values.regex(text), here, "regex")


def _target(reference: Any, at: Path) -> Iterator[Finding]:
    if not reference.kind:
        return
    if (reference.group, reference.kind) not in _TARGET_KINDS:
        allowed = ", ".join(sorted({f"{group or 'core'}/{kind}" for group, kind in _TARGET_KINDS}))
        message = f"{reference.group or 'core'}/{reference.kind} is not allowed; allowed: {allowed}"
        yield Finding((*at, "kind"), "target-ref", message)
    if reference.namespace:
        message = "a target is in the policy's own namespace; leave it out"
        yield Finding((*at, "namespace"), "target-ref", message)


def attachment(obj: ConfigObject) -> Iterator[Finding]:
    """A policy is for selected workloads or for targets, not for both."""
    spec = obj.spec
    given = [
        json_name(spec, name)
        for name in ("selector", "targetRef", "targetRefs", "workload_selector")
        if name in spec.DESCRIPTOR.fields_by_name and is_set(spec, name)
    ]
    if len(given) > 1:
        message = f"only one of {given[0]!r} and {given[1]!r} may be set"
        yield Finding((*SPEC, given[1]), "one-of", message)


FAMILY = Family(
    messages={
        "istio.type.v1beta1.WorkloadSelector": _match_labels,
        "istio.type.v1beta1.PolicyTargetReference": _target,
        "istio.networking.v1alpha3.WorkloadSelector": _labels,
        "istio.networking.v1alpha3.StringMatch": _string_match,
        "istio.mixer.v1.config.client.StringMatch": _string_match,
    },
    fields={"istio.type.v1beta1.PortSelector.number": ("port", values.port)},
)
