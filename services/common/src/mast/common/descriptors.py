"""Mixer's templates and adapters as descriptors describe them (mixer.md G10).

Galley judges by this what is written, Mixer uses by it what is stored.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.protobuf.message import DecodeError

from istio.mixer.adapter.model.v1beta1 import extensions_pb2

REPORT: Final = extensions_pb2.TEMPLATE_VARIETY_REPORT
GENERATOR: Final = extensions_pb2.TEMPLATE_VARIETY_ATTRIBUTE_GENERATOR
WITH_OUTPUT: Final = extensions_pb2.TEMPLATE_VARIETY_CHECK_WITH_OUTPUT

_NAME: Final = re.compile(r"[a-zA-Z]+")
_SCALARS: Final = frozenset(
    {
        FieldDescriptor.TYPE_STRING,
        FieldDescriptor.TYPE_INT64,
        FieldDescriptor.TYPE_DOUBLE,
        FieldDescriptor.TYPE_BOOL,
    }
)
_POLICY_TYPES: Final = "istio.policy.v1beta1."
_MAX_DEPTH: Final = 32
"""Imports of imports."""
_MAX_FIELDS: Final = 256
"""With those of messages in messages, which may be the same ones again."""


class BadDescriptor(ValueError):
    """A descriptor that describes no template or adapter; the message says why."""


@dataclass(frozen=True, slots=True)
class DescribedTemplate:
    """A template: its variety by number, the call of adapters that take it, and its messages."""

    variety: int
    method: MethodDescriptor
    instance: Descriptor
    output: Descriptor | None
    """What a generator answers, or a check with output; None for other varieties."""
    inferred: Descriptor | None
    """The message ``Type``, which tells sessions of an instance's types."""


def described_template(text: str) -> DescribedTemplate:
    """The template of a base64 FileDescriptorSet.

    Exactly one file carries the variety, its own name and a service ``Handle...`` with one method
    for messages ``InstanceMsg``. Raises BadDescriptor.
    """
    files = _files(text)
    carriers = [
        each for each in files if each.options.HasExtension(extensions_pb2.template_variety)
    ]
    if len(carriers) != 1:
        raise BadDescriptor(f"unable to find template: {len(carriers)} files have a variety")
    (file,) = carriers
    named = file.options.Extensions[extensions_pb2.template_name]
    if not _NAME.fullmatch(named):
        raise BadDescriptor(f"unable to find template: name {named!r} is not letters only")
    variety = file.options.Extensions[extensions_pb2.template_variety]
    pool = _pool(files)
    method = _method(pool, file)
    described = DescribedTemplate(
        variety,
        method,
        _instance(method, variety),
        _output(method, variety),
        _message(pool, f"{_prefix(file)}Type"),
    )
    for message in (described.instance, described.output):
        if message is not None:
            _check_fields(message)
    return described


def described_params(text: str) -> Descriptor | None:
    """The message ``Params`` of a base64 FileDescriptorSet; None without text.

    Raises BadDescriptor if there is a descriptor without it.
    """
    if not text:
        return None
    files = _files(text)
    pool = _pool(files)
    # Files come in the order of their imports: the adapter's own is the last.
    for file in reversed(files):
        found = _message(pool, f"{_prefix(file)}Params")
        if found is not None:
            return found
    raise BadDescriptor("unable to find message Params")


def _files(text: str) -> Sequence[FileDescriptorProto]:
    try:
        raw = base64.b64decode("".join(text.split()), validate=True)
        files = FileDescriptorSet.FromString(raw).file
    except (binascii.Error, ValueError, DecodeError) as error:
        raise BadDescriptor(f"unable to parse descriptor: {error}") from error
    if not files:
        raise BadDescriptor("unable to parse descriptor: it has no files")
    return list(files)


def _pool(files: Iterable[FileDescriptorProto]) -> descriptor_pool.DescriptorPool:
    """A pool of their own, so that adapters cannot disagree about names."""
    pool = descriptor_pool.DescriptorPool()
    given = {each.name: each for each in files}
    added = set[str]()

    def add(name: str, above: tuple[str, ...]) -> None:
        if name in added:
            return
        if name in above:
            raise BadDescriptor(f"unable to parse descriptor: {name} imports itself")
        if len(above) > _MAX_DEPTH:
            raise BadDescriptor(f"unable to parse descriptor: more than {_MAX_DEPTH} imports deep")
        file = given.get(name) or _well_known(name)
        for each in file.dependency:
            add(each, (*above, name))
        added.add(name)
        try:
            pool.AddSerializedFile(file.SerializeToString())
            pool.FindFileByName(name)
        except (TypeError, KeyError, ValueError) as error:
            raise BadDescriptor(f"unable to parse descriptor: {name}: {error}") from error

    for name in given:
        add(name, ())
    return pool


def _well_known(name: str) -> FileDescriptorProto:
    """A file that descriptors may leave out because everybody has it."""
    found = FileDescriptorProto()
    try:
        descriptor_pool.Default().FindFileByName(name).CopyToProto(found)
    except KeyError:
        raise BadDescriptor(f"unable to parse descriptor: import {name} is missing") from None
    return found


def _prefix(file: FileDescriptorProto) -> str:
    return f"{file.package}." if file.package else ""


def _message(pool: descriptor_pool.DescriptorPool, name: str) -> Descriptor | None:
    try:
        return pool.FindMessageTypeByName(name)
    except KeyError:
        return None


def _method(pool: descriptor_pool.DescriptorPool, file: FileDescriptorProto) -> MethodDescriptor:
    handlers = [each for each in file.service if each.name.startswith("Handle")]
    if len(handlers) != 1 or len(handlers[0].method) != 1:
        raise BadDescriptor("unable to find template: want one service Handle... with one method")
    (method,) = pool.FindServiceByName(_prefix(file) + handlers[0].name).methods
    return method


def _instance(method: MethodDescriptor, variety: int) -> Descriptor:
    wanted = "instances" if variety == REPORT else "instance"
    field = method.input_type.fields_by_name.get(wanted)
    if field is None or field.message_type is None:
        raise BadDescriptor(f"unable to find template: {method.input_type.name} has no {wanted}")
    return field.message_type


def _output(method: MethodDescriptor, variety: int) -> Descriptor | None:
    if variety == GENERATOR:
        return method.output_type
    if variety != WITH_OUTPUT:
        return None
    field = method.output_type.fields_by_name.get("output")
    if field is None or field.message_type is None:
        raise BadDescriptor("unable to find template: the answer has no output")
    return field.message_type


def _check_fields(message: Descriptor) -> None:
    """Fields are of types that expressions have, messages of such, and maps from strings."""
    messages, count = [message], 0
    while messages:
        for field in messages.pop().fields:
            count += 1
            if count > _MAX_FIELDS:
                text = f"{message.name} has more than {_MAX_FIELDS} fields, or itself as a field"
                raise BadDescriptor(f"unable to find template: {text}")
            messages.extend(_within(field))


def _within(field: FieldDescriptor) -> Sequence[Descriptor]:
    """The message that a field holds, if it has fields of its own; raises BadDescriptor."""
    inner = field.message_type
    if inner is not None and inner.GetOptions().map_entry:
        if inner.fields_by_name["key"].type == FieldDescriptor.TYPE_STRING:
            return _within(inner.fields_by_name["value"])
    elif not field.is_repeated:
        if inner is not None:
            return () if inner.full_name.startswith(_POLICY_TYPES) else (inner,)
        if field.type in _SCALARS:
            return ()
    allowed = "string, int64, double, bool, message or map from strings"
    raise BadDescriptor(f"unable to find template: {field.full_name} is no {allowed}")
