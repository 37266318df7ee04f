"""Expressions in CEL, and CEXL with the semantics of CEL (mixer.md E28 to E30)."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mast.common.expressions.tree import EvaluationError, ExpressionError, Read
from mast.common.expressions.types import ValueType
from mast.mixer.core.bag import Tracker
from mast.mixer.core.engine import Condition
from mast.mixer.core.lang.cel.environment import PICK_LIMIT
from mast.mixer.core.lang.cel.expression import LENGTH_LIMIT
from mast.mixer.core.lang.dialects import Dialect
from mast.mixer.core.lang.functions import ip, timestamp
from mast.mixer.core.values import NANOS, Duration, Timestamp, Value

TYPES: Final[Mapping[str, ValueType]] = {
    "request.path": ValueType.STRING,
    "request.headers": ValueType.STRING_MAP,
    "request.size": ValueType.INT64,
    "request.time": ValueType.TIMESTAMP,
    "source.ip": ValueType.IP_ADDRESS,
    "source.labels": ValueType.STRING_MAP,
    "source.service": ValueType.STRING,
    "source.service.host": ValueType.DNS_NAME,
    "context.reporter.kind": ValueType.STRING,
    "response.duration": ValueType.DURATION,
    "ratio": ValueType.DOUBLE,
    "secure": ValueType.BOOL,
    "mail": ValueType.EMAIL_ADDRESS,
    "link": ValueType.URI,
    "labels": ValueType.STRING_MAP,
    "not-a-name": ValueType.STRING,
    "$out.name": ValueType.STRING,
}
REQUEST: Final[Mapping[str, Value]] = {
    "request.path": "/x",
    "request.headers": {"k": "v"},
    "source.ip": b"\x0a\x00\x00\x01",
    "source.service.host": "Example.com",
    "response.duration": Duration(1_500_000_000),
    "link": "http://Example.com/",
}


def value(
    text: str, request: Mapping[str, Value] = REQUEST, dialect: Dialect = Dialect.CEL
) -> Value:
    found: Value = dialect.compile(text, TYPES, outputs=True).evaluate(request.get)
    return found


STANDARD = [
    ("1 + 2 * 3 - 4 / 2 % 3", 5),
    ("-5", -5),
    ("1.5 * 2.0", 3.0),
    ("'a' + 'b'", "ab"),
    ("request.size == 0 ? 'none' : 'some'", "none"),
    ("request.path in ['/x', '/y']", True),
    ("{'a': 'b'}['a']", "b"),
    ("[1, 2, 3].exists(x, x > 2)", True),
    ("[1, 2].all(request, request > 0)", True),
    ("size(request.path)", 2),
    ("type(request.size) == int", True),
    ("string(request.size) + request.path", "0/x"),
    ("duration('90s')", Duration(90 * NANOS)),
    ("timestamp('2020-01-01T00:00:00Z')", timestamp("2020-01-01T00:00:00Z")),
    ("response.duration < duration('2s')", True),
    ("request.path.startsWith('/') && request.path.endsWith('x')", True),
    ("'/x/y'.matches('^/x')", True),
    ("request.size / 0 == 1 || true", True),
    ("true || request.size / 0 == 1", True),
    ("request.size / 0 == 1 && false", False),
]
OURS = [
    ("match(request.path, '/x*')", True),
    ("toLower('ABC')", "abc"),
    ("reverse('abc')", "cba"),
    ("'abc'.reverse()", "cba"),
    ("ip('10.0.0.1')", ip("10.0.0.1")),
    ("source.ip == ip('::ffff:10.0.0.1')", True),
    ("source.ip != ip('10.0.0.2')", True),
    ("source.ip in [ip('10.0.0.1')]", True),
    ("source.service.host == dnsName('example.COM.')", True),
    ("source.service.host != dnsName('example.org')", True),
    ("email('a@b.c') == email('a@B.c')", True),
    ("link == uri('http://example.com/')", True),
    ("emptyStringMap()", {}),
    ("conditional(secure, 'yes', 'no')", "no"),
    ("secure ? labels : request.headers", {"k": "v"}),
    ("(secure ? labels : request.headers)['k']", "v"),
]
ABSENT = [
    ("request.size", 0),
    ("ratio", 0.0),
    ("secure", False),
    ("context.reporter.kind", ""),
    ("request.time", Timestamp(0)),
    ("labels", {}),
    ("has(request.size)", False),
    ("has(request.path)", True),
    ("has(context.reporter)", True),
    ("has(request.headers.k)", True),
    ("has(request.headers.n)", False),
    ("has(labels.k)", False),
    ("'k' in request.headers", True),
    ("'k' in labels", False),
    ("request.headers.k", "v"),
]
PICKS = [
    ("pick(request.size, 7)", 7),
    ("pick(request.path, '/')", "/x"),
    ("pick(request.headers['n'], request.headers.k, 'z')", "v"),
    ("pick(labels.a, labels['b'], 'z')", "z"),
    ("pick('a', 'b')", "a"),
    ("pick(request.size + 1, 7)", 1),
    ("pick(pick(request.size, labels.size), 9)", None),
    ("pick(pick(context.reporter.kind, labels.size), 'nine')", "nine"),
    ("pick(pick(context.reporter.kind, request.path), 'nine')", "/x"),
    ("pick(source.ip, ip('1.1.1.1'))", b"\x0a\x00\x00\x01"),
    ("output.name", ""),
    ("pick($out.name, 'none')", "none"),
]


@pytest.mark.parametrize(
    ("text", "expected"), [case for case in STANDARD + OURS + ABSENT + PICKS if case[1] is not None]
)
def test_values(text: str, expected: Value) -> None:
    found = value(text)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("request.headers['n']", "no such key: 'n'"),
        ("labels['n']", "no such key: 'n'"),
        ("labels.n", "no such key: 'n'"),
        ("{'a': 'b'}['c']", "no such key: 'c'"),
        ("ip('x') == source.ip", "could not convert x to IP_ADDRESS"),
        ("1 / request.size", "divide by zero"),
        ("9223372036854775807 + 1 == request.size", "integer overflow"),
        ("'a'.matches('(' + request.path)", "error parsing regexp: "),
        ("request.size + 1", "error converting value to integer or duration: 'many'"),
    ],
)
def test_what_has_no_value(text: str, error: str) -> None:
    with pytest.raises(EvaluationError, match=r"^" + error.replace("(", r"\(")):
        value(text, {**REQUEST, "request.size": "many"} if "many" in error else REQUEST)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("request.nope", "undefined field 'nope'"),
        ("nope", "undeclared reference to 'nope'"),
        (
            "request.path == 1",
            r"found no matching overload for '_==_' applied to '\(string, int\)'",
        ),
        ("pick(request.path, 1)", "found no matching overload for 'pick'"),
        ("1 +", "Syntax error"),
        ("", "Syntax error"),
        ("request", "unable to use 'request': its type is none that attributes have"),
        ("[1]", "its type is none that attributes have"),
        ("size(labels)", "labels is a map of strings, which supports index, in and has only"),
        ("source.labels == labels", "source.labels is a map of strings"),
        ("source.labels.size() == 1", "source.labels is a map of strings"),
        ("request.path == '\\000'", "NUL"),
        ("x" * (LENGTH_LIMIT + 1), f"allowed: {LENGTH_LIMIT}"),
        (f"{'(' * 500}1{')' * 500}", "recursion limit"),
        (f"pick({', '.join(['1'] * (PICK_LIMIT + 1))})", "undeclared reference to 'pick'"),
    ],
)
def test_what_does_not_compile(text: str, error: str) -> None:
    with pytest.raises(ExpressionError, match=error):
        Dialect.CEL.compile(text, TYPES)


def test_the_beginning_of_other_names_is_no_attribute() -> None:
    with pytest.raises(ExpressionError, match="no matching overload"):
        Dialect.CEL.compile("source.service == 'a'", TYPES)


def looked_up(text: str, dialect: Dialect = Dialect.CEL) -> list[str]:
    request = Tracker(REQUEST)
    dialect.compile(text, TYPES).evaluate(request.get)
    return [
        f"{'-' if each.condition is Condition.ABSENCE else ''}{each.name}"
        + (f"[{each.map_key}]" if each.map_key else "")
        for each in request.referenced
    ]


@pytest.mark.parametrize(
    ("text", "references"),
    [
        ("true || request.path == 'a'", []),
        ("request.path == '/x' || ratio > 1.0", ["request.path"]),
        ("request.path == '/y' || ratio > 1.0", ["request.path", "-ratio"]),
        ("request.headers.k", ["request.headers[k]"]),
        ("has(request.headers.n)", ["-request.headers[n]"]),
        ("has(labels.n)", ["-labels"]),
        ("has(context.reporter)", []),
        ("pick(request.size, request.headers['k'] == 'v' ? 1 : 2)", None),
        ("pick(request.size, 3)", ["-request.size"]),
        ("secure ? request.path : 'no'", ["-secure"]),
        ("request.headers", ["request.headers[k]"]),
    ],
)
def test_references_are_what_was_looked_up(text: str, references: list[str] | None) -> None:
    if references is None:
        references = ["-request.size", "request.headers[k]"]
    assert looked_up(text) == references


def test_reads_are_known_before() -> None:
    compiled = Dialect.CEL.compile(
        "has(request.size) && request.headers.k == request.headers[request.path]", TYPES
    )
    assert compiled.reads == {
        Read("request.size"),
        Read("request.headers", "k"),
        Read("request.headers"),
        Read("request.path"),
    }


def test_an_attribute_alone_keeps_its_nanoseconds() -> None:
    assert value("response.duration", {"response.duration": Duration(1)}) == Duration(1)


def test_variables_of_macros_hide_attributes() -> None:
    assert value("['/x'].exists(ratio, ratio == request.path)") is True


def test_strings_with_nul_are_no_values() -> None:
    with pytest.raises(EvaluationError, match="NUL"):
        value("request.path + 'x'", {"request.path": "/\0x"})


def test_loops_end() -> None:
    many = f"[{', '.join(map(str, range(100)))}]"
    text = f"{many}.all(a, {many}.all(b, {many}.all(c, true)))"
    with pytest.raises(EvaluationError, match=r"^Iteration budget exceeded"):
        value(text)


COMPAT = [
    ('request.path | "none"', "/x"),
    ('context.reporter.kind | request.headers["n"] | "none"', "none"),
    ('(request.size | 3) == 3 && request.path == "/x"', True),
    ('response.duration == "1.5s"', True),
    ('"19ms"', Duration(19_000_000)),
    ('`a"b\\c`', 'a"b\\c'),
    ('request.path.matches("^/x$")', True),
    ('request.path.startsWith("/")', True),
    ('conditionalString(secure, "a", "b")', "b"),
    ("conditional(TRUE, 010, 2)", 10),
    ('match(request.path, "/*")', True),
    ("request.size", 0),
    ("emptyStringMap()", {}),
    ('$out.name | "none"', "none"),
    (" | ".join(["context.reporter.kind"] * 40) + ' | "none"', "none"),
    (" | ".join(["context.reporter.kind"] * 20) + " | request.path", "/x"),
]


@pytest.mark.parametrize(("text", "expected"), COMPAT)
def test_compat(text: str, expected: Value) -> None:
    assert value(text, dialect=Dialect.COMPAT) == expected


@pytest.mark.parametrize("text", ["a ==", "!request.path", "request.size - 1", '@"x"'])
def test_compat_has_the_syntax_of_cexl(text: str) -> None:
    with pytest.raises(ExpressionError):
        Dialect.COMPAT.compile(text, TYPES)


@pytest.mark.parametrize(
    ("word", "dialect"),
    [
        ("CEL", Dialect.CEL),
        ("COMPAT", Dialect.COMPAT),
        ("CEXL", Dialect.CEXL),
        ("cel", Dialect.CEXL),
        ("", Dialect.CEXL),
    ],
)
def test_words(word: str, dialect: Dialect) -> None:
    assert Dialect.of(word) is dialect


_NAMES = st.sampled_from(sorted(TYPES))
_PIECES = st.sampled_from(
    [*"()[]{}.,+-*/%<>=!&|?:'\"\\", "has", "pick", "in", "==", "&&", "0", "1u", "'k'", "\0", "ß"]
)


@given(st.lists(_NAMES | _PIECES, max_size=30).map(" ".join))
@example("has(has(a))")
@example("labels.labels.labels")
def test_hostile_text_gives_a_value_or_an_error(text: str) -> None:
    with suppress(ExpressionError, EvaluationError):
        Dialect.CEL.compile(text, TYPES).evaluate(REQUEST.get)
