"""How a patch is merged into configuration (Istio EnvoyFilter, "MERGE"; pilot.md K3)."""

from typing import Any, Final, cast

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from mast.common.envoy import types

_ANY: Final = "google.protobuf.Any"
_SCALARS: Final = types.WRAPPERS | {"google.protobuf.Duration", "google.protobuf.Timestamp"}
"""Messages that stand for one value: replaced whole, so that zero and false count."""


def merge(into: Message, patch: Message, *, replace_lists: bool = False) -> None:
    """Merge one message into another of the same type.

    Scalars and durations overwrite, lists are appended (or replaced), entries of maps replaced,
    messages merged field by field. A typed configuration is merged if both types agree, else
    replaced.
    """
    for field, value in patch.ListFields():
        if field.is_repeated:
            _merge_repeated(into, field, value, replace_lists=replace_lists)
        elif field.message_type is None:
            setattr(into, field.name, value)
        elif field.message_type.full_name in _SCALARS:
            getattr(into, field.name).CopyFrom(value)
        elif field.message_type.full_name == _ANY:
            merge_any(getattr(into, field.name), value, replace_lists=replace_lists)
        else:
            target = getattr(into, field.name)
            target.SetInParent()
            merge(target, value, replace_lists=replace_lists)


def merge_any(into: AnyMessage, patch: AnyMessage, *, replace_lists: bool = False) -> None:
    """Merge what is inside if both hold the same type; else the patch takes the place."""
    same = types.type_name(into.type_url) == types.type_name(patch.type_url)
    inner, change = (types.unpacked(into), types.unpacked(patch)) if same else (None, None)
    if inner is None or change is None:
        into.CopyFrom(patch)
        return
    merge(inner, change, replace_lists=replace_lists)
    into.CopyFrom(types.packed(inner, into.type_url))


def _merge_repeated(
    into: Message, field: FieldDescriptor, value: Any, *, replace_lists: bool
) -> None:
    target = getattr(into, field.name)
    of = cast("Any", field.message_type)
    if of is not None and of.GetOptions().map_entry:
        for key in value:
            if of.fields_by_name["value"].message_type is None:
                target[key] = value[key]
            else:
                target[key].CopyFrom(value[key])
        return
    if replace_lists:
        into.ClearField(field.name)
        target = getattr(into, field.name)
    target.extend(value)
