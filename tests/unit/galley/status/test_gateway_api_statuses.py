"""Statuses of Gateway API objects beside what other controllers say (Gateway API, "status")."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mast.galley.core.status.gateway_api import (
    CONTROLLER,
    KINDS_WITH_STATUS,
    newest_generation,
    said,
)

NOW, THEN = "2024-02-02T00:00:00Z", "2024-01-01T00:00:00Z"


def condition(kind: str, status: str = "True", since: str = "", **more: Any) -> dict[str, Any]:
    time = {"lastTransitionTime": since} if since else {}
    return {"type": kind, "status": status, "reason": kind, "message": "", **time, **more}


def parent(name: str, *conditions: Any, controller: str = CONTROLLER) -> dict[str, Any]:
    return {
        "parentRef": {"name": name},
        "controllerName": controller,
        "conditions": list(conditions),
    }


THEIRS = parent("a", condition("Accepted", since=THEN), controller="a.com/b")
FILLED_IN = {
    **parent("a", condition("Accepted", since=THEN)),
    "parentRef": {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "a"},
}


@pytest.mark.parametrize(
    ("found", "wanted", "change"),
    [
        pytest.param(
            {},
            {"conditions": [condition("Accepted")]},
            {"conditions": [condition("Accepted", since=NOW)]},
            id="new",
        ),
        pytest.param(
            {"conditions": [condition("Accepted", since=THEN)]},
            {"conditions": [condition("Accepted")]},
            None,
            id="same",
        ),
        pytest.param(
            {"conditions": [condition("Accepted", since=THEN)]},
            {"conditions": [condition("Accepted", observedGeneration=2)]},
            {"conditions": [condition("Accepted", since=THEN, observedGeneration=2)]},
            id="another-generation-keeps-the-time",
        ),
        pytest.param(
            {"conditions": [condition("Accepted", "False", THEN)]},
            {"conditions": [condition("Accepted")]},
            {"conditions": [condition("Accepted", since=NOW)]},
            id="another-status-has-another-time",
        ),
        pytest.param(
            {"conditions": [condition("Theirs", since=THEN), condition("Conflicted", since=THEN)]},
            {"conditions": [condition("Accepted")]},
            {
                "conditions": [
                    condition("Theirs", since=THEN),
                    condition("Accepted", since=NOW),
                ]
            },
            id="others-stay-and-ours-go",
        ),
        pytest.param(
            {"parents": [THEIRS]},
            {"parents": [parent("a", condition("Accepted"))]},
            {"parents": [THEIRS, parent("a", condition("Accepted", since=NOW))]},
            id="parents-of-others",
        ),
        pytest.param(
            {"parents": [FILLED_IN]},
            {"parents": [parent("a", condition("Accepted"))]},
            None,
            id="defaults-of-the-api-server",
        ),
        pytest.param(
            {"parents": [parent("a", condition("Accepted", since=THEN)), THEIRS]},
            {"parents": [parent("b", condition("Accepted"))]},
            {"parents": [THEIRS, parent("b", condition("Accepted", since=NOW))]},
            id="another-parent",
        ),
        pytest.param(
            {"parents": [parent("a", condition("Accepted", since=THEN)), THEIRS]},
            None,
            {"parents": [THEIRS]},
            id="nothing-to-say",
        ),
        pytest.param({"conditions": [condition("Accepted")]}, None, None, id="not-ours"),
        pytest.param(
            {"conditions": [{"type": []}], "parents": 1, "listeners": ["odd", {"name": {}}]},
            {"conditions": [condition("Accepted")], "listeners": []},
            {
                "conditions": [{"type": []}, condition("Accepted", since=NOW)],
                "parents": [],
                "listeners": [],
            },
            id="odd-things",
        ),
        pytest.param(
            {"listeners": [{"name": "a", "conditions": [condition("Accepted", since=THEN)]}]},
            {
                "listeners": [
                    {"name": "a", "attachedRoutes": 1, "conditions": [condition("Accepted")]},
                    {"name": "b", "attachedRoutes": 0, "conditions": [condition("Accepted")]},
                ],
                "addresses": [{"type": "IPAddress", "value": "192.0.2.1"}],
            },
            {
                "listeners": [
                    {
                        "name": "a",
                        "attachedRoutes": 1,
                        "conditions": [condition("Accepted", since=THEN)],
                    },
                    {
                        "name": "b",
                        "attachedRoutes": 0,
                        "conditions": [condition("Accepted", since=NOW)],
                    },
                ],
                "addresses": [{"type": "IPAddress", "value": "192.0.2.1"}],
            },
            id="listeners",
        ),
    ],
)
def test_change(found: Any, wanted: Any, change: Any) -> None:
    assert said(found, wanted, NOW) == change


CONDITIONS = st.lists(
    st.builds(
        condition,
        st.sampled_from(["Accepted", "Programmed", "Conflicted", "Theirs"]),
        st.sampled_from(["True", "False"]),
    ),
    max_size=3,
    unique_by=lambda each: str(each["type"]),
)
PARENTS = st.lists(
    st.builds(
        lambda name, controller, found: parent(name, *found, controller=controller),
        st.sampled_from(["a", "b", "c"]),
        st.sampled_from([CONTROLLER, "a.com/b"]),
        CONDITIONS,
    ),
    max_size=4,
)
STATUSES = st.fixed_dictionaries({"conditions": CONDITIONS, "parents": PARENTS})


@given(found=STATUSES, wanted=STATUSES)
def test_what_was_written_is_right_and_others_keep_theirs(found: Any, wanted: Any) -> None:
    """Whoever looks again changes nothing; entries of other controllers are all there."""
    wanted["parents"] = [each for each in wanted["parents"] if each["controllerName"] == CONTROLLER]
    theirs = [each for each in found["parents"] if each["controllerName"] != CONTROLLER]
    written = {**found, **(said(found, wanted, THEN) or {})}
    assert said(written, wanted, NOW) is None
    assert [each for each in written["parents"] if each["controllerName"] != CONTROLLER] == theirs
    assert {**written, **(said(written, None, NOW) or {})}["parents"] == theirs


def test_there_is_room_for_so_many_only() -> None:
    wanted = {"parents": [parent(str(each), condition("Accepted")) for each in range(40)]}
    assert len((said({"parents": [THEIRS]}, wanted, NOW) or {})["parents"]) == 32


def test_the_newest_generation_that_is_spoken_of() -> None:
    entry = parent("a", condition("Accepted", observedGeneration=7))
    assert newest_generation({"parents": [entry], "conditions": [condition("Accepted")]}) == 7
    assert newest_generation({}) == 0


def test_kinds() -> None:
    group = "gateway.networking.k8s.io"
    assert f"{group}/HTTPRoute" in KINDS_WITH_STATUS
    assert f"{group}/ReferenceGrant" not in KINDS_WITH_STATUS
