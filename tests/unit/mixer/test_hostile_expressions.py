"""Expressions that were written to hang Mixer or to end it (mixer.md E5, E25; decision 36).

Time is counted in calls of Python functions: what takes time by the square of a text's length
takes sixteen times the calls for four times the length, on any machine.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from mast.common.expressions.tree import EvaluationError, ExpressionError
from mast.common.expressions.types import ValueType
from mast.mixer.core.lang.cel.compat import as_cel
from mast.mixer.core.lang.cel.growth import LIMIT
from mast.mixer.core.lang.cel.rewriting import MAX_STEPS
from mast.mixer.core.lang.dialects import Dialect
from mast.mixer.core.lang.hosts import dns_name, email, same_dns_name, same_email
from mast.mixer.core.lang.uris import uri
from mast.mixer.core.values import Value

TYPES = {
    "s": ValueType.STRING,
    "b": ValueType.BOOL,
    "m": ValueType.STRING_MAP,
    "x.m": ValueType.STRING_MAP,
}
REQUEST: dict[str, Value] = {"s": "text", "b": True, "m": {"k": "k"}, "x.m": {"k": "v"}}


def steps(run: Callable[[], object]) -> int:
    """How many functions are called, errors of the language included."""
    count = 0

    def called(_: Any, event: str, __: Any) -> None:
        nonlocal count
        count += event in {"call", "c_call"}

    before = sys.getprofile()
    sys.setprofile(called)
    try:
        with suppress(ExpressionError, EvaluationError):
            run()
    finally:
        sys.setprofile(before)
    return count


def balanced(operator: str, leaf: str, size: int) -> str:
    """A tree of operators that is as flat as can be."""
    parts = [leaf] * size
    while len(parts) > 1:
        pairs = zip(parts[::2], [*parts[1::2], ""], strict=False)
        parts = [f"({one} {operator} {other})" if other else one for one, other in pairs]
    return parts[0]


def conditions(size: int) -> str:
    """Conditionals in each other, each with a chain of comparisons."""
    found = "b"
    for _ in range(30):
        found = f"conditional(b, {' == '.join(['b'] * (size // 30 + 1))}, {found})"
    return found


FORMS: dict[str, Callable[[int], str]] = {
    "chain": lambda n: " || ".join(["b"] * n),
    "levels": lambda n: " == ".join(["b"] * min(n // 3, 190)),
    "tree": lambda n: balanced("==", "b", n),
    "fallbacks": lambda n: balanced("|", "s", n),
    "conditions": conditions,
    "name": lambda n: ".".join(["s"] * n),
    "surplus-arguments": lambda n: f"size({'s, ' * n}s)",
    "unknown-function": lambda n: f"f({'s, ' * n}s)",
    "methods": lambda n: "s" + ".startsWith(s)" * n,
    "indices": lambda n: "m" + '["k"]' * n,
    "text": lambda n: f'"{"a" * n}"',
    "escapes": lambda n: '"' + r"\n" * n + '"',
    "comments": lambda n: "/**/" * n + "b",
    "open-comment": lambda n: "/*" * n,
    "quotes": lambda n: "`" * (2 * n + 1),
    "digits": lambda n: "9" * n,
    "duration": lambda n: f'"{"9" * n}s"',
    "brackets": lambda n: "(" * n,
    "nots": lambda n: "!" * n + "b",
    "noise": lambda n: "\x00\xff@" * n,
}


@pytest.mark.parametrize("form", FORMS)
def test_compiling_takes_time_by_length(form: str) -> None:
    def compiling(size: int) -> Callable[[], object]:
        text = FORMS[form](size)
        return lambda: Dialect.CEXL.compile(text, TYPES)

    assert steps(compiling(400)) < 6 * steps(compiling(100)) + 500


@pytest.mark.parametrize("dialect", Dialect)
@pytest.mark.parametrize("form", FORMS)
def test_every_form_has_a_value_or_an_error(form: str, dialect: Dialect) -> None:
    with suppress(ExpressionError, EvaluationError):
        dialect.compile(FORMS[form](400), TYPES).evaluate(REQUEST.get)


def keys(depth: int) -> str:
    """Indices in each other, each of which may fall back."""
    found = '"k"'
    for _ in range(depth):
        found = f'm[{found} | "none"]'
    return f'{found} | "none"'


def picks(depth: int) -> str:
    found = "'k'"
    for _ in range(depth):
        found = f"pick(m[{found}], 'none')"
    return found


def test_keys_that_fall_back_in_each_other() -> None:
    assert Dialect.CEXL.compile(keys(60), TYPES).evaluate(REQUEST.get) == "k"
    assert steps(lambda: as_cel(keys(60))) < 6 * steps(lambda: as_cel(keys(15)))
    for dialect in (Dialect.CEL, Dialect.COMPAT):
        text = picks(14) if dialect is Dialect.CEL else keys(14)
        with pytest.raises(ExpressionError, match=f"more than {MAX_STEPS} steps"):
            dialect.compile(text, TYPES)
    assert Dialect.CEL.compile(picks(4), TYPES).evaluate(REQUEST.get) == "k"


def doubling(times: int, text: str = "x + x") -> str:
    return "['a']" + f".map(x, {text})" * times + ".size() == 1"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(doubling(20), id="texts-double"),
        pytest.param(doubling(6, "x + x + x + x + x + x"), id="texts-grow-sixfold"),
        pytest.param(doubling(20).replace("'a'", "['a']"), id="lists-double"),
        pytest.param(f"({balanced('+', 's', 500)}).size() == 1", id="sum-of-long-texts"),
        pytest.param(
            f"[s].map(x, {{'k': {balanced('+', 'x', 200)}}})[0].k == s", id="maps-of-long-texts"
        ),
        pytest.param(f"b ? {balanced('+', 's', 200)} == s : b", id="only-if"),
    ],
)
def test_what_would_exhaust_memory_does_not_compile(text: str) -> None:
    with pytest.raises(ExpressionError, match=f"too long: [0-9]+, allowed: {LIMIT}"):
        Dialect.CEL.compile(text, TYPES)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("['a', 'b'].map(x, x + '-' + s).filter(x, x != 'a').exists(x, x == 'b-text')", True),
        (
            "[1, 2, 3].map(x, x * 2).filter(x, x > 2).map(x, string(x)).exists_one(x, x == '4')",
            True,
        ),
        (f"s in [{', '.join(['1'] * 2000)}].map(x, string(x))", False),
        (doubling(10), True),
        ("{'a': s + s, 'b': s}['a'].size()", 8),
        ("[[1, 2], [3]].map(x, x.size()).all(x, x > 0)", True),
        ("(b ? s : toLower(s)) + m.k + x.m['k']", "textkv"),
        (" + ".join(["s.size()"] * 25), 100),
    ],
)
def test_ordinary_loops_compile(text: str, value: Value) -> None:
    assert Dialect.CEL.compile(text, TYPES).evaluate(REQUEST.get) == value


def values(length: int) -> Iterator[str]:
    yield " " * length + "x"
    yield "x" + " " * length
    yield "x<" * length
    yield "a." * length
    yield "a@" + "a." * length + "@"
    yield '"' + r"\a" * length
    yield "xn--" + "a9" * length
    yield "a" + "\u0301\u0316" * length
    yield "http://" + "%" * length
    yield "http://" + "a@" * length
    yield "1:" * length + "1.2.3.4"


@pytest.mark.parametrize(
    "read",
    [
        dns_name,
        email,
        uri,
        lambda text: same_dns_name(text, "b"),
        lambda text: same_email(f"a@{text}", "a@b"),
        lambda text: Dialect.CEXL.compile("ip(s)", TYPES).evaluate({"s": text}.get),
        lambda text: Dialect.CEXL.compile("timestamp(s)", TYPES).evaluate({"s": text}.get),
    ],
    ids=["dns", "email", "uri", "same-dns", "same-email", "ip", "timestamp"],
)
def test_every_long_value_is_read_or_refused(read: Callable[[str], object]) -> None:
    """As long as all headers of a request: would take minutes if it were read badly."""
    for value in values(30_000):
        with suppress(EvaluationError):
            read(value)
