"""Templates and adapters that are described by descriptors (mixer.md G8, G10, G11)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, MethodDescriptor
from google.protobuf.message import Message

from mast.common.descriptors import BadDescriptor, described_params, described_template
from mast.mixer.core.templates import Template, Variety, outputs_of, record_of

__all__ = [
    "BadDescriptor",
    "DynamicAdapter",
    "DynamicTemplate",
    "Service",
    "compiled_service",
    "dynamic_template",
    "params_message",
    "service_of",
]

_OWN_FIELDS: Final = frozenset({"name"})
"""Of an instance message: set by Mixer, not by whoever configures."""


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

    Raises BadDescriptor.
    """
    described = described_template(descriptor)
    inferred = described.inferred
    service = service_of(
        described.method,
        described.instance,
        None if inferred is None else message_factory.GetMessageClass(inferred),
    )
    template = Template(
        name,
        Variety(described.variety),
        record_of(described.instance, _OWN_FIELDS),
        {} if described.output is None else outputs_of(described.output),
        dynamic=True,
    )
    return DynamicTemplate(template, service)


def params_message(descriptor: str) -> type[Message] | None:
    """The message ``Params`` that an adapter's configuration describes; None without one.

    Raises BadDescriptor if there is a descriptor without it.
    """
    described = described_params(descriptor)
    return None if described is None else message_factory.GetMessageClass(described)


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
