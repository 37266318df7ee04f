"""What history keeps, and what can be told from it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from mast.common.keys import config_key
from mast.galley.core.history import (
    History,
    Operation,
    Origin,
    Past,
    Recorded,
    Scope,
    forgotten,
    newest_first,
    past,
    record,
    recorded,
    replaced,
    scope,
)
from mast.galley.core.plan import NotFound, Write
from mast.galley.core.resources import Unreadable
from mast.galley.core.selection import BadSelection
from mastapi.galley.v1 import history_pb2

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
RULES = "istio/networking/v1alpha3/destinationrules"
A, B = config_key(RULES, "shop", "a"), config_key(RULES, "shop", "b")
WIDE = config_key("istio/authentication/v1alpha1/meshpolicies", "", "default")
SECRET = config_key("k8s/core/v1/secrets", "shop", "tls")
ME = Origin("me", Operation.APPLY)
Action = history_pb2.ObjectChange


def change(revision: int, *writes: Write, at: datetime = NOON) -> Recorded:
    """A change as it is read again."""
    before = {each.key: b"old" for each in writes}
    value, _ = record(writes, before, ME, at)
    return recorded(f"id{revision}", value, revision)


def created(key: str) -> Write:
    return Write(key, 0, b"new")


def test_a_record_tells_what_happened_and_keeps_what_was_replaced() -> None:
    writes = [created(A), Write(B, 7, b"new"), Write(WIDE, 5, None), Write(SECRET, 3, b"sealed")]
    before = {B: b"b before", WIDE: b"wide before", SECRET: b"values"}
    value, contents = record(writes, before, Origin("me", Operation.ROLLBACK, 4), NOON)
    found = recorded("id", value, 9)
    assert (found.revision, found.time) == (9, NOON)
    assert (found.change.author, found.change.restored_revision) == ("me", 4)
    told = [
        (each.object.kind, each.object.namespace, each.action, each.previous_revision)
        for each in found.change.objects
    ]
    assert told == [
        ("DestinationRule", "shop", Action.CREATED, 0),
        ("DestinationRule", "shop", Action.UPDATED, 7),
        ("MeshPolicy", "", Action.DELETED, 5),
        ("Secret", "shop", Action.UPDATED, 3),
    ]
    assert replaced("id", contents) == {B: b"b before", WIDE: b"wide before"}, "no Secrets"


@pytest.mark.parametrize("value", [b"nonsense", b""])
def test_what_cannot_be_read_is_told(value: bytes) -> None:
    with pytest.raises(Unreadable, match="'id'"):
        replaced("id", value)


def test_a_change_that_cannot_be_read_is_told() -> None:
    with pytest.raises(Unreadable, match="not a Change"):
        recorded("id", b"\xff", 1)


def test_an_object_is_what_its_next_change_replaced() -> None:
    history = History([change(10, created(A)), change(20, Write(A, 10, None))], 30)
    later = history.later(A, 10)
    assert later is not None
    assert past(A, 10, later, {A: b"a"}) == Past(10, b"a")
    first = history.later(A, 9)
    assert first is not None
    assert past(A, 9, first, {}) == Past(0, None)
    assert history.later(A, 20) is None, "it is what is stored now"


def test_a_write_without_a_record_is_noticed() -> None:
    history = History([change(10, created(A)), change(20, Write(A, 15, b"x"))], 30)
    later = history.later(A, 12)
    assert later is not None
    with pytest.raises(Unreadable, match="revision 15, which revision 20 replaced"):
        past(A, 12, later, {A: b"a"})


def test_objects_that_were_touched() -> None:
    history = History([change(10, created(A)), change(20, created(B)), change(30, created(A))], 40)
    assert set(history.touched(10, 40, Scope())) == {A, B}
    assert set(history.touched(10, 29, Scope())) == {B}
    assert set(history.touched(20, 40, Scope(name="b"))) == set()


@pytest.mark.parametrize(
    ("wanted", "keys"),
    [
        pytest.param(history_pb2.Scope(), {A, B, WIDE}, id="all"),
        pytest.param(history_pb2.Scope(kinds=["dr"]), {A, B}, id="kind"),
        pytest.param(history_pb2.Scope(namespace="shop"), {A, B}, id="namespace"),
        pytest.param(history_pb2.Scope(kinds=["dr"], namespace="x"), set(), id="elsewhere"),
        pytest.param(history_pb2.Scope(name="b"), {B}, id="name"),
        pytest.param(
            history_pb2.Scope(kinds=["MeshPolicy"], namespace="shop"), {WIDE}, id="cluster-scoped"
        ),
    ],
)
def test_scopes(wanted: history_pb2.Scope, keys: set[str]) -> None:
    history = History([change(10, created(A), created(B), created(WIDE))], 10)
    assert set(history.touched(0, 10, scope(wanted))) == keys


def test_an_unknown_kind_is_told() -> None:
    with pytest.raises(BadSelection, match="unknown kind 'zebra'"):
        scope(history_pb2.Scope(kinds=["zebra"]))


def test_kinds_that_are_known_no_more_do_not_hide_the_others() -> None:
    found = change(10, created(A), created(B))
    found.change.objects[1].object.kind = "Gone"
    assert set(History([found], 10).touched(0, 10, Scope())) == {A}


@pytest.mark.parametrize(
    ("revision", "error", "words"),
    [
        pytest.param(8, NotFound, "8 is forgotten; the oldest one known is 9", id="forgotten"),
        pytest.param(31, BadSelection, "31 is to come; the newest one is 30", id="future"),
    ],
)
def test_revisions_that_are_not_known(revision: int, error: type[Exception], words: str) -> None:
    history = History([change(10, created(A)), change(20, created(B))], 30)
    for good in (9, 10, 15, 30):
        history.insist("revision", good)
    with pytest.raises(error, match=words):
        history.insist("revision", revision)


def test_without_changes_only_now_is_known() -> None:
    assert History([], 30).oldest == 30


def test_a_change_is_found_by_its_revision() -> None:
    history = History([change(10, created(A)), change(20, created(B))], 30)
    assert history.at(20).id == "id20"
    with pytest.raises(NotFound, match="no change of configuration made revision 15"):
        history.at(15)


def revisions(changes: Sequence[Recorded]) -> list[int]:
    return [each.revision for each in changes]


@pytest.mark.parametrize(
    ("keep", "age", "gone"),
    [
        pytest.param(9, timedelta(days=9), [], id="all-stay"),
        pytest.param(2, timedelta(days=9), [10], id="too-many"),
        pytest.param(9, timedelta(hours=30), [10], id="too-old"),
        pytest.param(9, timedelta(hours=1), [10, 20], id="two-too-old"),
        pytest.param(9, timedelta(0), [10, 20], id="one-of-this-moment"),
        pytest.param(1, timedelta(hours=30), [10, 20], id="both"),
    ],
)
def test_what_is_forgotten(keep: int, age: timedelta, gone: list[int]) -> None:
    ages = (timedelta(days=2), timedelta(days=1), timedelta(0))
    changes = [change(10 * n, created(A), at=NOON - old) for n, old in enumerate(ages, start=1)]
    assert revisions(forgotten(changes, keep, age, NOON)) == gone


def test_what_follows_a_change_that_is_kept_is_kept() -> None:
    """Clocks of replicas differ: an older time may come later."""
    changes = [
        change(10, created(A)),
        change(20, created(B), at=NOON - timedelta(days=9)),
    ]
    assert forgotten(changes, 9, timedelta(days=1), NOON) == []


def test_newest_first() -> None:
    history = History(
        [change(10, created(A), created(B)), change(20, created(B)), change(30, created(A))], 40
    )

    def told(wanted: Scope, before: int = 0, limit: int = 0) -> list[tuple[int, int, int]]:
        found = newest_first(history, wanted, before, limit)
        return [(each.revision, len(each.objects), each.others) for each in found]

    assert told(Scope()) == [(30, 1, 0), (20, 1, 0), (10, 2, 0)]
    assert told(Scope(name="a")) == [(30, 1, 0), (10, 1, 1)]
    assert told(Scope(), limit=2) == [(30, 1, 0), (20, 1, 0)]
    assert told(Scope(), before=30, limit=1) == [(20, 1, 0)]
    assert len(history.changes[0].change.objects) == 2, "what is kept stays whole"
