"""What a write changes."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from mast.galley.core.objects import ConfigObject, Defaults, read_text
from mast.galley.core.plan import Aborted, Action, NotFound, apply_plan, delete_plan
from mast.galley.core.resources import (
    Stored,
    Unreadable,
    reference,
    replaceable,
    resource,
    shown,
    stored,
)

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
LATER = datetime(2026, 1, 2, tzinfo=UTC)
DAY = timedelta(days=1)


def rule(host: str = "a.com", *, meta: str = "") -> ConfigObject:
    text = (
        "apiVersion: networking.istio.io/v1alpha3\nkind: DestinationRule\n"
        f"metadata: {{name: a, namespace: shop{meta}}}\nspec: {{host: {host}}}\n"
    )
    (obj,) = read_text(text, "-", Defaults()).objects
    return obj


def kept(obj: ConfigObject, generation: int = 3, revision: int = 7) -> dict[str, Stored]:
    value = resource(obj, generation, NOON).SerializeToString()
    return {obj.key: stored(obj.key, value, revision)}


def test_what_is_missing_is_created() -> None:
    obj = rule(meta=", labels: {x: y}")
    plan = apply_plan([obj], {}, NOON)
    (write,), (outcome,) = plan.writes, plan.outcomes
    assert (write.key, write.expected, outcome.action) == (obj.key, 0, Action.CREATED)
    assert write.value is not None
    written = stored(obj.key, write.value, 1)
    assert written.resource.metadata.name == "shop/a"
    assert (written.generation, dict(written.labels)) == (1, {"x": "y"})
    assert written.resource.metadata.create_time.ToDatetime(UTC) == NOON


def test_a_source_may_know_when_it_was_made() -> None:
    obj = replace(rule(), created=NOON - DAY)
    for current in ({}, kept(rule())):
        (write,) = apply_plan([obj], current, LATER).writes
        assert write.value is not None
        meta = stored(obj.key, write.value, 1).resource.metadata
        assert meta.create_time.ToDatetime(UTC) == NOON - DAY


@pytest.mark.parametrize(
    ("after", "action", "generation"),
    [
        pytest.param(rule(), Action.UNCHANGED, 3, id="same"),
        pytest.param(rule("b.com"), Action.UPDATED, 4, id="specification"),
        pytest.param(rule(meta=", labels: {x: y}"), Action.UPDATED, 3, id="labels"),
        pytest.param(rule(meta=", annotations: {x: y}"), Action.UPDATED, 3, id="annotations"),
    ],
)
def test_the_generation_counts_changes_of_the_specification(
    after: ConfigObject, action: int, generation: int
) -> None:
    plan = apply_plan([after], kept(rule()), LATER)
    assert [outcome.action for outcome in plan.outcomes] == [action]
    if action == Action.UNCHANGED:
        assert plan.writes == ()
        assert plan.outcomes[0].revision == 7
        return
    (write,) = plan.writes
    assert write.expected == 7
    assert write.value is not None
    written = stored(after.key, write.value, 8)
    assert written.generation == generation
    assert written.resource.metadata.create_time.ToDatetime(UTC) == NOON


@pytest.mark.parametrize(
    ("wanted", "current", "message"),
    [
        pytest.param("6", kept(rule()), "is at resource version 7, not at 6", id="other"),
        pytest.param("6", {}, "does not exist, not at 6", id="missing"),
    ],
)
def test_a_version_insisted_on_must_be_the_stored_one(
    wanted: str, current: dict[str, Stored], message: str
) -> None:
    with pytest.raises(Aborted, match=message):
        apply_plan([rule(meta=f", resourceVersion: '{wanted}'")], current, NOON)


def test_the_stored_version_may_be_insisted_on() -> None:
    plan = apply_plan([rule("b.com", meta=", resourceVersion: '7'")], kept(rule()), NOON)
    assert len(plan.writes) == 1


def test_what_cannot_be_read_is_replaced() -> None:
    obj = rule()
    before = replaceable(obj, b"\xff\xff", 9)
    plan = apply_plan([obj], {obj.key: before}, NOON)
    assert [(write.expected, plan.outcomes[0].action) for write in plan.writes] == [
        (9, Action.UPDATED)
    ]


def test_deleting() -> None:
    ref = reference(rule().kind, "shop", "a")
    (write,) = delete_plan({"k": ref}, {"k": 5}, ignore_missing=False)
    assert (write.key, write.expected, write.value) == ("k", 5, None)
    assert delete_plan({"k": ref}, {}, ignore_missing=True) == ()
    with pytest.raises(NotFound, match="not found: DestinationRule shop/a"):
        delete_plan({"k": ref}, {}, ignore_missing=False)


def test_a_stored_object_is_shown_as_users_know_it() -> None:
    obj = rule(meta=", labels: {x: y}, annotations: {n: m}")
    found = shown(kept(obj)[obj.key])
    assert (found.api_version, found.kind) == ("networking.istio.io/v1", "DestinationRule")
    meta = found.metadata
    assert (meta.namespace, meta.name, meta.generation, meta.resource_version) == (
        "shop", "a", 3, "7",
    )  # fmt: skip
    assert (dict(meta.labels), dict(meta.annotations)) == ({"x": "y"}, {"n": "m"})
    assert meta.create_time.ToDatetime(UTC) == NOON
    assert found.spec["host"] == "a.com"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        pytest.param("trust/x", b"", id="other-key"),
        pytest.param("config/no/such/collection/ns/name", b"", id="unknown-collection"),
        pytest.param("config/istio/networking/v1alpha3/gateways/ns/a", b"\xff", id="no-resource"),
    ],
)
def test_what_is_not_ours_is_unreadable(key: str, value: bytes) -> None:
    with pytest.raises(Unreadable):
        stored(key, value, 1)


def test_a_body_of_another_type_is_unreadable() -> None:
    obj = rule()
    key = obj.key.replace("destinationrules", "gateways")
    value = resource(obj, 1, NOON).SerializeToString()
    with pytest.raises(Unreadable, match=r"body is .*DestinationRule"):
        shown(stored(key, value, 1))
