"""Which expressions fill the fields of a template's messages (mixer.md D6, F)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from google.protobuf.descriptor import FieldDescriptor

from mast.common.expressions.types import ValueType

_SCALARS: Final[Mapping[int, ValueType]] = {
    FieldDescriptor.TYPE_STRING: ValueType.STRING,
    FieldDescriptor.TYPE_INT64: ValueType.INT64,
    FieldDescriptor.TYPE_DOUBLE: ValueType.DOUBLE,
    FieldDescriptor.TYPE_BOOL: ValueType.BOOL,
}
_MESSAGES: Final[Mapping[str, ValueType | None]] = {
    "istio.policy.v1beta1.Value": None,
    "istio.policy.v1beta1.TimeStamp": ValueType.TIMESTAMP,
    "istio.policy.v1beta1.Duration": ValueType.DURATION,
    "istio.policy.v1beta1.IPAddress": ValueType.IP_ADDRESS,
    "istio.policy.v1beta1.DNSName": ValueType.DNS_NAME,
    "istio.policy.v1beta1.EmailAddress": ValueType.EMAIL_ADDRESS,
    "istio.policy.v1beta1.Uri": ValueType.URI,
}


def is_filled(field: FieldDescriptor) -> bool:
    """Whether one expression fills the field; others have fields of their own, or are maps."""
    return field.message_type is None or field.message_type.full_name in _MESSAGES


def wanted(field: FieldDescriptor) -> ValueType | None:
    """The type of the expression that fills a field; None if any will do."""
    if field.message_type is None:
        return _SCALARS[field.type]
    return _MESSAGES[field.message_type.full_name]
