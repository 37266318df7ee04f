"""What operators are told of the configuration in force (mixer.md D7, D9, I)."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web

from istio.mcp.v1alpha1.resource_pb2 import Resource
from mast.mixer.api import pages
from mast.mixer.core.applied import Applied, fault, mixer_status
from mast.mixer.core.config.entry import Problem
from mast.mixer.core.config.snapshot import EMPTY
from mast.mixer.core.world import World
from mastapi.status.v1.status_pb2 import MixerStatus
from tests.support.mixer_config import Rig, stored
from tests.support.mixer_objects import DENY, NOTHING, rule

SINCE = datetime(2026, 1, 2, tzinfo=UTC)
ACTIONS = "actions: [{handler: deny, instances: [nothing]}]"


def status(applied: Applied, **more: int) -> MixerStatus:
    return mixer_status(applied, replica="m-1", version="1", role="all", since=SINCE, **more)


def told(found: MixerStatus) -> dict[str, list[tuple[str, str, str]]]:
    """Findings by collection, namespace and name."""
    return {
        f"{each.object.collection.rpartition('/')[2]}/{each.object.namespace}/{each.object.name}": [
            (finding.fault, finding.key, finding.message) for finding in each.findings
        ]
        for each in found.objects
    }


def test_every_problem_is_told_under_its_object() -> None:
    """Findings name the metric that counts them, the field and the text of D7."""
    rig = Rig(
        DENY,
        NOTHING,
        rule(f"{{match: gone, {ACTIONS}}}", name="with.dots", namespace="shop"),
        rule("{actions: [{handler: none, instances: [nothing]}]}"),
        "{kind: denier, metadata: {name: old}, spec: {typo: 1}}",
        "{kind: template, metadata: {name: t}, spec: {descriptor: '!'}}",
        "{kind: adapter, metadata: {name: a}, spec: {templates: [gone]}}",
        "{kind: instance, metadata: {name: i}}",
    )
    snapshot = replace(
        rig.snapshot,
        generations={**rig.snapshot.generations, "r.rule.istio-system": "7"},
        revision=55,
    )
    found = status(Applied(snapshot, 1, {"deny.handler.istio-system": "no route to it"}))
    assert (found.snapshot, found.revision, found.rules, found.handlers) == (1, 55, 0, 1)
    assert found.since.ToDatetime(UTC) == SINCE
    assert [each.version for each in found.objects if each.object.name == "r"] == ["7"]
    shown = told(found)
    assert shown.pop("deniers/istio-system/old")[0][:2] == (
        "mixer_config_handler_validation_error_total",
        "params",
    )
    assert shown.pop("templates/istio-system/t")[0][0] == (
        "mixer_config_template_config_errors_total"
    )
    assert shown == {
        "rules/shop/with.dots": [
            ("mixer_config_rule_config_match_error_total", "match", "unknown attribute gone"),
            (
                "mixer_config_unsatisfied_action_handler_total",
                "actions[0].handler",
                "Handler not found: handler='deny'",
            ),
            ("mixer_config_rule_config_errors_total", "", "No valid actions found in rule"),
        ],
        "rules/istio-system/r": [
            (
                "mixer_config_unsatisfied_action_handler_total",
                "actions[0].handler",
                "Handler not found: handler='none'",
            ),
            ("mixer_config_rule_config_errors_total", "", "No valid actions found in rule"),
        ],
        "handlers/istio-system/deny": [
            ("mixer_handler_handler_build_failures_total", "", "no route to it")
        ],
        "adapters/istio-system/a": [
            (
                "mixer_config_adapter_info_config_errors_total",
                "templates[0]",
                "template 'gone' not found",
            )
        ],
        "instances/istio-system/i": [
            ("mixer_config_instance_config_errors_total", "", "missing compiled template")
        ],
    }


def test_values_that_cannot_be_read() -> None:
    """They are findings of the object under whose key they are, if there is one."""
    (key,) = stored(rule(f"{{{ACTIONS}}}"))
    world = World()
    world.apply({key: b"\xff", "registry/workloads/x": b"\xff"})
    found = status(Applied(replace(EMPTY, problems=world.broken), 0))
    (fault_and_more,) = told(found)["rules/istio-system/r"]
    assert fault_and_more[0] == "mixer_config_unreadable_total"
    assert len(found.objects) == 1


def test_a_status_has_an_end() -> None:
    problems = tuple(Problem(f"r{n}.rule.ns", "match", "x" * 2000) for n in range(5))
    found = status(Applied(replace(EMPTY, problems=problems), 0), room=3500)
    assert (len(found.objects), found.untold) == (3, 2)
    assert len(found.objects[0].findings[0].message) == 1000


def test_generations_come_from_the_store() -> None:
    ((key, value),) = stored(rule(f"{{{ACTIONS}}}")).items()
    resource = Resource.FromString(value)
    resource.metadata.version = "3"
    world = World()
    world.apply({key: resource.SerializeToString()})
    assert world.entries[0].generation == "3"


def test_a_handler_that_was_built_before_is_no_build_failure() -> None:
    problem = Problem("h.handler.ns", "", "adapter 'gone' not found")
    assert fault(problem, {}) == "mixer_config_handler_validation_error_total"


@pytest.mark.parametrize(
    ("remote", "found", "code"),
    [
        ("127.0.0.1", MixerStatus(replica="m-1", snapshot=3), 200),
        ("::1", None, 503),
        ("10.0.0.1", MixerStatus(), 403),
        (None, MixerStatus(), 403),
    ],
)
async def test_the_page(remote: str | None, found: MixerStatus | None, code: int) -> None:
    class Request:
        def __init__(self) -> None:
            self.remote = remote

    asked: Any = Request()
    answer = await pages.configuration(lambda: found)(asked)
    assert answer.status == code
    assert isinstance(answer, web.Response)
    if code == 200:
        body = json.loads(answer.text or "")
        assert (body["replica"], body["snapshot"], body["objects"]) == ("m-1", 3, [])
