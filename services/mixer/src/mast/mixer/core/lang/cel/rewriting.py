"""Checked expressions with reads of attributes as calls, so that reads are known (A7, E28)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from cel.expr.checked_pb2 import CheckedExpr, Type  # type: ignore[import-untyped]
from cel.expr.syntax_pb2 import Constant, Expr  # type: ignore[import-untyped]

from mast.common.expressions.tree import ExpressionError, Read
from mast.common.expressions.types import ValueType
from mast.mixer.core.lang.cel.environment import MESSAGES, Names
from mast.mixer.core.lang.cel.reading import (
    HAS,
    HAS_KEY,
    KEY,
    MATCHES,
    OVERLOADS,
    READ,
    SAME,
)
from mast.mixer.core.values import Value

MAX_STEPS: Final = 10_000
"""Parts of an expression that are looked at: a ``pick`` asks for its arguments twice, whether they
are there and what they are, so that keys which are picked themselves come up again and again."""


@dataclass
class Rewriter:
    """Rewrites one expression in place; ``reads`` is what it can read afterwards.

    ``attributes`` are those of `environment.names`, by the parts of their names.
    """

    checked: CheckedExpr
    attributes: Names
    reads: set[Read] = field(default_factory=set)
    _bound: list[str] = field(default_factory=list)
    _last: int = 0
    _steps: int = 0

    def rewrite(self) -> None:
        """Raises ExpressionError for prefixes of attributes, and what maps do not support.

        Also for what takes more than MAX_STEPS.
        """
        self._last = max([*self.checked.type_map, *self.checked.source_info.positions], default=0)
        self._expression(self.checked.expr)

    @property
    def constant(self) -> Value | None:
        """The value of an expression that is a literal of a simple type, else None."""
        literal = self.checked.expr.const_expr
        kind = literal.WhichOneof("constant_kind")
        if kind not in {"string_value", "int64_value", "double_value", "bool_value"}:
            return None
        found: Value = getattr(literal, kind)
        return found

    def _expression(self, whole: Expr) -> None:
        self._steps += 1
        if self._steps > MAX_STEPS:
            raise ExpressionError(f"an expression that takes more than {MAX_STEPS} steps to read")
        parts = self._path(whole)
        if parts is not None and self._attribute(whole, parts):
            return
        match whole.WhichOneof("expr_kind"):
            case "ident_expr":
                if parts and any(known[: len(parts)] == parts for known in self.attributes):
                    raise ExpressionError(f"{'.'.join(parts)} is no attribute")
            case "select_expr":
                self._select(whole)
            case "call_expr":
                self._call(whole)
            case "comprehension_expr":
                self._comprehension(whole)
            case "const_expr":
                if "\0" in whole.const_expr.string_value:
                    raise ExpressionError("a string has a NUL character")
            case _:
                for inner in _literal_parts(whole):
                    self._expression(inner)

    def _path(self, whole: Expr) -> tuple[str, ...] | None:
        """The parts of a name such as ``request.path``, unless a macro's variable begins it."""
        parts: list[str] = []
        at = whole
        while at.WhichOneof("expr_kind") == "select_expr" and not at.select_expr.test_only:
            parts.append(at.select_expr.field)
            at = at.select_expr.operand
        if at.WhichOneof("expr_kind") != "ident_expr" or at.ident_expr.name in self._bound:
            return None
        return (at.ident_expr.name.removeprefix("."), *reversed(parts))

    def _attribute(self, whole: Expr, parts: tuple[str, ...]) -> bool:
        """Rewrite the read of an attribute, or of a key of a map (``labels.app``)."""
        if parts in self.attributes:
            name, kind = self.attributes[parts]
            self.reads.add(Read(name))
            self._become(whole, READ[kind], self._text(name))
            return True
        if self._map(parts[:-1]):
            self._key(whole, KEY, parts[:-1], self._text(parts[-1]))
            return True
        return False

    def _key(self, whole: Expr, call: str, of: tuple[str, ...], key: Expr) -> None:
        name = self.attributes[of].name
        literal = key.const_expr.string_value if key.HasField("const_expr") else None
        self.reads.add(Read(name, literal))
        self._become(whole, call, self._text(name), key)

    def _select(self, whole: Expr) -> None:
        """A field of something else, or ``has(...)``."""
        select = whole.select_expr
        if not select.test_only:
            self._expression(select.operand)
            return
        operand = self._path(select.operand)
        if operand is None:
            self._expression(select.operand)
            return
        parts = (*operand, select.field)
        if parts in self.attributes:
            name = self.attributes[parts].name
            self.reads.add(Read(name))
            self._become(whole, HAS, self._text(name))
        elif self._map(operand):
            self._key(whole, HAS_KEY, operand, self._text(select.field))
        else:
            whole.const_expr.bool_value = True  # a prefix is always there

    def _call(self, whole: Expr) -> None:
        match whole.call_expr.function:
            case "emptyStringMap":
                whole.struct_expr.SetInParent()
                return
            case "pick":
                self._pick(whole)
                self._expression(whole)
                return
            case "conditional":
                whole.call_expr.function = "_?_:_"
                self._overload(whole, "conditional")
        if not self._map_operation(whole):
            self._function(whole)

    def _function(self, whole: Expr) -> None:
        call = whole.call_expr
        self._refuse_maps(call)
        same = self._same(call)
        if call.HasField("target"):
            self._expression(call.target)
        for each in call.args:
            self._expression(each)
        if call.function == "matches":
            # Not the evaluator's own, which has no limits of patterns.
            self._become(whole, MATCHES, *map(_copy, _operands(call)))
        elif call.HasField("target") and call.function == "reverse":
            self._become(whole, "reverse", _copy(call.target))
        elif same:
            self._compare(whole, same)
        elif call.function in OVERLOADS:
            self._overload(whole, OVERLOADS[call.function])

    def _map_operation(self, whole: Expr) -> bool:
        """``m[k]`` and ``k in m`` of an attribute."""
        call = whole.call_expr
        if call.function not in {"_[_]", "@in"}:
            return False
        at = 0 if call.function == "_[_]" else 1
        parts = self._path(call.args[at])
        if parts is None or not self._map(parts):
            return False
        key = _copy(call.args[1 - at])
        self._expression(key)
        self._key(whole, KEY if at == 0 else HAS_KEY, parts, key)
        return True

    def _refuse_maps(self, call: Expr.Call) -> None:
        if call.function == "_?_:_":
            return
        for each in _operands(call):
            if self._is_map(each):
                name = ".".join(self._path(each) or ())
                text = "is a map of strings, which supports index, in and has only"
                raise ExpressionError(f"{name} {text}")

    def _pick(self, whole: Expr) -> None:
        """The first argument that is there; the last if none is (E29)."""
        *some, last = [_copy(each) for each in whole.call_expr.args]
        found = last
        for each in reversed(some):
            there = self._presence(each)
            if there is None:
                found = each
                continue
            chosen = Expr(id=self._new())
            chosen.call_expr.function = "_?_:_"
            chosen.call_expr.args.extend([there, each, found])
            self._overload(chosen, "conditional")
            found = chosen
        whole.CopyFrom(found)

    def _presence(self, each: Expr) -> Expr | None:
        """An expression that tells whether another is there; None if it always is."""
        found = Expr(id=self._new())
        call = each.call_expr
        if call.function == "pick":
            return self._any([self._presence(argument) for argument in call.args])
        if call.function == "_[_]" and self._is_map(call.args[0]):
            found.call_expr.function = "@in"
            found.call_expr.args.extend([_copy(call.args[1]), _copy(call.args[0])])
            return found
        parts = self._path(each)
        if parts is not None and parts in self.attributes:
            self._become(found, HAS, self._text(self.attributes[parts].name))
            return found
        if each.HasField("select_expr") and self._is_map(each.select_expr.operand):
            found.select_expr.CopyFrom(each.select_expr)
            found.select_expr.test_only = True
            return found
        return None

    def _is_map(self, each: Expr) -> bool:
        parts = self._path(each)
        return parts is not None and self._map(parts)

    def _map(self, parts: tuple[str, ...]) -> bool:
        return parts in self.attributes and self.attributes[parts].type is ValueType.STRING_MAP

    def _any(self, some: Sequence[Expr | None]) -> Expr | None:
        """Whether one of them is there; None if one always is."""
        found: Expr | None = None
        for each in reversed(some):
            if each is None:
                return None
            if found is None:
                found = each
                continue
            either = Expr(id=self._new())
            either.call_expr.function = "_||_"
            either.call_expr.args.extend([each, found])
            self._overload(either, "logical_or")
            found = either
        return found

    def _same(self, call: Expr.Call) -> str:
        """What compares the operands of ``==`` and ``!=``, "" if CEL does."""
        if call.function not in {"_==_", "_!=_"}:
            return ""
        kind = value_type(self.checked.type_map[call.args[0].id])
        return SAME.get(kind, "") if kind else ""

    def _compare(self, whole: Expr, same: str) -> None:
        equal = whole.call_expr.function == "_==_"
        left, right = (_copy(each) for each in whole.call_expr.args)
        if equal:
            self._become(whole, same, left, right)
            return
        inner = Expr(id=self._new())
        self._become(inner, same, left, right)
        whole.call_expr.Clear()
        whole.call_expr.function = "!_"
        whole.call_expr.args.append(inner)
        self._overload(whole, "logical_not")

    def _comprehension(self, whole: Expr) -> None:
        loop = whole.comprehension_expr
        self._expression(loop.iter_range)
        self._expression(loop.accu_init)
        mine = [each for each in (loop.iter_var, loop.iter_var2, loop.accu_var) if each]
        self._bound.extend(mine)
        for each in (loop.loop_condition, loop.loop_step, loop.result):
            self._expression(each)
        del self._bound[-len(mine) :]

    def _become(self, whole: Expr, call: str, *arguments: Expr) -> None:
        """Turn an expression into one of our calls."""
        found = Expr(id=whole.id)
        found.call_expr.function = call
        found.call_expr.args.extend(arguments)
        whole.CopyFrom(found)
        self._overload(whole, OVERLOADS[call])

    def _overload(self, whole: Expr, overload: str) -> None:
        reference = self.checked.reference_map[whole.id]
        reference.Clear()
        reference.overload_id.append(overload)

    def _text(self, text: str) -> Expr:
        return Expr(id=self._new(), const_expr=Constant(string_value=text))

    def _new(self) -> int:
        self._last += 1
        return self._last


