"""Conditions in words: what is missing, and nothing where nothing is."""

from __future__ import annotations

import pytest

from mast.cli.explain.conditions import Condition, Every, Is, Not, Some, holds, lacking

YES = Is("path", "/a", "/a*", True)
NO = Is("path", "/a", "/b", False)
ALSO_NO = Is("path", "/a", "*.json", False)
GET = Is("method", "GET", "POST", False)


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        pytest.param(YES, "", id="holds"),
        pytest.param(NO, "path is /a, not /b", id="differs"),
        pytest.param(Every([YES, NO, GET]), "path is /a, not /b", id="the-first-of-all"),
        pytest.param(Every([]), "", id="nothing-asked"),
        pytest.param(Some([NO, YES]), "", id="one-will-do"),
        pytest.param(Some([NO, ALSO_NO]), "path is /a, not /b or *.json", id="one-thing"),
        pytest.param(Some([NO, GET]), "path is /a, not /b, and method is GET, not POST", id="two"),
        pytest.param(Some([NO, NO]), "path is /a, not /b", id="the-same-twice"),
        pytest.param(Some([Every([YES, NO]), ALSO_NO]), "path is /a, not /b or *.json", id="deep"),
        pytest.param(Some([]), "nothing fits", id="no-alternative"),
        pytest.param(Not(NO), "", id="not"),
        pytest.param(Not(YES), "path /a is excluded", id="excluded"),
        pytest.param(Not(Some([GET, YES])), "path /a is excluded", id="what-is-excluded"),
        pytest.param(Not(Not(NO)), "path is /a, not /b", id="twice-not"),
        pytest.param(Not(Every([])), "everything is excluded", id="not-anything"),
    ],
)
def test_lacking(condition: Condition, words: str) -> None:
    assert lacking(condition) == words
    assert holds(condition) is not bool(words)
