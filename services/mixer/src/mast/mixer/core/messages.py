"""Values as fields of messages for adapters out of process, and back (mixer.md G8)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from google.protobuf.message import Message

from mast.common.expressions.types import ValueType
from mast.mixer.core.values import Duration, Timestamp, Value

_POLICY: Final = "istio.policy.v1beta1."
_VALUE: Final = f"{_POLICY}Value"
_WRAPPED: Final = frozenset(
    f"{_POLICY}{name}"
    for name in ("IPAddress", "TimeStamp", "Duration", "DNSName", "EmailAddress", "Uri")
)
_FIELDS: Final[Mapping[ValueType, str]] = {
    ValueType.STRING: "string_value",
    ValueType.INT64: "int64_value",
    ValueType.DOUBLE: "double_value",
    ValueType.BOOL: "bool_value",
    ValueType.IP_ADDRESS: "ip_address_value",
    ValueType.TIMESTAMP: "timestamp_value",
    ValueType.DURATION: "duration_value",
    ValueType.EMAIL_ADDRESS: "email_address_value",
    ValueType.DNS_NAME: "dns_name_value",
    ValueType.URI: "uri_value",
    ValueType.STRING_MAP: "string_map_value",
}


def fill(
    message: Message, fields: Mapping[str, Any], types: Mapping[str, ValueType], path: str = ""
) -> None:
    """Set the fields of an instance message.

    ``types`` are the inferred types of fields that may have any, by path (D9).
    """
    for name, value in fields.items():
        described = message.DESCRIPTOR.fields_by_name.get(name)
        if described is not None and value is not None:
            _set(message, described, value, types, path + name)


def _set(
    message: Message,
    described: Any,
    value: Any,
    types: Mapping[str, ValueType],
    path: str,
) -> None:
    inner = described.message_type
    if inner is None:
        setattr(message, described.name, value)
    elif inner.GetOptions().map_entry:
        _set_map(
            getattr(message, described.name), inner.fields_by_name["value"], value, types, path
        )
    elif inner.full_name == _VALUE:
        put_value(getattr(message, described.name), value, types.get(path))
    elif inner.full_name in _WRAPPED:
        _wrap(getattr(message, described.name), value)
    else:
        target = getattr(message, described.name)
        target.SetInParent()
        fill(target, value, types, f"{path}.")


def _set_map(
    target: Any,
    element: Any,
    value: Mapping[str, Any],
    types: Mapping[str, ValueType],
    path: str,
) -> None:
    inner = element.message_type
    for key, each in value.items():
        if inner is None:
            target[key] = each
        elif inner.full_name == _VALUE:
            put_value(target[key], each, types.get(f"{path}[{key}]"))
        elif inner.full_name in _WRAPPED:
            _wrap(target[key], each)
        else:
            fill(target[key], each, types, f"{path}[{key}].")


def put_value(target: Any, value: Value | None, kind: ValueType | None = None) -> None:
    """Set a Value; without a known type that which the value itself has."""
    if value is None:
        return
    name = _FIELDS[kind or _type(value)]
    if kind is ValueType.STRING_MAP or isinstance(value, Mapping):
        assert isinstance(value, Mapping)  # noqa: S101  the type says so
        target.string_map_value.value.update(value)
        target.string_map_value.SetInParent()
    elif target.DESCRIPTOR.fields_by_name[name].message_type is None:
        setattr(target, name, value)
    else:
        _wrap(getattr(target, name), value)


def _type(value: Value) -> ValueType:
    for kind, found in _CLASSES:
        if isinstance(value, kind):
            return found
    return ValueType.STRING_MAP


_CLASSES: Final[Iterable[tuple[type, ValueType]]] = (
    (str, ValueType.STRING),
    (bool, ValueType.BOOL),
    (int, ValueType.INT64),
    (float, ValueType.DOUBLE),
    (bytes, ValueType.IP_ADDRESS),
    (Timestamp, ValueType.TIMESTAMP),
    (Duration, ValueType.DURATION),
)


def _wrap(target: Any, value: Any) -> None:
    target.SetInParent()
    if isinstance(value, Timestamp | Duration):
        target.value.FromNanoseconds(value.ns)
    else:
        target.value = value


def read(message: Message) -> dict[str, Value]:
    """The fields of an answer as outputs.

    What the wire does not carry is unset (F2), zeros among it: proto3 does not tell them apart.
    """
    found = ((described.name, _read(described, value)) for described, value in message.ListFields())
    return {name: value for name, value in found if value is not None}


def _read(described: Any, value: Any) -> Value | None:
    inner = described.message_type
    if inner is None:
        plain: Value = value
        return plain
    if inner.GetOptions().map_entry:
        return dict(value)
    if inner.full_name == _VALUE:
        chosen = value.WhichOneof("value")
        return (
            _read(value.DESCRIPTOR.fields_by_name[chosen], getattr(value, chosen))
            if chosen
            else None
        )
    return _unwrapped(inner.full_name, value)


def _unwrapped(name: str, value: Any) -> Value | None:
    convert: Callable[[Any], Value] | None = _READERS.get(name.removeprefix(_POLICY))
    return None if convert is None else convert(value.value)


_READERS: Final[Mapping[str, Callable[[Any], Value]]] = {
    "IPAddress": bytes,
    "TimeStamp": lambda value: Timestamp(value.ToNanoseconds()),
    "Duration": lambda value: Duration(value.ToNanoseconds()),
    "DNSName": str,
    "EmailAddress": str,
    "Uri": str,
    "StringMap": dict,
}
