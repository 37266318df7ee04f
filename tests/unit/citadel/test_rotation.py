"""Steps in the life of CAs (citadel-and-agent.md A8.5)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from mast.citadel.core import rotation
from mast.citadel.core.authority import Authority, Slot, State, pem
from mast.citadel.core.bundle import next_bundle
from mast.citadel.core.knowledge import Knowledge
from mast.citadel.core.rotation import NotPossible, Overview, Policy, Step
from tests.support.pki import Ca
from tests.unit.citadel.examples import DAY, DOMAIN, HOUR, NOW, authority

POLICY = Policy()
LIFE = 3650 * DAY
ALL = Knowledge(200, 200, reporters=("pilot-a",), youngest=NOW - DAY)
NONE = replace(ALL, holding=0, lagging=("web-1",))


def slot(kind: str, state: State = State.ACTIVE, **changes: Any) -> Slot:
    """A CA that began at NOW."""
    return replace(authority(kind, ttl=changes.pop("ttl", LIFE)).active, state=state, **changes)


ACTIVE = slot("P256")
PREPARED = slot("P384", State.PREPARED)
OLD = slot("RSA2048", State.OLD, retires_at=NOW + 91 * DAY)
ONE = Authority(DOMAIN, (ACTIVE,))
TWO = Authority(DOMAIN, (ACTIVE, PREPARED))
AGED = Authority(DOMAIN, (ACTIVE, OLD))


def test_a_prepared_ca_is_trusted_and_signs_nothing() -> None:
    after = rotation.prepared(ONE, replace(PREPARED, state=State.ACTIVE))
    assert after.active is ACTIVE
    assert after.prepared == PREPARED
    assert PREPARED.certificate in after.roots
    with pytest.raises(NotPossible, match=f"slot {PREPARED.id} is prepared already: activate or"):
        rotation.prepared(after, OLD)


def test_activation() -> None:
    now = NOW + HOUR
    after = rotation.activated(TWO, "", now=now, grace=DAY)
    assert [(each.id, each.state) for each in after.slots] == [
        (ACTIVE.id, State.OLD),
        (PREPARED.id, State.ACTIVE),
    ]
    assert after.slots[0].retires_at == now + ACTIVE.longest_leaf + DAY
    assert rotation.activated(TWO, PREPARED.id[:3], now=now, grace=DAY) == after
    assert rotation.activated(after, PREPARED.id, now=now, grace=DAY) is after, "done already"


@pytest.mark.parametrize(
    ("given", "name", "problem"),
    [
        pytest.param(ONE, "", "no slot is prepared: run 'prepare' first", id="none"),
        pytest.param(AGED, OLD.id, "is old: only a prepared one can be activated", id="old"),
        pytest.param(
            TWO, "zz", f"slot 'zz' is no slot; there are {ACTIVE.id} \\(ACTIVE\\), ", id="?"
        ),
        pytest.param(
            Authority(DOMAIN, (ACTIVE, replace(PREPARED, key=None))),
            "",
            "the key .* lost",
            id="key",
        ),
    ],
)
def test_what_cannot_be_activated(given: Authority, name: str, problem: str) -> None:
    with pytest.raises(NotPossible, match=problem):
        rotation.activated(given, name, now=NOW, grace=DAY)


def test_a_name_that_fits_several_slots_is_none() -> None:
    same = Authority(DOMAIN, (ACTIVE, replace(ACTIVE, state=State.OLD)))
    with pytest.raises(NotPossible, match="matches several slots"):
        rotation.slot_named(same, ACTIVE.id)


def test_an_old_ca_stays_a_day_longer_than_its_last_leaf_could_live() -> None:
    assert rotation.retirement(ACTIVE, NOW, DAY) == NOW + LIFE / 6 + DAY
    late = ACTIVE.not_after - HOUR
    assert rotation.retirement(ACTIVE, late, DAY) == ACTIVE.not_after + DAY


@pytest.mark.parametrize(
    ("step", "problem"),
    [
        pytest.param(lambda: rotation.tainted(TWO), "name the slot: old are none", id="none-old"),
        pytest.param(lambda: rotation.tainted(TWO, ACTIVE.id), "signs: prepare and", id="active"),
        pytest.param(lambda: rotation.tainted(TWO, PREPARED.id), "signed nothing", id="prepared"),
        pytest.param(lambda: rotation.droppable(AGED), "tainted are none", id="nothing-to-drop"),
        pytest.param(lambda: rotation.droppable(AGED, OLD.id), "taint it first", id="not-tainted"),
        pytest.param(lambda: rotation.droppable(AGED, ACTIVE.id), "cannot be revoked", id="signs"),
    ],
)
def test_what_cannot_be_tainted_or_dropped(step: Callable[[], object], problem: str) -> None:
    with pytest.raises(NotPossible, match=problem):
        step()


def test_taint_and_drop() -> None:
    after = rotation.tainted(AGED)
    assert [each.tainted for each in after.slots] == [False, True]
    assert rotation.tainted(after) is after
    chosen = rotation.droppable(after)
    assert rotation.dropped(after, chosen) == ONE
    assert rotation.droppable(TWO) is PREPARED


def test_revoked_certificates_are_listed_once_by_the_slot_that_issued_them() -> None:
    after = rotation.revoked(AGED, [3, 4, 3], now=NOW)
    assert [each.serial for each in after.active.revocations] == [3, 4]
    again = rotation.revoked(after, [4, 5], now=NOW + HOUR)
    assert [(each.serial, each.at) for each in again.active.revocations] == [
        (3, NOW),
        (4, NOW),
        (5, NOW + HOUR),
    ]
    assert rotation.revoked(again, [4], now=NOW) is again
    assert [
        each.serial for each in rotation.revoked(AGED, [1], OLD.id, now=NOW).slots[1].revocations
    ] == [1]
    with pytest.raises(NotPossible, match="is lost, so it can have no revocation list"):
        rotation.revoked(Authority(DOMAIN, (replace(ACTIVE, key=None),)), [1], now=NOW)


def test_lists_need_every_issuer() -> None:
    ours = [pem(root) for root in TWO.roots]
    rotation.check_lists(TWO, ours)
    with pytest.raises(NotPossible, match=r"no revocation list, .* refused: O=elsewhere"):
        rotation.check_lists(TWO, [*ours, Ca.root("elsewhere").pem.decode()])


def test_what_became_of_slots() -> None:
    steps = [ONE, TWO, rotation.activated(TWO, "", now=NOW, grace=DAY)]
    steps.append(rotation.tainted(steps[-1]))
    steps.append(rotation.revoked(steps[-1], [1], now=NOW))
    steps.append(rotation.dropped(steps[-1], steps[-1].slots[0]))
    facts = [
        [(what, each.id) for what, each in rotation.difference(before, after)]
        for before, after in pairwise(steps)
    ]
    first, second = ACTIVE.id, PREPARED.id
    assert facts == [
        [("prepared", second)],
        [("retired", first), ("activated", second)],
        [("tainted", first)],
        [("list_changed", second)],
        [("dropped", first)],
    ]


@pytest.mark.parametrize(
    ("life", "prepare", "activate"),
    [
        pytest.param(3650 * DAY, 30 * DAY, 7 * DAY, id="ten-years"),
        pytest.param(48 * DAY, 24 * DAY, 7 * DAY, id="half-of-48-days"),
        pytest.param(12 * HOUR, 6 * HOUR, 2 * HOUR, id="half-and-a-sixth"),
    ],
)
def test_thresholds(life: timedelta, prepare: timedelta, activate: timedelta) -> None:
    """PREPARED min(half life, 30 d), ACTIVE min(a sixth, 7 d) before the end."""
    of = slot("P256", ttl=life)
    assert of.not_after - rotation.prepare_at(of) == prepare
    assert of.not_after - rotation.activate_at(of) == activate


BEFORE = ACTIVE.not_after - 8 * DAY
TIME = ACTIVE.not_after - 6 * DAY


@pytest.mark.parametrize(
    ("given", "known", "published", "now", "step"),
    [
        pytest.param(ONE, ALL, True, ACTIVE.not_after - 31 * DAY, None, id="young"),
        pytest.param(ONE, NONE, True, ACTIVE.not_after - 29 * DAY, Step.PREPARE, id="prepare"),
        pytest.param(ONE, NONE, False, ACTIVE.not_after - 29 * DAY, None, id="publish-first"),
        pytest.param(TWO, ALL, True, BEFORE, None, id="known-and-waiting"),
        pytest.param(TWO, ALL, True, TIME, Step.ACTIVATE, id="activate"),
        pytest.param(TWO, NONE, True, TIME, None, id="nobody-knows-it"),
        pytest.param(TWO, ALL, False, TIME, None, id="not-published"),
        pytest.param(TWO, NONE, True, ACTIVE.not_after, Step.ACTIVATE, id="the-end"),
        pytest.param(ONE, NONE, True, ACTIVE.not_after, Step.PREPARE, id="the-end-without-another"),
        pytest.param(AGED, ALL, True, NOW + 90 * DAY, None, id="old-counts"),
        pytest.param(AGED, NONE, False, NOW + 91 * DAY, Step.PRUNE, id="old-is-over"),
        pytest.param(rotation.tainted(AGED), ALL, True, NOW, Step.PRUNE, id="taint-confirmed"),
        pytest.param(rotation.tainted(AGED), NONE, True, NOW, None, id="taint-waits"),
        pytest.param(rotation.tainted(AGED), ALL, False, NOW, None, id="taint-not-published"),
        pytest.param(
            Authority(DOMAIN, (ACTIVE, replace(PREPARED, key=None))), ALL, True, TIME, Step.PRUNE,
            id="prepared-key-lost",
        ),
        pytest.param(
            Authority(DOMAIN, (replace(ACTIVE, key=None),)), ALL, True, NOW, Step.PREPARE,
            id="active-key-lost",
        ),
        pytest.param(
            Authority(DOMAIN, (replace(ACTIVE, key=None), PREPARED)), NONE, False, NOW,
            Step.ACTIVATE, id="active-key-lost-successor-there",
        ),
    ],
)  # fmt: skip
def test_what_is_due(
    given: Authority, known: Knowledge, published: bool, now: datetime, step: Step | None
) -> None:
    assert rotation.due(given, known, published=published, now=now, policy=POLICY) is step


@pytest.mark.parametrize(
    ("known", "policy", "problem"),
    [
        pytest.param(ALL, POLICY, "", id="all"),
        pytest.param(replace(ALL, holding=198), POLICY, "", id="99-per-cent"),
        pytest.param(
            replace(ALL, holding=190, lagging=("web-1", "web-2")), POLICY,
            "190 of 200 that are connected confirmed the roots: 8 more are needed (99%);"
            " among the others: web-1, web-2", id="some-lag",
        ),
        pytest.param(
            replace(ALL, holding=100, roots_only=98), POLICY, "", id="stock-agents-know-roots"
        ),
        pytest.param(
            replace(ALL, holding=100, silent=100), POLICY,
            "100 of 200 that are connected confirmed the roots, 100 never confirm:"
            " 98 more are needed (99%)", id="silent-ones",
        ),
        pytest.param(Knowledge(), POLICY, "no Pilot reports which", id="nobody-reports"),
        pytest.param(replace(ALL, reporters=("mixer-a",)), POLICY, "no Pilot", id="no-pilot"),
        pytest.param(
            replace(ALL, youngest=NOW + HOUR - timedelta(seconds=12)), POLICY,
            "a reporter started 12 s ago, and proxies that it lost may not be back before 30 s",
            id="just-started",
        ),
        pytest.param(
            ALL, Policy(publication=2 * HOUR),
            "other meshes poll our bundle, and may not have", id="others-poll",
        ),
        pytest.param(replace(ALL, holding=100), Policy(enough=0.5), "", id="half-is-enough"),
    ],
)  # fmt: skip
def test_why_a_prepared_ca_does_not_sign_yet(
    known: Knowledge, policy: Policy, problem: str
) -> None:
    found = rotation.obstacle(TWO, PREPARED, known, now=NOW + HOUR, policy=policy)
    assert found.startswith(problem)
    assert bool(found) == bool(problem)


def test_who_never_confirms_knows_a_root_when_its_leaf_is_newer() -> None:
    silent = replace(ALL, holding=0, silent=200)
    later = NOW + ACTIVE.longest_leaf
    assert rotation.obstacle(TWO, PREPARED, silent, now=later - HOUR, policy=POLICY)
    assert not rotation.obstacle(TWO, PREPARED, silent, now=later, policy=POLICY)


@pytest.mark.parametrize(
    "known",
    [replace(ALL, holding=0, silent=200), replace(ALL, holding=0, roots_only=200)],
    ids=["silent", "roots-only"],
)
def test_a_tainted_ca_waits_for_those_who_keep_their_leaves(known: Knowledge) -> None:
    tainted = rotation.tainted(AGED)
    end = OLD.retires_at or NOW
    assert rotation.unconfirmed(tainted, tainted.slots[1], known, now=end - HOUR, policy=POLICY)
    assert rotation.replaced(tainted, known, now=end - HOUR, policy=POLICY) is tainted
    assert rotation.replaced(tainted, known, now=end, policy=POLICY) == ONE
    assert rotation.replaced(tainted, ALL, now=NOW + HOUR, policy=POLICY) == ONE


def overview(
    given: Authority, known: Knowledge = ALL, *, stale: Authority | None = None
) -> Overview:
    bundle = next_bundle(stale or given, None)
    assert bundle is not None
    return Overview(given, bundle, known)


def test_what_operators_are_told() -> None:
    tell = lambda seen: rotation.problem(seen, now=NOW + HOUR, policy=POLICY)  # noqa: E731
    assert tell(overview(ONE)) == tell(overview(TWO)) == ""
    assert tell(overview(TWO, NONE)).startswith("0 of 200")
    assert tell(overview(TWO, stale=ONE)) == (
        f"slot {PREPARED.id} is not in the published trust bundle yet"
    )
    tainted = rotation.tainted(AGED)
    assert tell(overview(tainted)) == ""
    assert tell(overview(tainted, NONE)).endswith("among the others: web-1")
    assert tell(overview(tainted, stale=AGED)) == (
        f"the taint of slot {OLD.id} is not in the published trust bundle yet"
    )


@pytest.mark.parametrize(
    ("given", "now", "waits"),
    [
        pytest.param(ONE, TIME, False, id="nothing-prepared"),
        pytest.param(TWO, BEFORE, False, id="not-yet"),
        pytest.param(TWO, TIME, True, id="for-activation"),
        pytest.param(rotation.tainted(AGED), NOW, True, id="for-other-leaves"),
    ],
)
def test_whether_the_mesh_is_waited_for(given: Authority, now: datetime, waits: bool) -> None:
    assert rotation.waits(given, now) is waits
