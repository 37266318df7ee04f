"""Objects of any depth come out of listings."""

from __future__ import annotations

import json

import pytest

from mast.common.kubernetes.decoding import DEPTH, decoded

OTHER = {"text": '"[{\\', "list": [1, {}], "shallow": [[[{"a": []}]]]}


@pytest.mark.parametrize("shape", ["[{}]", '{{"a": {}}}'])
def test_one_deep_value_hides_no_other(shape: str) -> None:
    deep, (before, after) = 5_000, shape.format("|").split("|")
    nested = before * deep + '"]}[{"' + after * deep
    found = decoded(f'{{"deep": {nested}, "other": {json.dumps(OTHER)}}}')
    assert found["other"] == OTHER
    place, levels = found["deep"], 1
    while place is not None:
        place = place[0] if isinstance(place, list) else place["a"]
        levels += 1
    assert levels == DEPTH


@pytest.mark.parametrize("text", ["", "{", "[" * 5000, '{"a": ' * 5000], ids=lambda t: t[:6])
def test_what_is_no_json(text: str) -> None:
    with pytest.raises(ValueError, match=r"line 1"):
        decoded(text)
