"""Findings of analysis in statuses (A8)."""

from __future__ import annotations

from typing import Any

import pytest

from mast.galley.core.analysis.snapshot import Message
from mast.galley.core.status.analysis_messages import analysed, validation_messages

MISSING = {
    "type": {"name": "ReferencedResourceNotFound", "code": "IST0101"},
    "level": "ERROR",
    "documentationUrl": "docs/analysis.md#ist0101",
}
CONDITIONS = [{"type": "Ready", "status": "True"}]


def test_each_code_is_told_once_in_the_order_of_messages() -> None:
    said = [Message("IST0101", None, "a"), Message("IST0101", None, "b")]
    found = validation_messages([*said, Message("IST0102", None, "c")])
    assert found[0] == MISSING
    assert [(each["type"]["code"], each["level"]) for each in found] == [
        ("IST0101", "ERROR"),
        ("IST0102", "INFO"),
    ]


@pytest.mark.parametrize(
    ("status", "wanted", "change"),
    [
        pytest.param({}, [], None, id="nothing-to-tell"),
        pytest.param({"conditions": CONDITIONS}, [], None, id="others-only"),
        pytest.param(
            {}, [MISSING], {"validationMessages": [MISSING], "observedGeneration": 2}, id="new"
        ),
        pytest.param(
            {"validationMessages": [MISSING], "observedGeneration": 2}, [MISSING], None, id="same"
        ),
        pytest.param(
            {"validationMessages": [MISSING], "observedGeneration": "2"}, [MISSING], None, id="text"
        ),
        pytest.param(
            {"validationMessages": [MISSING], "observedGeneration": 1},
            [MISSING],
            {"observedGeneration": 2},
            id="looked-at-again",
        ),
        pytest.param(
            {"validationMessages": [MISSING], "observedGeneration": 1},
            [],
            {"validationMessages": None, "observedGeneration": 2},
            id="mended",
        ),
        pytest.param({"validationMessages": []}, [], None, id="empty"),
        pytest.param(
            {"validationMessages": 7},
            [],
            {"validationMessages": None, "observedGeneration": 2},
            id="odd",
        ),
    ],
)
def test_change(status: Any, wanted: Any, change: Any) -> None:
    assert analysed(status, 2, wanted) == change


def test_kinds_without_generations_have_none_observed() -> None:
    assert analysed({}, 0, [MISSING]) == {"validationMessages": [MISSING]}
