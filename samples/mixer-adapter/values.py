"""Values of instances as Mixer sends them, as text and as numbers."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from datetime import timedelta

from istio.policy.v1beta1 import type_pb2

Values = Mapping[str, type_pb2.Value]

FIELD = re.compile(r'\{\{\s*(?:\.(\w+)|or\s+\(?\.(\w+)\)?\s+"([^"]*)")\s*\}\}')


class Refused(ValueError):
    """An instance that the sink has nothing for."""


def text(value: type_pb2.Value) -> str:
    """A dimension or variable as text; absent: empty."""
    kind = value.WhichOneof("value")
    if kind is None:
        return ""
    found = getattr(value, kind)
    if kind == "ip_address_value":
        return str(ipaddress.ip_address(found.value))
    if kind in {"timestamp_value", "duration_value"}:
        return str(found.value.ToJsonString())
    if kind == "string_map_value":
        return "&".join(f"{key}={found.value[key]}" for key in sorted(found.value))
    if kind == "bool_value":
        return str(found).lower()
    return str(getattr(found, "value", found))


def filled(values: Values) -> dict[str, str]:
    """Those that are not empty, as text, by name."""
    shown = {name: text(each) for name, each in sorted(values.items())}
    return {name: each for name, each in shown.items() if each}


def measured(value: type_pb2.Value) -> float | timedelta | None:
    """A number or a length of time; None for anything else."""
    kind = value.WhichOneof("value")
    if kind == "duration_value":
        return value.duration_value.value.ToTimedelta()
    if kind in {"int64_value", "double_value"}:
        return float(getattr(value, kind))
    return None


def payload(template: str, variables: Mapping[str, str]) -> str:
    """The text of a Go template of which `{{.name}}` and `{{or (.name) "-"}}` are all there is."""
    if "{{" in FIELD.sub("", template):
        raise Refused(f"payloadTemplate: only fields are allowed: {template!r}")

    def value(found: re.Match[str]) -> str:
        return variables.get(found[1] or found[2]) or found[3] or ""

    return FIELD.sub(value, template)
