"""What a rollback writes, leaves alone, and stumbles over."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from mast.common.keys import config_key
from mast.galley.core.history import (
    ABSENT,
    History,
    Operation,
    Origin,
    Past,
    Scope,
    record,
    recorded,
)
from mast.galley.core.objects import Defaults, read_text
from mast.galley.core.plan import Aborted, NotFound, Write
from mast.galley.core.resources import Unreadable, resource
from mast.galley.core.restoration import as_it_was, restoration, target
from mast.galley.core.selection import BadSelection
from mastapi.galley.v1 import history_pb2

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
RULES = "istio/networking/v1alpha3/destinationrules"
A, B = config_key(RULES, "shop", "a"), config_key(RULES, "shop", "b")
SECRET = config_key("k8s/core/v1/secrets", "shop", "tls")


def history(*changes: tuple[int, str, int]) -> History:
    """Changes: revision, key, revision before; the newest revision is 99."""
    found = []
    for revision, key, expected in changes:
        write = Write(key, expected, b"new")
        origin = Origin("ann", Operation.APPLY)
        value, _ = record([write], {key: b"old"}, origin, NOON)
        found.append(recorded(f"id{revision}", value, revision))
    return History(found, 99)


def kept(host: str, revision: int, annotations: str = "") -> Past:
    text = (
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\n"
        f"metadata: {{name: a, namespace: shop, annotations: {{{annotations}}}}}\n"
        f"spec: {{host: {host}}}\n"
    )
    (obj,) = read_text(text, "-", Defaults()).objects
    return Past(revision, resource(obj, 1, NOON).SerializeToString())


CHANGES = history((10, A, 0), (20, B, 0), (30, A, 10))


@pytest.mark.parametrize(
    ("request_", "keys", "revision"),
    [
        pytest.param({"revision": 10}, {A, B}, 10, id="all-since"),
        pytest.param({"revision": 20}, {A}, 20, id="one-since"),
        pytest.param({"revision": 30}, set(), 30, id="nothing-since"),
        pytest.param({"revision": 30, "undo": True}, {A}, 29, id="undo-the-last"),
        pytest.param({"revision": 20, "undo": True}, {B}, 19, id="undo-one-of-another-object"),
        pytest.param({"revision": 10, "seen_revision": 30}, {A, B}, 10, id="as-seen"),
    ],
)
def test_targets(request_: dict[str, int], keys: set[str], revision: int) -> None:
    found = target(CHANGES, history_pb2.RollbackRequest(**request_), Scope())
    assert (set(found.objects), found.revision) == (keys, revision)


@pytest.mark.parametrize(
    ("request_", "error", "words"),
    [
        pytest.param(
            {"revision": 10, "undo": True},
            Aborted,
            "changed after revision 10: DestinationRule shop/a at revision 30 by ann; nothing",
            id="undo-with-newer-changes",
        ),
        pytest.param(
            {"revision": 10, "seen_revision": 15},
            Aborted,
            "shop/a at revision 30 by ann; DestinationRule shop/b at revision 20 by ann",
            id="changed-since-it-was-looked-at",
        ),
        pytest.param({"revision": 5}, NotFound, "oldest one known is 9", id="forgotten"),
        pytest.param({"revision": 100}, BadSelection, "newest one is 99", id="future"),
        pytest.param({"revision": 15, "undo": True}, NotFound, "no change", id="undo-nothing"),
    ],
)
def test_what_is_in_the_way(request_: dict[str, int], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        target(CHANGES, history_pb2.RollbackRequest(**request_), Scope())


def test_conflicts_are_told_up_to_a_number() -> None:
    keys = [config_key(RULES, "shop", f"r{n:02}") for n in range(12)]
    many = history(*((10 + n, key, 0) for n, key in enumerate(keys)))
    with pytest.raises(Aborted, match=r"r09 at revision 19 by ann \(and 2 more\)"):
        target(many, history_pb2.RollbackRequest(revision=9, seen_revision=9), Scope())


def test_what_differs_is_written_deleted_or_left_alone() -> None:
    objects = CHANGES.touched(0, 99, Scope())
    todo = restoration(
        objects, {A: kept("old.com", 10), B: ABSENT}, {A: kept("new.com", 30), B: kept("b.com", 20)}
    )
    (obj,) = todo.objects
    assert (obj.spec["host"], obj.metadata.resource_version) == ("old.com", "")
    assert set(todo.gone) == {B}
    assert todo.expected == {A: 30, B: 20}
    assert (todo.skipped, todo.warnings) == ((), ())


def test_what_is_at_the_same_revision_or_came_and_went_is_left_alone() -> None:
    same = kept("a.com", 10)
    objects = CHANGES.touched(0, 99, Scope())
    todo = restoration(objects, {A: same, B: ABSENT}, {A: same, B: ABSENT})
    assert (todo.objects, dict(todo.gone)) == ((), {})


def test_what_was_deleted_comes_back() -> None:
    objects = {A: CHANGES.touched(0, 99, Scope())[A]}
    todo = restoration(objects, {A: kept("old.com", 10)}, {A: ABSENT})
    assert [each.spec["host"] for each in todo.objects] == ["old.com"]
    assert todo.expected == {A: 0}


def test_secrets_are_skipped() -> None:
    objects = history((10, SECRET, 5)).touched(0, 99, Scope())
    todo = restoration(objects, {SECRET: Past(5, None)}, {SECRET: Past(10, b"sealed")})
    assert [each.name for each in todo.skipped] == ["tls"]
    assert (todo.objects, dict(todo.gone)) == ((), {})


@pytest.mark.parametrize(
    ("before", "now"),
    [
        pytest.param(kept("a.com", 10), kept("b.com", 30, "mast.io/source: files"), id="now"),
        pytest.param(kept("a.com", 10, "mast.io/source: files"), ABSENT, id="then"),
        pytest.param(ABSENT, kept("a.com", 30, "mast.io/source: files"), id="to-be-deleted"),
    ],
)
def test_objects_of_a_source_are_warned_of(before: Past, now: Past) -> None:
    objects = {A: CHANGES.touched(0, 99, Scope())[A]}
    (problem,) = restoration(objects, {A: before}, {A: now}).warnings
    assert (problem.rule, problem.name) == ("owned", "a")
    assert "'files'" in problem.message


def test_an_object_of_the_past_must_be_there() -> None:
    with pytest.raises(Unreadable, match="was not there"):
        as_it_was(A, ABSENT)
