"""Who trusts what is published (citadel-and-agent.md A8.5)."""

from __future__ import annotations

from datetime import timedelta

import pytest

from mast.citadel.core.knowledge import SHOWN, Knowledge, knowledge, unsettled
from mastapi.status.v1.status_pb2 import TrustStatus
from tests.unit.citadel.examples import DOMAIN, NOW

MINUTE = timedelta(minutes=1)


def report(
    name: str,
    holders: dict[int, int],
    *,
    domain: str = DOMAIN,
    age: timedelta = MINUTE,
    **more: object,
) -> TrustStatus:
    made = TrustStatus(reporter=name, trust_domain=domain, **more)  # type: ignore[arg-type]
    made.since.FromDatetime(NOW - age)
    for sequence, count in holders.items():
        made.holders.add(sequence=sequence, count=count)
    return made


def test_reports_add_up() -> None:
    first = report("pilot-b", {3: 5, 4: 10, 5: 1}, silent=2, lagging=["web-2"])
    first.roots_only.add(sequence=4, count=3)
    first.roots_only.add(sequence=2, count=1)
    second = report("pilot-a", {4: 7, 0: 1}, age=2 * MINUTE, lagging=["web-1"])
    elsewhere = report("pilot-c", {4: 100}, domain="b.example", age=timedelta())
    assert knowledge([first, second, elsewhere], DOMAIN, 4) == Knowledge(
        connected=5 + 10 + 1 + 2 + 3 + 1 + 7 + 1,
        holding=18,
        roots_only=3,
        silent=2,
        lagging=("web-1", "web-2"),
        reporters=("pilot-a", "pilot-b"),
        youngest=NOW - MINUTE,
    )


def test_nobody_reports() -> None:
    assert knowledge([], DOMAIN, 1) == Knowledge()
    assert unsettled(Knowledge(), NOW, MINUTE).startswith("no Pilot reports")


def test_names_of_many_are_some() -> None:
    many = [report(f"pilot-{n}", {0: 10}, lagging=[f"web-{n}"] * SHOWN) for n in range(3)]
    assert len(knowledge(many, DOMAIN, 1).lagging) == SHOWN


@pytest.mark.parametrize(
    ("known", "enough", "roots", "silence", "missing"),
    [
        pytest.param(Knowledge(), 0.99, True, False, 0, id="nobody-is-connected"),
        pytest.param(Knowledge(1), 0.99, True, False, 1, id="one"),
        pytest.param(Knowledge(100, 99), 0.99, True, False, 0, id="99-of-100"),
        pytest.param(Knowledge(100, 98), 0.99, True, False, 1, id="98-of-100"),
        pytest.param(Knowledge(10, 9), 0.99, True, False, 1, id="all-of-few"),
        pytest.param(Knowledge(10, 4, 5, 1), 1.0, False, False, 6, id="holders-only"),
        pytest.param(Knowledge(10, 4, 5, 1), 1.0, True, False, 1, id="roots-too"),
        pytest.param(Knowledge(10, 4, 5, 1), 1.0, True, True, 0, id="silence-too"),
    ],
)
def test_how_many_are_missing(
    known: Knowledge, enough: float, roots: bool, silence: bool, missing: int
) -> None:
    assert known.missing(enough, roots=roots, silence_is_consent=silence) == missing


def test_reporters_that_just_started_may_not_know_all() -> None:
    known = knowledge([report("pilot-a", {1: 1})], DOMAIN, 1)
    assert not unsettled(known, NOW, MINUTE)
    assert unsettled(known, NOW, 2 * MINUTE).startswith("a reporter started 60 s ago")
    ahead = knowledge([report("pilot-a", {1: 1}, age=-MINUTE)], DOMAIN, 1)
    assert "started 0 s ago" in unsettled(ahead, NOW, MINUTE), "clocks differ"
