"""Expression text to tokens, by Go's lexical rules (mixer.md E3, E4, E5)."""

from __future__ import annotations

import re
from typing import NamedTuple

_KEYWORDS = """
break case chan const continue default defer else fallthrough for func go goto if import interface
map package range return select struct switch type var
"""
KEYWORDS = frozenset(_KEYWORDS.split())

_OPERATORS = """
<<= >>= &^= ... && || <- ++ -- == != <= >= := += -= *= /= %= &= |= ^= << >> &^
- + * / % & | ^ < > = ! ( ) [ ] { } , ; . :
"""
_TOKEN = re.compile(
    rf"""
      (?P<newline>\n|//[^\n]*(?:\n|$))
    | (?P<space>[ \t\r]+|/\*.*?\*/)
    | (?P<float>(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+)
    | (?P<int>0[xX][0-9a-fA-F]*|[0-9]+)
    | (?P<name>\$?[^\W\d]\w*)
    | (?P<string>"(?:[^"\\\n]|\\.)*"|`[^`]*`)
    | (?P<char>'(?:[^'\\\n]|\\.[0-9a-fA-F]*)')
    | (?!/\*)(?P<operator>{"|".join(map(re.escape, _OPERATORS.split()))})
    """,
    re.VERBOSE | re.DOTALL,
)


class Token(NamedTuple):
    """A token: its kind, its text as written and its column, counted in bytes from 1."""

    kind: str
    text: str
    column: int

    def __str__(self) -> str:
        """As Go's parser names it in errors."""
        if self.kind in {"end", "newline"}:
            return "'EOF'" if self.kind == "end" else "newline"
        if self.kind in {"operator", "keyword"}:
            return f"'{self.text}'"
        return f"{_GO_KINDS[self.kind]} {self.text}"


_GO_KINDS = {"name": "'IDENT'", "int": "'INT'", "float": "'FLOAT'", "string": "'STRING'"}
_GO_KINDS["char"] = "'CHAR'"


class LexicalError(Exception):
    """Text that is no Go token."""

    def __init__(self, column: int, reason: str) -> None:
        super().__init__(f"1:{column}: {reason}")


def tokens(source: str, *, outputs: bool = False) -> list[Token]:
    """The tokens of an expression, with an ``end`` token last.

    A line break after an operand ends the expression, as in Go: it becomes a ``newline`` token.
    ``$out`` is a name only with ``outputs`` (attribute bindings, D4). Raises LexicalError.
    """
    found: list[Token] = []
    at, column = 0, 1
    while at < len(source):
        match = _TOKEN.match(source, at)
        kind = match.lastgroup if match else None
        if match is None or kind is None:
            raise LexicalError(column, _complaint(source[at:]))
        word = match[0]
        if kind == "newline" and found and _ends_operand(found[-1]):
            found.append(Token("newline", word, column))
        elif kind not in {"newline", "space"}:
            if word.startswith("$") and not (outputs and word == "$out"):
                raise LexicalError(column, "illegal character U+0024 '$'")
            found.append(Token("keyword" if word in KEYWORDS else kind, word, column))
        at = match.end()
        column += len(word.encode(errors="replace"))
    return [*found, Token("end", "", column)]


def _ends_operand(token: Token) -> bool:
    return token.kind in {"name", "int", "float", "string", "char"} or token.text in {")", "]", "}"}


def _complaint(rest: str) -> str:
    first = rest[0]
    if first == '"':
        return "string literal not terminated"
    if first == "`":
        return "raw string literal not terminated"
    if first == "'":
        return "illegal rune literal" if "'" in rest[1:] else "rune literal not terminated"
    if rest.startswith("/*"):
        return "comment not terminated"
    return f"illegal character U+{ord(first):04X} '{first}'"


_ESCAPE = re.compile(
    r"""\\(?:(?P<plain>[abfnrtv\\'"])|(?P<octal>[0-7]{3})|x(?P<byte>[0-9a-fA-F]{2})"""
    r"""|u(?P<four>[0-9a-fA-F]{4})|U(?P<eight>[0-9a-fA-F]{8})|(?P<bad>.))""",
    re.DOTALL,
)
_PLAIN = dict(zip("abfnrtv", "\a\b\f\n\r\t\v", strict=True))


def string_value(literal: str) -> str:
    """The text that a Go string or character literal means; ValueError for a bad escape.

    Byte escapes that do not make up UTF-8 become U+FFFD.
    """
    body = literal[1:-1]
    if literal[0] == "`":
        return body.replace("\r", "")
    if "\\" not in body:
        return body
    forbidden = "'" if literal[0] == '"' else '"'
    out = bytearray()
    at = 0
    for escape in _ESCAPE.finditer(body):
        out += body[at : escape.start()].encode(errors="replace")
        out += _escaped(escape, forbidden)
        at = escape.end()
    out += body[at:].encode(errors="replace")
    return out.decode(errors="replace")


def _escaped(escape: re.Match[str], forbidden: str) -> bytes:
    if plain := escape["plain"]:
        if plain == forbidden:
            raise ValueError("unknown escape sequence")
        return _PLAIN.get(plain, plain).encode()
    if octal := escape["octal"]:
        if int(octal, 8) > 255:
            raise ValueError("escape sequence is invalid Unicode code point")
        return bytes([int(octal, 8)])
    if byte := escape["byte"]:
        return bytes([int(byte, 16)])
    if escape["bad"] is not None:
        raise ValueError("unknown escape sequence")
    point = int(escape["four"] or escape["eight"], 16)
    if point > 0x10FFFF or 0xD800 <= point < 0xE000:
        raise ValueError("escape sequence is invalid Unicode code point")
    return chr(point).encode()
