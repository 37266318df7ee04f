"""Attributes of the dynamic metadata that filters leave in access logs (mixer_proxy.md K)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf.struct_pb2 import Struct

from mast.mixer.core.values import Value

_RBAC = ("envoy.filters.http.rbac", "envoy.filters.network.rbac")
_SHADOW = (
    ("rbac.permissive.response_code", "shadow_engine_result"),
    ("rbac.permissive.effective_policy_id", "shadow_effective_policy_id"),
)


def put_error(found: dict[str, Value], fields: Mapping[str, Any]) -> None:
    """Status of the check, if it was not OK."""
    if "error_code" in fields:
        found["check.error_code"] = int(fields["error_code"].number_value)
        found["check.error_message"] = fields["error_message"].string_value


def put_rbac(found: dict[str, Value], metadata: Mapping[str, Struct]) -> None:
    """What the shadow rules of RBAC would have said."""
    for name in _RBAC:
        if name in metadata:
            fields = metadata[name].fields
            for attribute, key in _SHADOW:
                if key in fields:
                    found[attribute] = fields[key].string_value


def string_map(metadata: Struct) -> dict[str, str]:
    """Texts and lists of texts of a filter's metadata, lists joined by commas."""
    found: dict[str, str] = {}
    for name, value in metadata.fields.items():
        kind = value.WhichOneof("kind")
        if kind == "string_value":
            found[name] = value.string_value
        elif kind == "list_value":
            texts = [each.string_value for each in value.list_value.values]
            if texts and all(texts):
                found[name] = ",".join(texts)
    return found
