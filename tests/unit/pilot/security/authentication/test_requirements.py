"""What is demanded of requests: which providers, combined how (pilot.md J2)."""

import pytest
from google.protobuf.json_format import MessageToDict

from mast.pilot.core.security.authentication import requirements

P0, P1, MISSING = {"providerName": "p0"}, {"providerName": "p1"}, {"allowMissing": {}}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        pytest.param(["p0"], {"requiresAny": {"requirements": [P0, MISSING]}}, id="one-rule"),
        pytest.param(
            ["p0", "p1"],
            {
                "requiresAny": {
                    "requirements": [
                        P0,
                        P1,
                        {
                            "requiresAll": {
                                "requirements": [
                                    {"requiresAny": {"requirements": [P0, MISSING]}},
                                    {"requiresAny": {"requirements": [P1, MISSING]}},
                                ]
                            }
                        },
                    ]
                }
            },
            id="two-rules",
        ),
    ],
)
def test_good_or_missing(names: list[str], expected: object) -> None:
    assert MessageToDict(requirements.good_or_missing(names)) == expected


def test_one_demand_stands_for_itself() -> None:
    alone = requirements.of_provider("p0")
    assert requirements.any_of([alone]) == requirements.all_of([alone]) == alone


def test_everything_is_asked_for_the_same() -> None:
    (rule,) = requirements.on_every_path(requirements.ALLOW_MISSING_OR_FAILED)
    assert MessageToDict(rule) == {
        "match": {"prefix": "/"},
        "requires": {"allowMissingOrFailed": {}},
    }
