"""The judgement on whole requests."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mast.galley.core.judge import judge, read
from mast.galley.core.objects import Defaults
from mast.galley.core.problem import TEXT_LIMIT, InvalidConfig, errors
from mastapi.galley.v1 import config_pb2

GOOD = """\
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: %s}
spec: {host: a.com}
"""


def sources(**texts: str) -> list[config_pb2.Source]:
    return [config_pb2.Source(name=name, text=text) for name, text in texts.items()]


def test_problems_come_by_source_and_line() -> None:
    bad = (
        "apiVersion: networking.istio.io/v1\n"
        "kind: DestinationRule\n"
        "spec: {x: 1, host: a.com}\n"
        "metadata: {name: %s}\n"
    )
    request = sources(b=f"{GOOD % 'a'}---\n{bad % 'B'}", a=bad % "A")
    judged = judge(read(request, (), Defaults()))
    assert [(p.source, p.position.line, p.rule) for p in judged.problems] == [
        ("b", 8, "unknown-field"),
        ("b", 9, "name"),
        ("a", 3, "unknown-field"),
        ("a", 4, "name"),
    ]


def test_an_object_of_the_api_given_twice_is_named_by_its_place() -> None:
    one = config_pb2.Object(api_version="networking.istio.io/v1", kind="DestinationRule")
    one.metadata.name = "x"
    one.spec.update({"host": "a.com"})
    (problem,) = judge(read((), [one, one], Defaults())).problems
    assert problem.message == "the object is given twice; first at objects[0]"
    assert str(problem).startswith("objects[1]: error: DestinationRule default/x: the object")


def test_an_object_given_twice_is_an_error() -> None:
    judged = judge(read(sources(a=GOOD % "x", b=GOOD % "x"), (), Defaults()))
    (problem,) = judged.problems
    assert (problem.rule, problem.source) == ("duplicate-object", "b")
    assert problem.message == "the object is given twice; first at a:1"
    with pytest.raises(InvalidConfig, match="duplicate-object"):
        judged.insist()


def test_warnings_prevent_nothing() -> None:
    text = (GOOD % "x").replace("{host: a.com}", "{host: a.com, workloadSelector: {}}")
    judged = judge(read(sources(a=text), (), Defaults()))
    judged.insist()
    assert [p.rule for p in judged.warnings] == ["empty-selector"]


def test_the_error_tells_how_many_there_are() -> None:
    text = (GOOD % "x").replace("a.com", "'a b'") + "more: 1\n"
    with pytest.raises(InvalidConfig) as refused:
        judge(read(sources(a=text), (), Defaults())).insist()
    assert str(InvalidConfig([])) == "configuration is invalid: "
    assert "(and 1 more errors)" in str(refused.value)
    assert refused.value.objects == 1


def test_long_values_are_cut_in_messages() -> None:
    text = (GOOD % "x").replace("a.com", "'" + "a " * 5000 + "'")
    (problem,) = judge(read(sources(a=text), (), Defaults())).problems
    assert len(problem.message) == TEXT_LIMIT
    assert problem.message.endswith("…")


SAMPLES = sorted(Path(__file__).parents[2].glob("golden/galley/*.yaml"))


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_golden_input(sample: Path) -> None:
    """Each ``# expect: RULE`` at the end of a line is an error or warning told at that line."""
    text = sample.read_text()
    expected = [
        (number, rule)
        for number, line in enumerate(text.splitlines(), start=1)
        if "# expect:" in line
        for rule in line.split("# expect:")[1].split()
    ]
    judged = judge(read(sources(**{sample.name: text}), (), Defaults()))
    assert [(p.position.line, p.rule) for p in judged.problems] == expected
    assert judged.objects


def test_golden_inputs_are_of_both_generations() -> None:
    assert {path.stem for path in SAMPLES} >= {"current", "legacy", "bad"}


@given(st.permutations(range(4)))
def test_the_order_of_sources_does_not_change_what_is_found(order: list[int]) -> None:
    texts = [
        GOOD % "a",
        GOOD.replace("a.com", "'b c'") % "b",
        GOOD % "c" + "x: 1",
        GOOD.replace("DestinationRule", "Unknown") % "d",
    ]
    request = [config_pb2.Source(name=str(n), text=texts[n]) for n in order]
    found = judge(read(request, (), Defaults())).problems
    assert {(p.source, p.rule) for p in errors(found)} == {
        ("1", "host"),
        ("2", "unknown-field"),
        ("3", "unknown-kind"),
    }
