"""What reports tell Mixer about metrics (pilot.md K5)."""

import json

from mast.pilot.core.telemetry.measuring import metric_tags
from mast.pilot.core.telemetry.policies import Measures
from tests.support.messages import plain


def test_as_usual() -> None:
    assert metric_tags(Measures()) == ()


def test_one_tag_for_each_expression() -> None:
    measures = Measures(
        disabled=frozenset({"b", "a"}),
        tags={
            "m": {"x": "request.host", "y": None},
            "n": {"z": "request.host", "w": "string(a.b)"},
        },
    )
    told, *values = [plain(each) for each in metric_tags(measures)]
    assert told["tag"] == "telemetry"
    assert json.loads(told["literal"]["value"]) == {
        "disabled": ["a", "b"],
        "labels": {"m": {"x": 0, "y": None}, "n": {"z": 0, "w": 1}},
    }
    assert values == [
        {"tag": "telemetry.0", "value": "%CEL(request.host)%"},
        {"tag": "telemetry.1", "value": "%CEL(a.b)%"},
    ]
