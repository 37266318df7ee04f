"""Attributes of the dynamic metadata that filters leave of a request (mixer_proxy.md C.5, K)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct

from mast.mixer.core.values import Value

AUTHENTICATION = "request.auth."
"""What the attributes of tokens begin with."""

_JWT = "envoy.filters.http.jwt_authn"
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


def sources(names: frozenset[str]) -> frozenset[str]:
    """The filters whose metadata attributes of these names are made of."""
    authentication = any(name.startswith(AUTHENTICATION) for name in names)
    return names.union(_RBAC, (_JWT,) if authentication else ())


def put_authentication(found: dict[str, Value], metadata: Mapping[str, Struct]) -> None:
    """Claims of the token that was verified, by name the first provider's (C.5, JWT)."""
    fields = metadata[_JWT].fields if _JWT in metadata else {}
    payloads = [fields[name] for name in sorted(fields)]
    verified = [each for each in payloads if each.WhichOneof("kind") == "struct_value"]
    if verified:
        _put_claims(found, verified[0].struct_value)


def _put_claims(found: dict[str, Value], payload: Struct) -> None:
    """Claims that are texts or lists of texts, and all of them as JSON.

    Differs from Istio: proxies tell what a payload means, not its text, so the keys of
    ``request.auth.raw_claims`` are sorted.
    """
    lists: dict[str, list[str]] = {}
    for name, value in payload.fields.items():
        values = [*value.list_value.values, value]
        lists[name] = [each.string_value for each in values if each.string_value]
    claims = {name: ",".join(texts) for name, texts in lists.items() if texts}
    found["request.auth.claims"] = claims
    found["request.auth.raw_claims"] = json.dumps(
        _whole(MessageToDict(payload)), sort_keys=True, separators=(",", ":"), ensure_ascii=False
    )
    if "iss" in claims and "sub" in claims:
        found["request.auth.principal"] = f"{claims['iss']}/{claims['sub']}"
    if lists.get("aud"):
        found["request.auth.audiences"] = lists["aud"][0]
    if "azp" in claims:
        found["request.auth.presenter"] = claims["azp"]


def _whole(value: Any) -> Any:
    """A JSON value whose whole numbers are written so; a Struct knows floats only."""
    if isinstance(value, dict):
        return {name: _whole(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_whole(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


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
