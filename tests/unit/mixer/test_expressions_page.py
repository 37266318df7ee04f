"""The traps that the page of expressions tells of are as it says (mixer.md E)."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from mast.common.expressions.tree import EvaluationError, ExpressionError
from mast.common.expressions.types import SIGNATURES, ValueType
from mast.mixer.core.lang.expression import compile_expression
from mast.mixer.core.lang.functions import ip
from mast.mixer.core.values import Value
from tests.support.mixer_config import TELEMETRY, Rig

PAGE = (Path(__file__).parents[3] / "docs" / "expressions.md").read_text()
TYPES = Rig(TELEMETRY).snapshot.expressions.types
ROW = re.compile(r"^\| `(.+?)` \| (.*?) ?\| (.+) \|$", re.MULTILINE)
TRAPS = ROW.findall(PAGE.partition("## Traps")[2].partition("## CEL")[0])


def request(text: str) -> dict[str, Value]:
    """The request that a row describes."""
    if told := re.fullmatch(r"`([\w.]+)` is `(.+)`", text):
        name, value = told.groups()
        return {name: ip(value) if TYPES[name] is ValueType.IP_ADDRESS else value}
    if told := re.fullmatch(r"`([\w.]+)` without `a`", text):
        return {told[1]: {"b": "x"}}
    if told := re.fullmatch(r"`([\w.]+)` with an empty `a`", text):
        return {told[1]: {"a": ""}}
    assert not text or re.fullmatch(r"no `[\w.]+`", text), text
    return {}


@pytest.mark.parametrize(("source", "given", "gives"), TRAPS)
def test_traps(source: str, given: str, gives: str) -> None:
    source = source.replace(r"\|", "|")
    if gives.startswith("does not compile"):
        with pytest.raises(ExpressionError):
            compile_expression(source, TYPES)
        return
    compiled = compile_expression(source, TYPES)
    attributes = request(given)
    if told := re.match(r"error `(.+)`", gives):
        with pytest.raises(EvaluationError) as failed:
            compiled.evaluate(attributes.get)
        assert str(failed.value) == told[1]
        return
    told = re.match(r"`([^`]+)`", gives)
    assert told is not None, gives
    expected: Any = json.loads(told[1])
    assert compiled.evaluate(attributes.get) == expected


def test_there_are_traps_and_every_function_and_type_is_told() -> None:
    assert len(TRAPS) > 15
    for name in (*SIGNATURES, *ValueType.__members__):
        if not name.isupper() or name in ValueType.__members__:
            assert name in PAGE