def value_type(found: Type) -> ValueType | None:
    """The type of attributes that a type of CEL is; None if it is none."""
    match found.WhichOneof("type_kind"):
        case "primitive":
            return {
                Type.STRING: ValueType.STRING,
                Type.INT64: ValueType.INT64,
                Type.DOUBLE: ValueType.DOUBLE,
                Type.BOOL: ValueType.BOOL,
            }.get(found.primitive)
        case "well_known":
            return {
                Type.TIMESTAMP: ValueType.TIMESTAMP,
                Type.DURATION: ValueType.DURATION,
            }.get(found.well_known)
        case "message_type":
            return MESSAGES.get(found.message_type)
        case "map_type":
            both = (found.map_type.key_type.primitive, found.map_type.value_type.primitive)
            return ValueType.STRING_MAP if both == (Type.STRING, Type.STRING) else None
        case _:
            return None


def _literal_parts(whole: Expr) -> Iterator[Expr]:
    """What is within a list, map or message."""
    yield from whole.list_expr.elements
    for entry in whole.struct_expr.entries:
        if entry.HasField("map_key"):
            yield entry.map_key
        yield entry.value


def _operands(call: Expr.Call) -> Sequence[Expr]:
    """The receiver, if there is one, and the arguments."""
    return [*([call.target] if call.HasField("target") else []), *call.args]


def _copy(each: Expr) -> Expr:
    found = Expr()
    found.CopyFrom(each)
    return found
