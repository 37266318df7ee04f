"""Expressions in Mixer's objects: they parse, and their types fit (B4; mixer.md D6 to D8, E).

Differs from Istio, whose webhook looks at structure only: what one object shows to be wrong is
refused when it is written. What another object may put right is none of this: an attribute that
Istio does not have may be declared by a manifest, and is warned of.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from mast.common.expressions.checker import Checker
from mast.common.expressions.fields import is_filled, wanted
from mast.common.expressions.parser import parse
from mast.common.expressions.tree import ExpressionError, reads
from mast.common.expressions.types import ValueType
from mast.galley.core.decode import is_map, map_entry
from mast.galley.core.objects import ConfigObject
from mast.galley.core.problem import Finding, Path, warning
from mast.galley.core.rules.mixer_attributes import STANDARD

_LANGUAGE = "policy.istio.io/lang"
_COMPILED_BY_MIXER = frozenset({"CEL", "COMPAT"})
_OUTPUT = "$out."
_CHECK_OUTPUT = ".output."


def is_judged(obj: ConfigObject) -> bool:
    """Whether its expressions are in the language that is known here (mixer.md D12)."""
    return obj.meta.annotations.get(_LANGUAGE, "") not in _COMPILED_BY_MIXER


def judged(
    text: str,
    type_: ValueType | None,
    at: Path,
    others: Mapping[str, ValueType] | None = None,
    prefixes: Collection[str] = (),
) -> Iterator[Finding]:
    """What is wrong with one expression that is to be of a type, None for any.

    ``others`` are names that it may read beside attributes; of those that begin with one of
    ``prefixes`` the types are not known, and so is nothing of what reads them.
    """
    known = {**STANDARD, **others} if others else STANDARD
    try:
        tree = parse(text, outputs=bool(others))
        unknown = sorted({read.name for read in reads(tree)} - known.keys())
        if not unknown:
            found = Checker(known).type(tree)
    except ExpressionError as error:
        yield Finding(at, "expression", f"{text!r}: {error}")
        return
    for name in unknown:
        if not name.startswith(tuple(prefixes)):
            message = f"attribute {name!r} is none of Istio's: Mixer needs a manifest that has it"
            yield warning(at, "attribute", message)
    if not unknown and type_ is not None and found is not type_:
        yield Finding(at, "expression", f"{text!r} is of type {found}; allowed: {type_}")


def match(obj: ConfigObject, at: Path) -> Iterator[Finding]:
    """The condition of a rule: empty, or BOOL (mixer.md D8)."""
    text = obj.spec.match
    if text.strip() and is_judged(obj):
        yield from judged(text, ValueType.BOOL, at)


def header_values(obj: ConfigObject, operations: Any, at: Path) -> Iterator[Finding]:
    """Values of header operations: STRING, over attributes and outputs of checks (A29)."""
    prefixes = [f"{each.name}{_CHECK_OUTPUT}" for each in obj.spec.actions if each.name]
    for index, operation in enumerate(operations if is_judged(obj) else ()):
        for number, text in enumerate(operation.values):
            here = (*at, index, "values", number)
            yield from judged(text, ValueType.STRING, here, prefixes=prefixes)


def params(
    obj: ConfigObject, content: Mapping[str, Any], template: Descriptor, at: Path
) -> Iterator[Finding]:
    """Parameters of an instance: an expression for each field of the template that is given.

    An expression is text, that of a number, too; one that is empty leaves its field unset (mixer.md
    D6, E26).
    """
    by_name = {field.name: field for field in template.fields}
    by_name |= {field.json_name: field for field in template.fields}
    for name, value in content.items():
        field = by_name.get(name)
        if field is None:
            known = ", ".join(field.name for field in template.fields) or "none"
            message = f"unknown field {name!r} of the template; allowed: {known}"
            yield Finding((*at, name), "unknown-field", message)
        elif is_map(field):
            yield from _map(obj, value, field, (*at, name))
        elif value != "":
            yield from _value(obj, value, field, (*at, name))


def _map(obj: ConfigObject, value: Any, field: FieldDescriptor, at: Path) -> Iterator[Finding]:
    if not isinstance(value, dict):
        yield Finding(at, "wrong-type", f"{value!r} is not an object of expressions")
        return
    _, value_field = map_entry(field)
    for key, item in value.items():
        if item == "":
            yield Finding((*at, key), "expression", "is empty; write '\"\"' for no text")
        else:
            yield from _value(obj, item, value_field, (*at, key))


def _value(obj: ConfigObject, value: Any, field: FieldDescriptor, at: Path) -> Iterator[Finding]:
    nested = field.message_type if not is_filled(field) else None
    if nested is not None and isinstance(value, dict):
        yield from params(obj, value, nested, at)
    elif nested is not None or not isinstance(value, str):
        what = "an object" if nested else "an expression, which is text: put it in quotes"
        yield Finding(at, "wrong-type", f"{value!r} is not {what}")
    elif is_judged(obj):
        yield from judged(value, wanted(field), at)


def bindings(obj: ConfigObject, given: Any, template: Descriptor, at: Path) -> Iterator[Finding]:
    """What attributes become of a template's outputs (mixer.md D8)."""
    output = template.file.message_types_by_name.get("OutputTemplate")
    if not isinstance(given, Mapping):
        yield Finding(at, "wrong-type", f"{given!r} is not an object of expressions")
    elif output is None and given:
        yield Finding(at, "not-allowed", "is only allowed with a template that has outputs")
    elif output is not None and is_judged(obj):
        outputs = {_OUTPUT + each.name: _output(each) for each in output.fields}
        for attribute, text in given.items():
            here = (*at, attribute)
            if not isinstance(text, str):
                yield Finding(here, "wrong-type", f"{text!r} is not an expression, which is text")
                continue
            yield from judged(text, STANDARD.get(attribute), here, outputs)


def _output(field: FieldDescriptor) -> ValueType:
    """Maps and nested messages come out as maps of texts."""
    return (wanted(field) if is_filled(field) else None) or ValueType.STRING_MAP
