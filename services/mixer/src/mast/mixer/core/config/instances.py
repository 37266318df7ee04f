"""Instances compiled: params to one function that makes all field values (mixer.md D4, D6, D8)."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct

from istio.policy.v1beta1 import cfg_pb2
from mast.common.expressions.tree import EvaluationError, ExpressionError, Read
from mast.common.expressions.types import ValueType
from mast.mixer.core.adapter import InstanceType
from mast.mixer.core.config.entry import Entry, Problem
from mast.mixer.core.config.manifests import Expressions
from mast.mixer.core.config.names import candidates
from mast.mixer.core.config.resources import TEMPLATE
from mast.mixer.core.lang.codegen import Program
from mast.mixer.core.lang.dialects import Dialect
from mast.mixer.core.lang.expression import Expression
from mast.mixer.core.templates import MapOf, Record, Scalar, Shape, Template, Variety
from mast.mixer.core.values import Get

# Field values that differ from record to record while the rest usually agrees (see `report`).
VARYING = {"metric": "value"}


@dataclass(frozen=True, slots=True, eq=False)
class CompiledInstance:
    """An instance that can be evaluated.

    ``expressions`` are all of its expressions by path. ``value`` is the expression of the varying
    field, None if the template has none or it is unset.
    """

    fqn: str
    template: Template
    expressions: Mapping[str, Expression]
    fields: Callable[[Get], dict[str, Any]]
    value: Expression | None = None
    bindings: Mapping[str, Expression] = field(default_factory=dict)
    # All bindings in one function, over a ``get`` that knows the outputs by their names there.
    bound: Callable[[Get], dict[str, Any]] = field(default=lambda _: {})
    bindings_read_only_outputs: bool = True
    # What handlers depend on besides types (D10): template and params as written.
    source: tuple[str, str] = ("", "")

    @property
    def type(self) -> InstanceType:
        """The inferred types, for the handlers that get it (D9)."""
        types = {path: each.type for path, each in self.expressions.items()}
        return InstanceType(self.fqn, self.template.name, types)

    @property
    def reads(self) -> frozenset[Read]:
        """Everything that making the instance or binding its outputs can read."""
        parts = [*self.expressions.values(), *self.bindings.values()]
        found = frozenset[Read]().union(*[part.reads for part in parts])
        outputs = self.template.named_outputs
        return frozenset(read for read in found if read.name not in outputs)

    @property
    def shared_reads(self) -> frozenset[Read]:
        """Everything that making the fields but the varying one can read."""
        varying = VARYING.get(self.template.name)
        parts = [each.reads for path, each in self.expressions.items() if path != varying]
        return frozenset[Read]().union(*parts)

    def evaluate(self, get: Get) -> dict[str, Any]:
        """Values of all fields but the varying one; EvaluationError names instance and field."""
        try:
            return self.fields(get)
        except EvaluationError as error:
            varying = VARYING.get(self.template.name)
            shared = {path: each for path, each in self.expressions.items() if path != varying}
            raise self.failure(*next(_failing(shared, get))) from error

    def bind(self, get: Get) -> dict[str, Any]:
        """Values of the bound attributes; EvaluationError names instance and attribute (A14)."""
        try:
            return self.bound(get)
        except EvaluationError as error:
            attribute, cause = next(_failing(self.bindings, get))
            raise self.failure(f"attribute_bindings[{attribute}]", cause) from error

    def failure(self, path: str, cause: EvaluationError) -> EvaluationError:
        """The error for a field that has no value for a request."""
        return EvaluationError(f"instance '{self.fqn}': evaluation failed at [{path}]: '{cause}'")


def _failing(
    expressions: Mapping[str, Expression], get: Get
) -> Iterator[tuple[str, EvaluationError]]:
    """The expressions that have no value, by name, and why."""
    for name, expression in expressions.items():
        try:
            expression.evaluate(get)
        except EvaluationError as cause:
            yield name, cause


def compile_instance(
    entry: Entry, templates: Mapping[str, Template], expressions: Expressions
) -> tuple[CompiledInstance | None, list[Problem]]:
    """An instance of kind ``instance`` or of a legacy kind, and all that is wrong with it."""
    params, template, bindings, complaint = _parts(entry, templates)
    if template is None:
        return None, [Problem(entry.fqn, "", complaint)]
    compiler = _Compiler(entry.fqn, expressions, expressions.dialect(entry))
    tree = compiler.record(template.shape, params, "")
    bound = compiler.bindings(template, bindings)
    if compiler.problems:
        return None, [*compiler.problems, *compiler.warnings]
    varying = VARYING.get(template.name, "")
    tree.pop(varying, None)
    program = Program(expressions.types)
    instance = CompiledInstance(
        fqn=entry.fqn,
        template=template,
        expressions=compiler.leaves,
        fields=program.function(_code(program, tree)),
        value=compiler.leaves.get(varying),
        bindings=bound,
        bound=_binder(bound),
        bindings_read_only_outputs=all(
            read.name in template.named_outputs for each in bound.values() for read in each.reads
        ),
        source=(template.name, json.dumps(params, sort_keys=True)),
    )
    return instance, compiler.warnings


def _parts(
    entry: Entry, templates: Mapping[str, Template]
) -> tuple[dict[str, Any], Template | None, object, str]:
    """Params, template, attribute bindings and the reason why there is no template."""
    if isinstance(entry.spec, Struct):
        params = MessageToDict(entry.spec)
        spelling = "attributeBindings" if "attributeBindings" in params else "attribute_bindings"
        bindings = params.pop(spelling, {})
        template = templates.get(entry.kind)
        return params, template, bindings, f"template '{entry.kind}' not found"
    spec = entry.spec
    assert isinstance(spec, cfg_pb2.Instance)  # noqa: S101  the store decodes by kind
    name = spec.compiled_template or spec.template
    complaint = f"template '{name}' not found" if name else "missing compiled template"
    names: Sequence[str] = (spec.compiled_template,)
    if spec.template and not spec.compiled_template:
        names = candidates(spec.template, TEMPLATE, entry.namespace)
    template = next((templates[each] for each in names if each in templates), None)
    return MessageToDict(spec.params), template, dict(spec.attribute_bindings), complaint


class _Compiler:
    """Walks params along the shape of the template; collects problems."""

    def __init__(self, fqn: str, expressions: Expressions, dialect: Dialect) -> None:
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self.leaves: dict[str, Expression] = {}
        self._fqn = fqn
        self._expressions = expressions
        self._dialect = dialect

    def record(self, shape: Record, params: Mapping[str, Any], path: str) -> dict[str, Any]:
        known = {spelling: name for name in shape.fields for spelling in (name, camel(name))}
        for key in params:
            if key not in known:
                self._wrong(path + key, f'unknown field "{key}" in InstanceParam')
        given = {known[key]: value for key, value in params.items() if key in known}
        return {
            name: self._shape(each, given.get(name), path + name)
            for name, each in shape.fields.items()
        }

    def _shape(self, shape: Shape, param: Any, path: str) -> Any:
        if isinstance(shape, Scalar):
            unset = param is None or param == ""
            return shape.unset if unset else self._scalar(shape, param, path)
        if param is None:
            param = {}
        if not isinstance(param, Mapping):
            self._wrong(path, f"must be an object, got {param!r}")
            return {}
        if isinstance(shape, Record):
            return self.record(shape, param, path + ".")
        return {key: self._element(shape, each, f"{path}[{key}]") for key, each in param.items()}

    def _element(self, shape: MapOf, param: Any, path: str) -> Any:
        if isinstance(shape.element, Scalar):
            return self._scalar(shape.element, param, path)
        return self._shape(shape.element, param, path)

    def _scalar(self, shape: Scalar, param: Any, path: str) -> Expression | None:
        if not isinstance(param, str):
            self._wrong(path, f"must be a string that holds an expression, got {param!r}")
            return None
        try:
            compiled = self._expressions.compile(param, self._dialect)
        except ExpressionError as error:
            self._wrong(path, f"failed to evaluate expression for field '{path}'; {error}")
            return None
        if shape.type is not None and compiled.type is not shape.type:
            self._wrong(path, mismatch(path, compiled.type, shape.type))
        self.leaves[path] = compiled
        return compiled

    def bindings(self, template: Template, given: object) -> dict[str, Expression]:
        """Attribute bindings over outputs (D8); legacy kinds write what they like.

        Of a dynamic template a binding to what is no attribute, or of another type, is only left
        out; that is a problem all the same.
        """
        if not isinstance(given, Mapping) or not all(isinstance(t, str) for t in given.values()):
            self._wrong("attribute_bindings", f"must be an object of strings, got {given!r}")
            return {}
        if template.variety is not Variety.ATTRIBUTE_GENERATOR:
            for attribute in given:
                text = f"template '{template.name}' has no outputs to bind"
                self._wrong(f"attribute_bindings[{attribute}]", text)
            return {}
        outputs = template.named_outputs
        compiled: dict[str, Expression] = {}
        for attribute, text in sorted(given.items()):
            path = f"attribute_bindings[{attribute}]"
            prefix = f"error evaluating AttributeBinding expression for attribute key '{attribute}'"
            wanted = self._expressions.types.get(attribute)
            complain = self._left_out if template.dynamic else self._wrong
            if wanted is None:
                complain(path, f"{prefix}: unknown attribute {attribute}")
                continue
            try:
                found = self._expressions.compile(text, self._dialect, outputs)
            except ExpressionError as error:
                self._wrong(path, f"{prefix}: {error}")
                continue
            if found.type is wanted:
                compiled[attribute] = found
            else:
                complain(path, mismatch(attribute, found.type, wanted))
        return compiled

    def _left_out(self, path: str, text: str) -> None:
        self.warnings.append(Problem(self._fqn, path, text))

    def _wrong(self, path: str, text: str) -> None:
        self.problems.append(Problem(self._fqn, path, text))


def mismatch(path: str, found: ValueType, wanted: ValueType) -> str:
    """The text for an expression of the wrong type (D7)."""
    return (
        f"error type checking for field '{path}': Evaluated expression type {found} want {wanted}"
    )


def camel(name: str) -> str:
    """The proto3 JSON spelling of a field name."""
    head, *rest = name.split("_")
    return head + "".join(part[:1].upper() + part[1:] for part in rest)


def _binder(bindings: Mapping[str, Expression]) -> Callable[[Get], dict[str, Any]]:
    types = {name: kind for each in bindings.values() for name, kind in each.types.items()}
    program = Program(types)
    return program.function(_code(program, dict(bindings)))


def _code(program: Program, branch: object) -> ast.expr:
    """Code for a field: an expression, an unset value, or a dict of fields."""
    if isinstance(branch, Expression):
        return program.result(branch.tree) if branch.tree else program.call(branch.evaluate)
    if isinstance(branch, dict):
        keys: list[ast.expr | None] = [ast.Constant(key) for key in branch]
        return ast.Dict(keys, [_code(program, each) for each in branch.values()])
    return program.constant(branch)
