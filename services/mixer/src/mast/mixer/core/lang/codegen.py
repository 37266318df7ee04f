"""Checked trees to Python code objects; nothing is interpreted per request (mixer.md E12 to E17).

An expression becomes one Python expression over ``get``, the function that reads an attribute or
gives None. Where an operand of ``|`` may be missing, its code gives None instead of raising, and
the chain of ``x if (x := operand) is not None else …`` does the rest.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any

from mast.common.expressions.checker import Checker
from mast.common.expressions.tree import Attribute, Call, Constant, Node
from mast.common.expressions.types import SIGNATURES, ValueType
from mast.mixer.core.lang import functions as library
from mast.mixer.core.lang.hosts import dns_name, email, same_dns_name, same_email
from mast.mixer.core.lang.uris import same_uri, uri
from mast.mixer.core.values import Duration, Get, Timestamp, same_ip

_COMPARISONS: Mapping[str, type[ast.cmpop]] = {
    "EQ": ast.Eq,
    "NEQ": ast.NotEq,
    "LT": ast.Lt,
    "LEQ": ast.LtE,
    "GT": ast.Gt,
    "GEQ": ast.GtE,
}

# Types whose equality is more than Python's.
_EQUALITY: Mapping[ValueType, Callable[[Any, Any], bool]] = {
    ValueType.IP_ADDRESS: same_ip,
    ValueType.DNS_NAME: same_dns_name,
    ValueType.EMAIL_ADDRESS: same_email,
    ValueType.URI: same_uri,
}

_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "conditionalString": library.conditional_string,
    "size": library.size,
    "ip": library.ip,
    "timestamp": library.timestamp,
    "dnsName": dns_name,
    "email": email,
    "uri": uri,
    "match": library.match,
    "matches": library.matches,
    "startsWith": library.starts_with,
    "endsWith": library.ends_with,
    "toLower": library.to_lower,
}

# The Python class of a type's values, and the function that takes what is of another class.
_READERS: Mapping[str, tuple[type, Callable[[str, Any], Any]]] = {
    "string": (str, library.read_string),
    "bool": (bool, library.read_bool),
    "double": (float, library.read_double),
    "integer": (int, library.read_integer),
    "duration": (Duration, library.read_duration),
}
_OTHER_READERS: Mapping[ValueType, tuple[type, Callable[[str, Any], Any]]] = {
    ValueType.TIMESTAMP: (Timestamp, library.read_timestamp),
    ValueType.IP_ADDRESS: (bytes, library.read_ip),
    ValueType.STRING_MAP: (dict, library.read_map),
}


class Program:
    """Builds one Python function of ``get`` out of any number of expressions."""

    def __init__(self, attributes: Mapping[str, ValueType]) -> None:
        self._types = Checker(attributes)
        self._globals: dict[str, Any] = {"__builtins__": {}}
        self._names: dict[int, str] = {}
        self._temporaries = 0

    def function(self, body: ast.expr) -> Callable[[Callable[[str], Any]], Any]:
        """``lambda get: body``, compiled."""
        arguments = ast.arguments([], [ast.arg("get")], None, [], [], None, [])
        tree = ast.fix_missing_locations(ast.Expression(ast.Lambda(arguments, body)))
        code = compile(tree, "<expression>", "eval").co_consts[0]
        return FunctionType(code, self._globals)

    def result(self, node: Node) -> ast.expr:
        """Code for a whole expression; of a map every key counts as read (A10)."""
        code = self.value(node)
        return self._apply(entire, code) if self._type(node) is ValueType.STRING_MAP else code

    def call(self, evaluate: Callable[[Get], object]) -> ast.expr:
        """Code for an expression that something else evaluates."""
        return self._apply(evaluate, _name("get"))

    def value(self, node: Node) -> ast.expr:
        """Code that gives the value of the expression or raises EvaluationError."""
        if isinstance(node, Constant):
            return self._constant(node.value)
        if isinstance(node, Attribute):
            return self._attribute(node, optional=False)
        if node.name == "OR":
            return self._fallbacks(node, self.value)
        if node.name == "INDEX":
            mapping, key = (self.value(argument) for argument in node.arguments[:2])
            return self._method(mapping, "get", key, ast.Constant(""))
        return self._call(node)

    def optional(self, node: Node) -> ast.expr:
        """Code for the left of ``|``: None if attribute, map or key is missing (E14)."""
        if isinstance(node, Attribute):
            return self._attribute(node, optional=True)
        if isinstance(node, Call) and node.name == "OR":
            return self._fallbacks(node, self.optional)
        if isinstance(node, Call) and node.name == "INDEX":
            return self._optional_index(node)
        return self.value(node)

    def constant(self, value: object) -> ast.expr:
        """A reference to any Python object."""
        name = self._names.get(id(value))
        if name is None:
            name = self._names[id(value)] = f"k{len(self._names)}"
            self._globals[name] = value
        return ast.Name(name, ast.Load())

    def _type(self, node: Node) -> ValueType:
        return self._types.type(node)

    def _constant(self, value: object) -> ast.expr:
        if isinstance(value, str | int | float | bool):
            return ast.Constant(value)
        return self.constant(value)

    def _attribute(self, node: Attribute, *, optional: bool) -> ast.expr:
        """``t if (t := get(name)).__class__ is kind else read(name, t)``."""
        found = self._type(node)
        kind, read = _OTHER_READERS.get(found) or _READERS[found.storage]
        fetched, keep = self._keep(self._apply_code(_name("get"), ast.Constant(node.name)))
        test: ast.expr = _is(ast.Attribute(fetched, "__class__", ast.Load()), self.constant(kind))
        if optional:
            test = ast.BoolOp(ast.Or(), [test, _is(keep, ast.Constant(None))])
        return ast.IfExp(test, keep, self._apply(read, ast.Constant(node.name), keep))

    def _fallbacks(self, node: Call, last: Callable[[Node], ast.expr]) -> ast.expr:
        """The operands of a chain of ``|`` until one is there; ``last`` makes the final one."""
        *operands, final = _chain(node)
        code = last(final)
        for operand in reversed(operands):
            fetched, keep = self._keep(self.optional(operand))
            code = ast.IfExp(_is_not(fetched, ast.Constant(None)), keep, code)
        return code

    def _optional_index(self, node: Call) -> ast.expr:
        mapping, keep_map = self._keep(self.optional(node.arguments[0]))
        key, keep_key = self._keep(self.optional(node.arguments[1]))
        nothing = ast.Constant(None)
        there = ast.BoolOp(ast.And(), [_is_not(mapping, nothing), _is_not(key, nothing)])
        return ast.IfExp(there, self._method(keep_map, "get", keep_key), nothing)

    def _call(self, node: Call) -> ast.expr:
        """A function or operator, all of whose arguments must have values (E15 to E17)."""
        if node.name in _COMPARISONS:
            return self._comparison(node)
        if node.name in {"LAND", "LOR"}:
            operator = ast.And() if node.name == "LAND" else ast.Or()
            return ast.BoolOp(operator, [self.value(part) for part in _chain(node)])
        if node.name == "ADD":
            left, right = (self.value(argument) for argument in node.arguments[:2])
            if self._type(node.arguments[0]) is ValueType.INT64:
                return self._apply(library.wrapped_sum, left, right)
            return ast.BinOp(left, ast.Add(), right)
        if node.name == "conditional":
            test, left, right = (self.value(argument) for argument in node.arguments[:3])
            return ast.IfExp(test, left, right)
        if node.name == "emptyStringMap":
            return self.constant(_EMPTY)
        if node.name == "size" and isinstance(node.arguments[0], Constant):
            return ast.Constant(library.size(str(node.arguments[0].value)))
        if node.name == "matches" and isinstance(node.target, Constant):
            find = library.finder(str(node.target.value))
            return self._apply(find, self.value(node.arguments[0]))
        given = node.arguments[: len(SIGNATURES[node.name].parameters)]
        parts = given if node.target is None else (node.target, *given)
        return self._apply(_FUNCTIONS[node.name], *[self.value(part) for part in parts])

    def _comparison(self, node: Call) -> ast.expr:
        left, right = (self.value(argument) for argument in node.arguments[:2])
        equality = _EQUALITY.get(self._type(node.arguments[0]))
        if equality is None or node.name not in {"EQ", "NEQ"}:
            return ast.Compare(left, [_COMPARISONS[node.name]()], [right])
        equal = self._apply(equality, left, right)
        return equal if node.name == "EQ" else ast.UnaryOp(ast.Not(), equal)

    def _keep(self, code: ast.expr) -> tuple[ast.expr, ast.expr]:
        """``(t := code)`` and ``t``."""
        self._temporaries += 1
        name = f"t{self._temporaries}"
        return ast.NamedExpr(ast.Name(name, ast.Store()), code), _name(name)

    def _apply(self, function: Callable[..., Any], *arguments: ast.expr) -> ast.expr:
        return self._apply_code(self.constant(function), *arguments)

    def _apply_code(self, function: ast.expr, *arguments: ast.expr) -> ast.expr:
        return ast.Call(function, list(arguments), [])

    def _method(self, owner: ast.expr, name: str, *arguments: ast.expr) -> ast.expr:
        return self._apply_code(ast.Attribute(owner, name, ast.Load()), *arguments)


_EMPTY: dict[str, str] = {}


def entire(mapping: Any) -> Mapping[str, str]:
    """A map as a plain dict; a tracked one records that all of it was read."""
    return mapping if mapping.__class__ is dict else dict(mapping.items())


def _chain(node: Call) -> list[Node]:
    """The operands of a left-deep chain of one operator, first to last."""
    operands: list[Node] = []
    head: Node = node
    while isinstance(head, Call) and head.name == node.name:
        operands.append(head.arguments[1])
        head = head.arguments[0]
    return [head, *reversed(operands)]


def _name(name: str) -> ast.Name:
    return ast.Name(name, ast.Load())


def _is(left: ast.expr, right: ast.expr) -> ast.expr:
    return ast.Compare(left, [ast.Is()], [right])


def _is_not(left: ast.expr, right: ast.expr) -> ast.expr:
    return ast.Compare(left, [ast.IsNot()], [right])
