"""What the generated modules define, as facts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import etcd
from google.api import field_behavior_pb2
from google.protobuf.descriptor import (
    Descriptor,
    EnumDescriptor,
    FieldDescriptor,
    FileDescriptor,
    ServiceDescriptor,
)
from google.protobuf.descriptor_pb2 import DescriptorProto, EnumDescriptorProto, FileOptions

import istio
from tests.contracts.facts import Facts, FieldFact, options_fact, rpc_fact, value_fact

REQUIRED = field_behavior_pb2.FieldBehavior.Value("REQUIRED")
SCALAR_NAMES = {
    value: name.removeprefix("TYPE_").lower()
    for name, value in vars(FieldDescriptor).items()
    if name.startswith("TYPE_")
}


def generated_modules(suffix: str) -> Iterator[str]:
    """The modules under istio and etcd, which are namespace packages."""
    for package in (etcd, istio):
        for root in package.__path__:
            for path in sorted(Path(root).rglob(f"*{suffix}.py")):
                relative = path.relative_to(Path(root).parent).with_suffix("")
                yield ".".join(relative.parts)


def compiled(files: Iterable[FileDescriptor]) -> Facts:
    """The facts of all definitions in the files."""
    facts: Facts = {}
    for file in files:
        options = file_options(file)
        for service in file.services_by_name.values():
            facts[f"service {service.full_name}"] = options
            facts.update(rpc_facts(service))
        for message in messages(file.message_types_by_name.values()):
            facts[f"message {message.full_name}"] = options
            facts.update(message_facts(message))
            for enum in message.enum_types:
                facts[f"enum {enum.full_name}"] = options
                facts.update(enum_facts(enum))
        for enum in file.enum_types_by_name.values():
            facts[f"enum {enum.full_name}"] = options
            facts.update(enum_facts(enum))
        for extension in file.extensions_by_name.values():
            facts[extension_key(extension)] = field_fact(extension)
    return facts


def extension_key(extension: FieldDescriptor) -> str:
    extended = extension.containing_type
    assert extended is not None
    return f"extension {extended.full_name}.{extension.number}"


def messages(top: Iterable[Descriptor]) -> Iterator[Descriptor]:
    """The messages and all messages nested in them, without the entry types of maps."""
    for message in top:
        if not message.GetOptions().map_entry:
            yield message
            yield from messages(message.nested_types)


def message_facts(message: Descriptor) -> Facts:
    facts: Facts = {
        f"field {message.full_name}.{field.number}": field_fact(field) for field in message.fields
    }
    proto = DescriptorProto()
    message.CopyToProto(proto)
    for span in proto.reserved_range:
        for number in range(span.start, span.end):
            facts[f"reserved {message.full_name}.{number}"] = ""
    for name in proto.reserved_name:
        facts[f"reserved {message.full_name}.{name}"] = ""
    return facts


def enum_facts(enum: EnumDescriptor) -> Facts:
    facts: Facts = {
        f"value {enum.full_name}.{value.number}": value_fact(
            value.name, deprecated=value.GetOptions().deprecated
        )
        for value in enum.values
    }
    proto = EnumDescriptorProto()
    enum.CopyToProto(proto)
    for span in proto.reserved_range:
        for number in range(span.start, span.end + 1):
            facts[f"reserved {enum.full_name}.{number}"] = ""
    for name in proto.reserved_name:
        facts[f"reserved {enum.full_name}.{name}"] = ""
    return facts


def rpc_facts(service: ServiceDescriptor) -> Facts:
    return {
        f"rpc /{service.full_name}/{method.name}": rpc_fact(
            method.input_type.full_name,
            method.output_type.full_name,
            client_streams=method.client_streaming,
            server_streams=method.server_streaming,
        )
        for method in service.methods
    }


def field_fact(field: FieldDescriptor) -> FieldFact:
    options = field.GetOptions()
    is_map = field.message_type is not None and field.message_type.GetOptions().map_entry
    oneof = field.containing_oneof.name if field.containing_oneof is not None else ""
    explicit = oneof == f"_{field.name}" or field.is_extension
    label = "repeated" if field.is_repeated and not is_map else "optional" if explicit else ""
    return FieldFact(
        name=field.full_name if field.is_extension else field.name,
        type=field_type(field),
        label=label,
        oneof="" if explicit else oneof,
        presence=field.has_presence,
        packed=field.is_packed,
        json=field.json_name,
        required=REQUIRED in options.Extensions[field_behavior_pb2.field_behavior],
        deprecated=options.deprecated,
    )


def field_type(field: FieldDescriptor) -> str:
    """The type as .proto files write it; messages and enums by their absolute name."""
    if field.message_type is not None:
        if field.message_type.GetOptions().map_entry:
            entry = field.message_type.fields_by_name
            return f"map<{field_type(entry['key'])},{field_type(entry['value'])}>"
        return field.message_type.full_name
    if field.enum_type is not None:
        return field.enum_type.full_name
    return SCALAR_NAMES[field.type]


def file_options(file: FileDescriptor) -> str:
    """Every option set on the file, with enum values by name."""
    options: FileOptions = file.GetOptions()
    found = {}
    for field, value in options.ListFields():
        enum = field.enum_type
        found[field.name] = str(value) if enum is None else enum.values_by_number[value].name
    return options_fact(found)
