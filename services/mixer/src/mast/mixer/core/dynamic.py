"""Templates and adapters that are described by descriptors (mixer.md G8, G10, G11)."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import Descriptor, MethodDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.protobuf.message import DecodeError, Message

from istio.mixer.adapter.model.v1beta1 import extensions_pb2
from mast.mixer.core.lang.types import ValueType
from mast.mixer.core.templates import Template, Variety, outputs_of, record_of

_NAME: Final = re.compile(r"[a-zA-Z]+")
_OWN_FIELDS: Final = frozenset({"name"})
"""Of an instance message: set by Mixer, not by whoever configures."""


class BadDescriptor(ValueError):
    """A descriptor that describes no template or adapter; the message says why."""


@dataclass(frozen=True, slots=True, eq=False)
class Service:
    """How an adapter is called with instances of a template: the method and its messages."""

    path: str
    request: type[Message]
    response: type[Message]
    instance: Descriptor
    inferred: type[Message] | None = None
    """What a session is told of an instance's types."""


@dataclass(frozen=True, slots=True, eq=False)
class DynamicTemplate:
    """A template and the service of the adapters that take it."""

    template: Template
    service: Service


@dataclass(frozen=True, slots=True, eq=False)
class DynamicAdapter:
    """An adapter resource: its templates by FQN, and the message of its parameters, if any."""

    fqn: str
    templates: Mapping[str, DynamicTemplate]
    params: type[Message] | None = None
    session_based: bool = False
    digest: str = ""
    """Changes with the descriptors."""

    services: Mapping[str, Service] = field(init=False)

    def __post_init__(self) -> None:
        services = {name: each.service for name, each in self.templates.items()}
        object.__setattr__(self, "services", services)


def dynamic_template(name: str, descriptor: str) -> DynamicTemplate:
    """The template that a resource's descriptor describes; ``name`` is the resource's FQN.

    Exactly one file carries the variety, its own name and a service ``Handle...`` with one method
    for messages ``InstanceMsg``. Raises BadDescriptor.
    """
    files = _files(descriptor)
    carriers = [
        each for each in files if each.options.HasExtension(extensions_pb2.template_variety)
    ]
    if len(carriers) != 1:
        raise BadDescriptor(f"unable to find template: {len(carriers)} files have a variety")
    file = carriers[0]
    named = file.options.Extensions[extensions_pb2.template_name]
    if not _NAME.fullmatch(named):
        raise BadDescriptor(f"unable to find template: name {named!r} is not letters only")
    variety = Variety(file.options.Extensions[extensions_pb2.template_variety])
    service = _service(_pool(files), file, variety)
    outputs = dict[str, ValueType]()
    if variety is Variety.ATTRIBUTE_GENERATOR:
        outputs = outputs_of(service.response.DESCRIPTOR)
    elif variety is Variety.CHECK_WITH_OUTPUT:
        output = service.response.DESCRIPTOR.fields_by_name.get("output")
        if output is None or output.message_type is None:
            raise BadDescriptor("unable to find template: the answer has no output")
        outputs = outputs_of(output.message_type)
    template = Template(
        name, variety, record_of(service.instance, _OWN_FIELDS), outputs, dynamic=True
    )
    return DynamicTemplate(template, service)


def params_message(descriptor: str) -> type[Message] | None:
    """The message ``Params`` that an adapter's configuration describes; None without one.

    Raises BadDescriptor if there is a descriptor without it.
    """
    if not descriptor:
        return None
    files = _files(descriptor)
    found = [
        f"{file.package}.Params".lstrip(".")
        for file in files
        if any(each.name == "Params" for each in file.message_type)
    ]
    if not found:
        raise BadDescriptor("unable to find message Params")
    # Files come in the order of their imports: the adapter's own is the last.
    return _message(_pool(files), found[-1])


def _files(descriptor: str) -> list[FileDescriptorProto]:
    try:
        raw = base64.b64decode(descriptor, validate=True)
        files = list(FileDescriptorSet.FromString(raw).file)
    except (binascii.Error, ValueError, DecodeError) as error:
        raise BadDescriptor(f"unable to parse descriptor: {error}") from error
    if not files:
        raise BadDescriptor("unable to parse descriptor: it has no files")
    return files


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


def _message(pool: descriptor_pool.DescriptorPool, name: str) -> type[Message]:
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))


def _service(
    pool: descriptor_pool.DescriptorPool, file: FileDescriptorProto, variety: Variety
) -> Service:
    prefix = f"{file.package}." if file.package else ""
    handlers = [each for each in file.service if each.name.startswith("Handle")]
    if len(handlers) != 1 or len(handlers[0].method) != 1:
        raise BadDescriptor("unable to find template: want one service Handle... with one method")
    described = pool.FindServiceByName(prefix + handlers[0].name)
    (method,) = described.methods
    several = variety is Variety.REPORT
    instance = method.input_type.fields_by_name.get("instances" if several else "instance")
    if instance is None or instance.message_type is None:
        wanted = "instances" if several else "instance"
        raise BadDescriptor(f"unable to find template: {method.input_type.name} has no {wanted}")
    return service_of(method, instance.message_type, _inferred(pool, prefix))


def _inferred(pool: descriptor_pool.DescriptorPool, prefix: str) -> type[Message] | None:
    try:
        return _message(pool, f"{prefix}Type")
    except KeyError:
        return None


def service_of(
    method: MethodDescriptor, instance: Descriptor, inferred: type[Message] | None = None
) -> Service:
    """The call of a handler service."""
    owner = method.containing_service
    return Service(
        f"/{owner.full_name}/{method.name}",
        message_factory.GetMessageClass(method.input_type),
        message_factory.GetMessageClass(method.output_type),
        instance,
        inferred,
    )


def compiled_service(module: Any) -> Service:
    """The service of a template that is compiled in, from its handler service's module."""
    (service,) = module.DESCRIPTOR.services_by_name.values()
    (method,) = service.methods
    fields = method.input_type.fields_by_name
    instance = fields["instances"] if "instances" in fields else fields["instance"]
    return service_of(method, instance.message_type, module.Type)
