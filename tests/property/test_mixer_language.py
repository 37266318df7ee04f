"""The expression language under any text and any request (mixer.md E5, E12 to E18)."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mast.common.expressions.tree import EvaluationError, ExpressionError
from mast.common.expressions.types import SIGNATURES, ValueType
from mast.galley.core.rules.mixer_attributes import STANDARD
from mast.galley.core.rules.mixer_expressions import judged
from mast.mixer.core.bag import Tracker
from mast.mixer.core.lang.dialects import Dialect
from mast.mixer.core.lang.expression import compile_expression
from mast.mixer.core.values import Duration, Timestamp, Value, parse_duration, same, text

TYPES = {f"{kind.name.lower()}{n}": kind for kind in ValueType for n in (1, 2)}

words = st.sampled_from(
    [*TYPES, *SIGNATURES, "true", "false", "nobody", "type", '"text"', '"0"', '"19ms"', "`raw`",
     "'c'", "5", "1.5", "0x1", "(", ")", "[", "]", ",", ".", "|", "||", "&&", "&", "==", "=",
     "!=", "<", ">=", "+", "-", "!", "*", "{", "}", ":", "@", '"', "\n", "//", "/*"]
)  # fmt: skip
soup = st.lists(words, max_size=30).map(" ".join)
noise = st.binary(max_size=60).map(lambda raw: raw.decode("latin-1"))
sources = st.text(max_size=60) | noise | soup


def leaves(kind: ValueType) -> st.SearchStrategy[str]:
    names = [name for name, each in TYPES.items() if each is kind]
    literals = {
        ValueType.STRING: ['"a"', '"10.0.0.1"', '"a@b"', '"2020-01-31T10:00:00Z"', '""'],
        ValueType.INT64: ["5", "9223372036854775807"],
        ValueType.DOUBLE: ["1.5"],
        ValueType.BOOL: ["true", "false"],
        ValueType.DURATION: ['"19ms"'],
        ValueType.STRING_MAP: ["emptyStringMap()"],
    }
    return st.sampled_from([*names, *literals.get(kind, [])])


@st.composite
def typed(draw: st.DrawFn, kind: ValueType, depth: int) -> str:
    """An expression of a type."""
    if not depth:
        return draw(leaves(kind))

    def part(of: ValueType) -> str:
        return draw(typed(of, depth - 1))

    any_kind = st.sampled_from(list(ValueType))
    forms = ["leaf", "or", "conditional"]
    if kind is ValueType.BOOL:
        forms += ["eq", "lt", "and", "either", "match", "matches", "starts"]
    if kind is ValueType.STRING:
        forms += ["index", "add", "lower", "eager"]
    if kind is ValueType.INT64:
        forms += ["add", "size"]
    converters = {
        ValueType.IP_ADDRESS: "ip",
        ValueType.TIMESTAMP: "timestamp",
        ValueType.DNS_NAME: "dnsName",
        ValueType.EMAIL_ADDRESS: "email",
        ValueType.URI: "uri",
    }
    if kind in converters:
        forms.append("convert")
    match draw(st.sampled_from(forms)):
        case "or":
            return f"({part(kind)} | {part(kind)})"
        case "conditional":
            return f"conditional({part(ValueType.BOOL)}, {part(kind)}, {part(kind)})"
        case "eq":
            of = draw(
                any_kind.filter(lambda k: k not in {ValueType.DURATION, ValueType.STRING_MAP})
            )
            return f"({part(of)} {draw(st.sampled_from(['==', '!=']))} {part(of)})"
        case "lt":
            of = draw(st.sampled_from([ValueType.STRING, ValueType.INT64, ValueType.TIMESTAMP]))
            return f"({part(of)} {draw(st.sampled_from(['<', '<=', '>', '>=']))} {part(of)})"
        case "and":
            return f"({part(kind)} && {part(kind)})"
        case "either":
            return f"({part(kind)} || {part(kind)})"
        case "match":
            return f"match({part(ValueType.STRING)}, {part(ValueType.STRING)})"
        case "matches":
            return f"({part(ValueType.STRING)}).matches({part(ValueType.STRING)})"
        case "starts":
            return f"({part(ValueType.STRING)}).startsWith({part(ValueType.STRING)})"
        case "index":
            return f"{part(ValueType.STRING_MAP)}[{part(ValueType.STRING)}]"
        case "add":
            return f"({part(kind)} + {part(kind)})"
        case "lower":
            return f"toLower({part(kind)})"
        case "eager":
            return f"conditionalString({part(ValueType.BOOL)}, {part(kind)}, {part(kind)})"
        case "size":
            return f"size({part(ValueType.STRING)})"
        case "convert":
            return f"{converters[kind]}({part(ValueType.STRING)})"
    return draw(leaves(kind))


any_value = st.one_of(
    st.text(max_size=5),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.booleans(),
    st.binary(max_size=16),
    st.builds(Duration, st.integers(-(2**63), 2**63 - 1)),
    st.builds(Timestamp, st.integers(-(10**18), 10**18)),
    st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=3),
)
of_kind = {
    ValueType.INT64: st.integers(-(2**63), 2**63 - 1),
    ValueType.DOUBLE: st.floats(),
    ValueType.BOOL: st.booleans(),
    ValueType.TIMESTAMP: st.builds(Timestamp, st.integers(-(10**18), 10**18)),
    ValueType.IP_ADDRESS: st.binary(min_size=4, max_size=4) | st.binary(min_size=16, max_size=16),
    ValueType.DURATION: st.builds(Duration, st.integers(-(2**63), 2**63 - 1)),
    ValueType.STRING_MAP: st.dictionaries(
        st.sampled_from(["a", "10.0.0.1", ""]), st.text(max_size=3), max_size=3
    ),
}
requests = st.fixed_dictionaries(
    {}, optional={name: of_kind.get(kind, st.text(max_size=5)) for name, kind in TYPES.items()}
)
wild_requests = st.fixed_dictionaries({}, optional=dict.fromkeys(TYPES, any_value))
expressions = st.sampled_from(list(ValueType)).flatmap(
    lambda kind: st.tuples(st.just(kind), typed(kind, 3))
)

CLASSES = {
    ValueType.INT64: int,
    ValueType.DOUBLE: float,
    ValueType.BOOL: bool,
    ValueType.TIMESTAMP: Timestamp,
    ValueType.IP_ADDRESS: bytes,
    ValueType.DURATION: Duration,
    ValueType.STRING_MAP: dict,
}


@pytest.mark.parametrize("dialect", Dialect)
@given(source=sources, attributes=wild_requests)
def test_any_text_compiles_or_is_an_error(
    dialect: Dialect, source: str, attributes: dict[str, Value]
) -> None:
    with suppress(ExpressionError, EvaluationError):
        dialect.compile(source, TYPES).evaluate(attributes.get)


@given(expressions, requests)
def test_typed_expressions_have_values_of_their_type(
    expression: tuple[ValueType, str], request: dict[str, Value]
) -> None:
    kind, source = expression
    compiled = compile_expression(source, TYPES)
    assert compiled.type is kind
    try:
        value = compiled.evaluate(request.get)
    except EvaluationError:
        return
    assert type(value) is CLASSES.get(kind, str)


@given(expressions, requests)
def test_tracking_changes_no_value_and_misses_no_read(
    expression: tuple[ValueType, str], request: dict[str, Value]
) -> None:
    """A request reduced to what was recorded as present gives the same outcome."""
    compiled = compile_expression(expression[1], TYPES)

    def outcome(get: object) -> object:
        assert callable(get)
        try:
            return text(compiled.evaluate(get))
        except EvaluationError as error:
            return str(error)

    tracker = Tracker(request)
    found = outcome(tracker.get)
    assert found == outcome(request.get)
    names = {each.name for each in tracker.referenced}
    allowed = {read.name for read in compiled.reads}
    assert names <= allowed
    maps = {name: {} for name in request if isinstance(request[name], dict)}
    reduced: dict[str, Value] = {**maps, **{n: v for n, v in request.items() if n in names}}
    assert outcome(reduced.get) == found


@given(st.integers(-(2**63), 2**63 - 1))
@example(-(2**63))
def test_durations_read_as_they_are_written(ns: int) -> None:
    assert parse_duration(str(Duration(ns))) == ns


@given(any_value)
def test_a_value_is_the_same_as_its_text(value: Value) -> None:
    assert same(text(value), value)
    assert same(value, text(value))


@given(sources | st.sampled_from(list(ValueType)).flatmap(lambda kind: typed(kind, 2)))
@example("fuzzy(nobody)")
@example('match(string1, "[")')
@example('"a".matches("[")')
@example('ip("x") == ip_address1')
def test_galley_accepts_what_mixer_compiles(source: str) -> None:
    """But for attributes that no manifest of Istio's has: of these it warns."""
    types = {**STANDARD, **TYPES}
    try:
        compiled = compile_expression(source, types, outputs=True).type
    except ExpressionError:
        compiled = None
    assert (not list(judged(source, compiled, (), TYPES))) is (compiled is not None)
    other = ValueType.BOOL if compiled is ValueType.STRING else ValueType.STRING
    assert list(judged(source, other, (), TYPES))
