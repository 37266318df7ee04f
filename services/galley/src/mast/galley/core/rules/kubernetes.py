"""What Gateway API and Ingress share: sizes of lists, references, label selectors, Namespace."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from mast.galley.core.decode import descriptor_of
from mast.galley.core.metadata import dns_label, dns_subdomain, label_key, label_value
from mast.galley.core.objects import ConfigObject
from mast.galley.core.problem import Finding, Path
from mast.galley.core.rules import values
from mast.galley.core.rules.table import (
    Family,
    MessageRule,
    forbidden,
    json_name,
    prefixed,
    required,
    when,
)

PACKAGE = "mastapi.kubernetes.v1"
GATEWAY_API = "gateway.networking.k8s.io"
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")
PATH_LIMIT = 1024
"""Greatest length of what a path is matched with or replaced by."""

Limits = Mapping[str, tuple[int, int]]
"""Least and greatest number of entries of lists and maps, by field name."""

_KIND = re.compile(r"[A-Za-z]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?")
_DURATION = re.compile(r"([0-9]{1,5}(h|m|s|ms)){1,4}")
_DURATION_PART = re.compile(r"([0-9]+)(ms|h|m|s)")
_UNIT_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000}


def sized(limits: Limits, *rules: MessageRule) -> MessageRule:
    """A rule for messages whose lists have limits, followed by further rules."""

    def rule(message: Any, at: Path) -> Iterator[Finding]:
        yield from sizes(message, at, limits)
        for each in rules:
            yield from each(message, at)

    return rule


def sizes(message: Any, at: Path, limits: Limits) -> Iterator[Finding]:
    """Lists with too few or too many entries; none at all is for `required` to complain about."""
    fields = descriptor_of(message).fields_by_name
    for name, (least, most) in limits.items():
        number = len(getattr(message, name))
        if number > most or 0 < number < least:
            text = f"{number} entries; allowed: {least} to {most}"
            yield Finding((*at, fields[name].json_name), "size", text)


def group(text: str) -> str | None:
    """An API group; the core group is empty."""
    return dns_subdomain(text) if text else None


def kind(text: str) -> str | None:
    """A kind of objects."""
    if _KIND.fullmatch(text):
        return None
    return f"{text!r} is not a kind; allowed: letters, digits and '-', at most 63"


def section(text: str) -> str | None:
    """A name of a listener, rule or port."""
    return dns_subdomain(text)


def hostname(text: str) -> str | None:
    """A host in lower case, whose first label may be ``*``; no address."""
    if text != text.lower():
        return f"{text!r} is not a host name: it must be in lower case"
    if values.ip(text) is None:
        return f"{text!r} is an address; name a host"
    return values.named_host(text)


def precise_hostname(text: str) -> str | None:
    """A host in lower case without wildcard; no address."""
    return f"{text!r} has a wildcard; name one host" if "*" in text else hostname(text)


def milliseconds(text: str) -> int:
    """Length of a duration that `duration` has no complaint about."""
    parts = _DURATION_PART.findall(text)
    return sum(int(amount) * _UNIT_MS[unit] for amount, unit in parts)


def duration(text: str) -> str | None:
    """A duration as Gateway API writes it: up to four whole numbers with units (GEP-2257)."""
    if _DURATION.fullmatch(text):
        return None
    return f"{text!r} is not a duration; write for example 10s, 500ms, 1h30m"


def positive_duration(text: str) -> str | None:
    """A duration that is not zero."""
    complaint = duration(text)
    if complaint is None and not milliseconds(text):
        return f"duration {text!r} is too short; allowed: 1ms or more"
    return complaint


def weight(number: int) -> str | None:
    """A share of the traffic."""
    if 0 <= number <= 1_000_000:
        return None
    return f"weight {number} is out of range; allowed: 0 to 1000000"


def targets(
    reference: Any, at: Path, allowed: Mapping[tuple[str, str], str], *, default: tuple[str, str]
) -> Iterator[Finding]:
    """Group and kind of a reference are ones that are supported; `allowed` says how to show them.

    `default` are group and kind where the reference leaves them out.
    """
    meant = (reference.group or default[0], reference.kind or default[1])
    if meant not in allowed:
        shown = "/".join(part for part in (meant[0], meant[1]) if part)
        choice = ", ".join(allowed.values())
        yield Finding((*at, "kind"), "reference", f"{shown} is not supported; allowed: {choice}")


def _selector(selector: Any, at: Path) -> Iterator[Finding]:
    for key, value in selector.match_labels.items():
        here = (*at, "matchLabels", key)
        yield from when(label_key(key), here, "label")
        yield from when(label_value(value), here, "label")


def _requirement(requirement: Any, at: Path) -> Iterator[Finding]:
    needs_values = requirement.operator in {"In", "NotIn"}
    if needs_values and not requirement.values:
        yield required((*at, "values"), "values")
    if not needs_values:
        why = f"with operator {requirement.operator}"
        yield from forbidden(requirement, at, why, "values")


def named_entries(message: Any, at: Path, name: str, *, key: str = "name") -> Iterator[Finding]:
    """Entries of a list have different names; those without one do not count."""
    entries = getattr(message, name)
    names = [getattr(each, key) for each in entries]
    for index in values.duplicates(names):
        if names[index]:
            here = (*at, json_name(message, name), index, key)
            yield Finding(here, "duplicate", f"{key} {names[index]!r} is given twice")


def _namespace(obj: ConfigObject) -> Iterator[Finding]:
    yield from when(dns_label(obj.meta.name), ("metadata", "name"), "name")


_NAME = ("name", dns_subdomain)
_NAMESPACE = ("namespace", dns_label)
_GROUP = ("group", group)
_REFERENCES = (
    "LocalObjectReference",
    "ObjectReference",
    "ParametersReference",
    "CertificateReference",
    "BackendObjectReference",
    "HTTPBackendRef",
    "GRPCBackendRef",
    "BackendRef",
    "ParentReference",
    "PolicyTargetReference",
    "ReferenceGrantTo",
)

FAMILY = Family(
    fields=prefixed(
        PACKAGE,
        {
            **{f"{each}.group": _GROUP for each in _REFERENCES},
            **{f"{each}.kind": ("kind", kind) for each in _REFERENCES},
            **{f"{each}.name": _NAME for each in _REFERENCES},
            **{
                f"{each}.namespace": _NAMESPACE
                for each in _REFERENCES
                if each not in {"LocalObjectReference", "PolicyTargetReference", "ReferenceGrantTo"}
            },
            "TypedLocalObjectReference.api_group": _GROUP,
            "TypedLocalObjectReference.kind": ("kind", kind),
            "TypedLocalObjectReference.name": _NAME,
            "LabelSelectorRequirement.key": ("label", label_key),
            "LabelSelectorRequirement.operator": (
                "operator",
                values.one_of("In", "NotIn", "Exists", "DoesNotExist"),
            ),
            "LabelSelectorRequirement.values": ("label", label_value),
        },
    ),
    messages=prefixed(
        PACKAGE, {"LabelSelector": _selector, "LabelSelectorRequirement": _requirement}
    ),
    objects={"Namespace": _namespace},
)
