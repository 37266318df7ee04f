"""When keys are fetched, and what is remembered of a fetch (pilot.md J3, N15)."""

from datetime import UTC, datetime, timedelta

import pytest

from mast.common.jwks import Defect, KeySet
from mast.pilot.core.model.public_keys import KeySource
from mast.pilot.core.security.authentication.schedule import Schedule, failed, fetched
from mastapi.jwks.v1.jwks_pb2 import PublishedKeys

A, B = KeySource(jwks_uri="https://a"), KeySource(issuer="https://b")
NOW = datetime(2030, 1, 1, tzinfo=UTC)
REFRESH = timedelta(minutes=20)
KEYS = KeySet("{}", 1, (Defect("keys[1]", "is odd"), Defect("keys[2]", "is spare", fatal=False)))


def minutes(number: float) -> datetime:
    return NOW + timedelta(minutes=number)


def test_records_of_fetches() -> None:
    good = fetched(A, KEYS, NOW)
    assert (good.jwks_uri, good.issuer, good.keys) == ("https://a", "", "{}")
    assert list(good.defects) == ["keys[1] is odd"]
    bad = failed(A, good, "no answer", minutes(1))
    worse = failed(A, bad, "refused", minutes(2))
    assert (worse.keys, worse.fetched.ToDatetime(tzinfo=UTC)) == ("{}", NOW), "the last good ones"
    assert (worse.failure, worse.failing_since.ToDatetime(tzinfo=UTC)) == ("refused", minutes(1))
    healed = fetched(A, KeySet("[]", 1), minutes(3))
    assert (healed.keys, healed.failure, healed.HasField("failing_since")) == ("[]", "", False)
    never = failed(B, None, "refused", NOW)
    assert (never.issuer, never.keys, never.failure) == ("https://b", "", "refused")


@pytest.mark.parametrize(
    ("record", "due"),
    [
        pytest.param(None, NOW, id="unknown"),
        pytest.param(fetched(A, KEYS, minutes(-5)), minutes(15), id="where-the-last-leader-was"),
        pytest.param(fetched(A, KEYS, minutes(-60)), minutes(-40), id="long-ago"),
        pytest.param(fetched(A, KEYS, minutes(60)), minutes(20), id="in-the-future"),
        pytest.param(failed(A, fetched(A, KEYS, NOW), "?", NOW), NOW, id="failing"),
        pytest.param(PublishedKeys(jwks_uri="https://a"), NOW, id="empty"),
    ],
)
def test_first_fetch(record: PublishedKeys | None, due: datetime) -> None:
    schedule = Schedule(REFRESH)
    schedule.want({A: None}, {} if record is None else {A: record}, NOW)
    assert schedule.next() == due
    assert schedule.due(due) == [A]
    assert schedule.due(due - timedelta(seconds=1)) == []


def test_refreshes_are_spread() -> None:
    schedule = Schedule(REFRESH)
    schedule.want({A: None, B: None}, {}, NOW)
    assert schedule.due(NOW) == sorted([A, B])
    for source, random in ((A, 0.0), (B, 0.99)):
        schedule.begun(source)
        schedule.ended(source, NOW, random, success=True)
    assert schedule.due(minutes(19)) == [A]
    assert schedule.due(minutes(21)) == sorted([A, B])


def test_nothing_is_fetched_twice_at_a_time() -> None:
    schedule = Schedule(REFRESH)
    schedule.want({A: None}, {}, NOW)
    schedule.begun(A)
    schedule.want({A: None}, {}, NOW)
    assert (schedule.due(minutes(99)), schedule.next()) == ([], None)
    schedule.ended(A, minutes(99), 0.5, success=True)
    assert schedule.next() == minutes(119)


def test_failures_are_repeated_ever_more_slowly() -> None:
    schedule = Schedule(REFRESH)
    schedule.want({A: None}, {}, NOW)
    delays = []
    now = NOW
    for _ in range(9):
        schedule.ended(A, now, 0.5, success=False)
        then = schedule.next()
        assert then is not None
        delays.append((then - now).total_seconds())
        now = then
    assert delays == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    schedule.ended(A, now, 0.5, success=True)
    assert schedule.next() == now + REFRESH
    schedule.ended(A, now, 0.5, success=False)
    assert schedule.next() == now + timedelta(seconds=1), "a success begins anew"


def test_what_is_not_wanted_any_more() -> None:
    """It is kept for a while: an issuer that is away must not cost who replaces a policy."""
    schedule, records = Schedule(REFRESH), {A: fetched(A, KEYS, NOW)}
    schedule.want({A: None}, records, NOW)
    schedule.want({}, records, NOW)
    assert (schedule.due(minutes(60)), schedule.outdated(minutes(19))) == ([], [])
    schedule.want({A: None}, records, minutes(19))
    assert schedule.outdated(minutes(60)) == []
    schedule.want({}, records, minutes(30))
    assert schedule.next() == minutes(50)
    assert schedule.outdated(minutes(50)) == [A]
    schedule.deleted(A)
    assert (schedule.outdated(minutes(99)), schedule.next()) == ([], None)


def test_a_fetch_may_outlive_the_wish() -> None:
    schedule = Schedule(REFRESH)
    schedule.want({A: None}, {}, NOW)
    schedule.begun(A)
    schedule.want({}, {}, NOW)
    schedule.ended(A, NOW, 0.5, success=True)
    assert schedule.next() is None
