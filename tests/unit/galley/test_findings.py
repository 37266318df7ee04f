"""What replicas of services publish of objects, put together."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mast.common.keys import ConfigKey, config_status_key, gateway_status_key, mixer_status_key
from mast.galley.core.findings import findings
from mastapi.status.v1.status_pb2 import (
    ConfigStatus,
    Finding,
    MixerStatus,
    ObjectName,
    ObjectStatus,
)

RULES = "istio/policy/v1beta1/rules"
NAME = ObjectName(collection=RULES, namespace="shop", name="r")
NO_HANDLER = Finding(fault="errors_total", key="actions[0].handler", message="Handler not found")
NO_ACTIONS = Finding(fault="errors_total", message="No valid actions found in rule")


def mixer(replica: str, *found: Finding) -> dict[str, bytes]:
    status = MixerStatus(replica=replica, objects=[ConfigStatus(object=NAME, findings=found)])
    return {mixer_status_key(replica): status.SerializeToString()}


def test_what_replicas_agree_on_is_one_finding() -> None:
    """Each finding has those who say so; Pilot says other things of the same object."""
    unreadable = Finding(fault="pilot_unreadable_configs", message="The value is kept out.")
    pilot = ConfigStatus(object=NAME, pilot="p-1", findings=[unreadable])
    statuses = {
        **mixer("a", NO_HANDLER, NO_ACTIONS),
        **mixer("b", NO_ACTIONS),
        config_status_key(RULES, "shop", "r", "p-1"): pilot.SerializeToString(),
        mixer_status_key("broken"): b"\xff",
    }
    ((key, found),) = findings(statuses).items()
    assert key == ConfigKey(RULES, "shop", "r")
    assert [(each.message, list(each.reporters)) for each in found] == [
        ("The value is kept out.", ["pilot/p-1"]),
        ("Handler not found", ["mixer/a"]),
        ("No valid actions found in rule", ["mixer/a", "mixer/b"]),
    ]
    assert (found[1].fault, found[1].key) == ("errors_total", "actions[0].handler")


def condition(kind: str, status: str, message: str = "") -> dict[str, str]:
    return {"type": kind, "status": status, "reason": "Why", "message": message}


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        pytest.param({"conditions": [condition("Accepted", "True")]}, [], id="good"),
        pytest.param(
            {"conditions": [condition("Programmed", "False", "no listener")]},
            [("Programmed", "", "Why: no listener")],
            id="object",
        ),
        pytest.param(
            {
                "listeners": [
                    {
                        "name": "http",
                        "conditions": [
                            condition("Conflicted", "False"),
                            condition("ResolvedRefs", "False"),
                        ],
                    },
                    {"name": "b", "conditions": [condition("Conflicted", "True")]},
                ]
            },
            [("ResolvedRefs", "listener http", "Why"), ("Conflicted", "listener b", "Why")],
            id="listeners",
        ),
        pytest.param(
            {
                "parents": [
                    {
                        "parentRef": {"name": "gw", "namespace": "edge", "sectionName": "http"},
                        "conditions": [condition("Accepted", "False")],
                    }
                ],
                "ancestors": [
                    {
                        "ancestorRef": {"kind": "Service", "name": "a"},
                        "conditions": [condition("Accepted", "False")],
                    }
                ],
            },
            [("Accepted", "Gateway edge/gw http", "Why"), ("Accepted", "Service a", "Why")],
            id="parents-and-ancestors",
        ),
    ],
)
def test_conditions_of_gateway_api(status: Any, expected: list[tuple[str, str, str]]) -> None:
    told = ObjectStatus(object=NAME, status=json.dumps(status))
    statuses = {
        gateway_status_key(RULES, "shop", "r"): told.SerializeToString(),
        gateway_status_key(RULES, "shop", "broken"): b"",
    }
    found = [each for group in findings(statuses).values() for each in group]
    assert [(each.fault, each.key, each.message) for each in found] == expected
    assert {reporter for each in found for reporter in each.reporters} <= {"pilot"}


def test_without_statuses_there_is_nothing() -> None:
    assert findings(mixer("a")) == {}
    assert findings({}) == {}
