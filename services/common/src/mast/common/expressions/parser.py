"""Expression text to trees, by the grammar of Go expressions (mixer.md E1 to E5)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import isinf
from typing import NoReturn, TypeVar

from mast.common.expressions.lexer import LexicalError, Token, string_value, tokens
from mast.common.expressions.tree import Attribute, Call, Constant, ExpressionError, Node
from mast.common.expressions.types import ValueType
from mast.common.expressions.values import INT64_DIGITS, INT64_MAX, Duration, parse_duration

T = TypeVar("T")

# Characters, brackets within brackets, levels of the whole tree (a chain is as deep as long).
MAX_LENGTH = 1 << 16
MAX_NESTING = 64
MAX_LEVELS = 200

_PRECEDENCE = {"||": 1, "&&": 2}
_PRECEDENCE |= dict.fromkeys(("==", "!=", "<", "<=", ">", ">="), 3)
_PRECEDENCE |= dict.fromkeys(("+", "-", "|", "^"), 4)
_PRECEDENCE |= dict.fromkeys(("*", "/", "%", "<<", ">>", "&", "&^"), 5)

_FUNCTIONS = {
    "==": "EQ",
    "!=": "NEQ",
    "<": "LT",
    "<=": "LEQ",
    ">": "GT",
    ">=": "GEQ",
    "|": "OR",
    "||": "LOR",
    "&&": "LAND",
    "+": "ADD",
    "-": "SUB",
    "*": "MUL",
    "/": "QUO",
    "%": "REM",
    "^": "XOR",
    "<<": "SHL",
    ">>": "SHR",
    "&": "AND",
    "&^": "AND_NOT",
    "!": "NOT",
    "<-": "ARROW",
}
_UNARY = frozenset({"+", "-", "!", "^", "&", "<-"})


def parse(source: str, *, outputs: bool = False) -> Node:
    """The tree of an expression.

    With ``outputs`` the name ``$out`` is allowed (attribute bindings). Raises ExpressionError:
    ``unable to parse expression '…': 1:COL: …`` (E5) or ``unexpected expression: …`` (E3).
    """
    if len(source) > MAX_LENGTH:
        text = f"expression of {len(source)} characters; allowed: {MAX_LENGTH}"
        raise ExpressionError(f"unable to parse expression '{source[:40]}…': {text}")
    try:
        parser = _Parser(source, tokens(source, outputs=outputs))
    except LexicalError as error:
        raise ExpressionError(f"unable to parse expression '{source}': {error}") from error
    tree = parser.binary(1).node(source)
    parser.end()
    if _levels(tree) > MAX_LEVELS:
        reason = f"1:1: more than {MAX_LEVELS} levels of operators"
        raise ExpressionError(f"unable to parse expression '{source}': {reason}")
    return tree


def _levels(tree: Node) -> int:
    count, level = 0, [tree]
    while level:
        count += 1
        calls = [node for node in level if isinstance(node, Call)]
        level = [part for call in calls for part in (call.target, *call.arguments) if part]
    return count


@dataclass(slots=True)
class _Part:
    """What has been read of an operand; names stay open because a call may follow."""

    kind: str  # "names", "literal", "call", "index", "paren" or "operation"
    tree: Node | None
    names: list[str] = field(default_factory=list)

    def node(self, source: str) -> Node:
        if self.tree is not None:
            return self.tree
        if len(self.names) == 1 and (word := self.names[0].lower()) in {"true", "false"}:
            return Constant(word == "true", ValueType.BOOL, word)
        return Attribute(".".join(self.names))


class _Parser:
    """Precedence climbing over a list of tokens."""

    def __init__(self, source: str, found: list[Token]) -> None:
        self._source = source
        self._tokens = found
        self._at = 0
        self._depth = 0

    def binary(self, minimum: int) -> _Part:
        """Operators of at least this precedence, left to right."""
        left = self._unary()
        while True:
            operator = self._peek()
            if operator.text == "=" and operator.kind == "operator":
                self._fail(operator, "expected '==', found '='")
            precedence = _PRECEDENCE.get(operator.text, 0) if operator.kind == "operator" else 0
            if precedence < minimum:
                return left
            self._at += 1
            right = self.binary(precedence + 1)
            operands = (left.node(self._source), right.node(self._source))
            left = _Part("operation", Call(_FUNCTIONS[operator.text], operands))

    def end(self) -> None:
        """Nothing may follow but one line break."""
        if self._peek().kind == "newline":
            self._at += 1
        if self._peek().kind != "end":
            self._fail(self._peek(), f"expected 'EOF', found {self._peek()}")

    def _unary(self) -> _Part:
        token = self._peek()
        if token.kind == "operator" and token.text in _UNARY:
            self._at += 1
            operand = self._nested(token, self._unary).node(self._source)
            return _Part("operation", Call(_FUNCTIONS[token.text], (operand,)))
        if token.kind == "operator" and token.text == "*":
            self._unexpected(token)
        return self._postfix(self._operand())

    def _operand(self) -> _Part:
        token = self._next()
        if token.kind == "name":
            return _Part("names", None, [token.text])
        if token.kind in {"int", "float", "string", "char"}:
            return _Part("literal", self._literal(token))
        if token.text == "(" and token.kind == "operator":
            inner = self._nested(token, lambda: self.binary(1))
            self._expect(")")
            return _Part("paren", inner.node(self._source))
        if token.kind == "keyword" and token.text in {"func", "map", "struct", "interface", "chan"}:
            self._unexpected(token)
        if token.text == "[":
            self._unexpected(token)
        return self._fail(token, f"expected operand, found {token}")

    def _postfix(self, part: _Part) -> _Part:
        while self._peek().kind == "operator":
            token = self._peek()
            if token.text == ".":
                part = self._selected(part)
            elif token.text == "(":
                part = self._called(part, token)
            elif token.text == "[":
                part = self._indexed(part, token)
            elif token.text == "{":
                self._unexpected(token)
            else:
                break
        return part

    def _selected(self, part: _Part) -> _Part:
        dot = self._next()
        name = self._next()
        if name.kind != "name":
            if name.text == "(":
                self._unexpected(dot)
            self._fail(name, f"expected selector or type assertion, found {name}")
        if part.kind == "names":
            part.names.append(name.text)
            return part
        call = self._peek()
        if part.kind == "index" or call.text != "(":
            self._unexpected(dot)
        return self._call(name.text, part.tree, call)

    def _called(self, part: _Part, token: Token) -> _Part:
        if part.kind != "names":
            self._unexpected(token)
        *names, function = part.names
        target = _Part("names", None, names).node(self._source) if names else None
        return self._call(function, target, token)

    def _call(self, function: str, target: Node | None, token: Token) -> _Part:
        self._expect("(")
        arguments = self._nested(token, self._arguments)
        self._expect(")")
        return _Part("call", Call(function, arguments, target))

    def _arguments(self) -> tuple[Node, ...]:
        arguments: list[Node] = []
        while self._peek().text != ")":
            arguments.append(self.binary(1).node(self._source))
            if self._peek().text != ",":
                break
            self._at += 1
        return tuple(arguments)

    def _indexed(self, part: _Part, token: Token) -> _Part:
        self._expect("[")
        if self._peek().text == ":":
            self._unexpected(token)
        key = self._nested(token, lambda: self.binary(1)).node(self._source)
        if self._peek().text == ":":
            self._unexpected(token)
        self._expect("]")
        return _Part("index", Call("INDEX", (part.node(self._source), key)))

    def _nested(self, token: Token, read: Callable[[], T]) -> T:
        self._depth += 1
        if self._depth > MAX_NESTING:
            self._fail(token, f"nesting deeper than {MAX_NESTING}")
        result = read()
        self._depth -= 1
        return result

    def _literal(self, token: Token) -> Constant:
        source = token.text
        if token.kind == "int":
            return Constant(self._integer(token), ValueType.INT64, source)
        if token.kind == "float":
            return Constant(self._double(token), ValueType.DOUBLE, source)
        try:
            value = string_value(source)
        except ValueError as error:
            self._fail(token, str(error))
        if token.kind == "char" and len(value) != 1:
            self._fail(token, "illegal rune literal")
        if (ns := parse_duration(value)) is not None:
            return Constant(Duration(ns), ValueType.DURATION, source)
        return Constant(value, ValueType.STRING, source)

    def _integer(self, token: Token) -> int:
        if token.text[1:2] in {"x", "X"}:
            self._fail(token, f'strconv.ParseInt: parsing "{token.text}": invalid syntax')
        digits = token.text.lstrip("0") or "0"
        if len(digits) > INT64_DIGITS or int(digits) > INT64_MAX:
            self._fail(token, f'strconv.ParseInt: parsing "{token.text}": value out of range')
        return int(digits)

    def _double(self, token: Token) -> float:
        value = float(token.text)
        if isinf(value):
            self._fail(token, f'strconv.ParseFloat: parsing "{token.text}": value out of range')
        return value

    def _peek(self) -> Token:
        return self._tokens[self._at]

    def _next(self) -> Token:
        token = self._tokens[self._at]
        if token.kind != "end":
            self._at += 1
        return token

    def _expect(self, text: str) -> None:
        token = self._peek()
        if token.text != text or token.kind != "operator":
            self._fail(token, f"expected '{text}', found {token}")
        self._at += 1

    def _fail(self, token: Token, reason: str) -> NoReturn:
        where = f"1:{token.column}: {reason}"
        raise ExpressionError(f"unable to parse expression '{self._source}': {where}")

    def _unexpected(self, token: Token) -> NoReturn:
        raise ExpressionError(f"unexpected expression: '{self._source}' at 1:{token.column}")
