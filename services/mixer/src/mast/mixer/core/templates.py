"""The templates compiled into Mixer, read from their .proto definitions (mixer.md F)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import ModuleType
from typing import Any, TypeAlias

from google.protobuf.descriptor import FieldDescriptor

from istio.mixer.adapter.model.v1beta1 import extensions_pb2
from istio.mixer.template.apikey import template_pb2 as apikey
from istio.mixer.template.authorization import template_pb2 as authorization
from istio.mixer.template.checknothing import template_pb2 as checknothing
from istio.mixer.template.edge import template_pb2 as edge
from istio.mixer.template.kubernetes import template_pb2 as kubernetes
from istio.mixer.template.listentry import template_pb2 as listentry
from istio.mixer.template.logentry import template_pb2 as logentry
from istio.mixer.template.metric import template_pb2 as metric
from istio.mixer.template.quota import template_pb2 as quota
from istio.mixer.template.reportnothing import template_pb2 as reportnothing
from istio.mixer.template.tracespan import template_pb2 as tracespan
from mast.common.expressions.fields import is_filled, wanted
from mast.common.expressions.types import ValueType
from mast.mixer.core.values import Value


class Variety(Enum):
    """When instances of a template are made and what handlers do with them."""

    CHECK = extensions_pb2.TEMPLATE_VARIETY_CHECK
    REPORT = extensions_pb2.TEMPLATE_VARIETY_REPORT
    QUOTA = extensions_pb2.TEMPLATE_VARIETY_QUOTA
    ATTRIBUTE_GENERATOR = extensions_pb2.TEMPLATE_VARIETY_ATTRIBUTE_GENERATOR
    CHECK_WITH_OUTPUT = extensions_pb2.TEMPLATE_VARIETY_CHECK_WITH_OUTPUT


@dataclass(frozen=True, slots=True)
class Scalar:
    """A field filled by one expression: of this type, or of any type if None."""

    type: ValueType | None

    @property
    def unset(self) -> Value | None:
        """The value of a field that the operator left empty (E26)."""
        return None if self.type is None else _UNSET.get(self.type)


@dataclass(frozen=True, slots=True)
class MapOf:
    """A field filled by expressions under keys that the operator chooses."""

    element: Shape


@dataclass(frozen=True, slots=True)
class Record:
    """A field, or a whole template, made of named fields."""

    fields: Mapping[str, Shape]


Shape: TypeAlias = Scalar | MapOf | Record

_UNSET: Mapping[ValueType, Value] = {
    ValueType.STRING: "",
    ValueType.DNS_NAME: "",
    ValueType.URI: "",
    ValueType.EMAIL_ADDRESS: "",
    ValueType.INT64: 0,
    ValueType.DOUBLE: 0.0,
    ValueType.BOOL: False,
    ValueType.STRING_MAP: {},
}


@dataclass(frozen=True, slots=True)
class Template:
    """A template: its fields and, for attribute generators, its output fields with types.

    Bindings name outputs as ``$out.FIELD``, those of a ``dynamic`` one, which a descriptor
    describes, as ``output.FIELD`` (D4).
    """

    name: str
    variety: Variety
    shape: Record
    outputs: Mapping[str, ValueType] = field(default_factory=dict)
    dynamic: bool = False

    @property
    def output_prefix(self) -> str:
        """What names of outputs begin with in bindings."""
        return "output." if self.dynamic else "$out."

    @property
    def named_outputs(self) -> Mapping[str, ValueType]:
        """Outputs under their names in bindings."""
        return {self.output_prefix + name: kind for name, kind in self.outputs.items()}


def record_of(message: Any, without: Collection[str] = ()) -> Record:
    """The fields of a message as those of a template."""
    return Record({each.name: _shape(each) for each in message.fields if each.name not in without})


def outputs_of(message: Any) -> dict[str, ValueType]:
    """The fields of an answer as outputs."""
    return {each.name: _output(each) for each in message.fields}


def _shape(described: FieldDescriptor) -> Shape:
    if is_filled(described):
        return Scalar(wanted(described))
    message = described.message_type
    assert message is not None  # noqa: S101  fields without one are filled
    if message.GetOptions().map_entry:
        return MapOf(_shape(message.fields_by_name["value"]))
    return record_of(message)


def _output(described: FieldDescriptor) -> ValueType:
    shape = _shape(described)
    if isinstance(shape, Scalar) and shape.type is not None:
        return shape.type
    return ValueType.STRING_MAP


def _template(name: str, module: ModuleType) -> Template:
    messages = module.DESCRIPTOR.message_types_by_name
    options = module.DESCRIPTOR.GetOptions()
    variety = Variety(options.Extensions[extensions_pb2.template_variety])
    outputs = messages.get("OutputTemplate")
    return Template(
        name,
        variety,
        record_of(messages["Template"]),
        {} if outputs is None else outputs_of(outputs),
    )


TEMPLATES: Mapping[str, Template] = {
    name: _template(name, module)
    for name, module in {
        "apikey": apikey,
        "authorization": authorization,
        "checknothing": checknothing,
        "edge": edge,
        "kubernetes": kubernetes,
        "listentry": listentry,
        "logentry": logentry,
        "metric": metric,
        "quota": quota,
        "reportnothing": reportnothing,
        "tracespan": tracespan,
    }.items()
}
