"""The steps in the life of CAs, and when each may be taken (citadel-and-agent.md A8.5).

PREPARED is trusted and signs nothing, ACTIVE signs, OLD is trusted until its last leaf has ended.
Transitions are pure and say why they are not possible; `due` is what the rotator does by itself.
Differs from Istio: a new root has a new key, so that a rotation also ends what the old key can do.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum

from mast.citadel.core.authority import (
    Authority,
    Revocation,
    Slot,
    State,
    certificates,
    pem,
)
from mast.citadel.core.bundle import Bundle, is_published
from mast.citadel.core.knowledge import Knowledge, unsettled

PREPARE_BEFORE = timedelta(days=30)
ACTIVATE_BEFORE = timedelta(days=7)
_HALF, _SIXTH = 2, 6


class NotPossible(Exception):
    """A step that the state of the CAs does not allow; says what it is and what would be."""


class NotYet(NotPossible):
    """A step that must wait for the mesh; it can be forced."""


@dataclass(frozen=True, kw_only=True)
class Policy:
    """How careful to be.

    A step needs the confirmation of ``enough`` (a share) of those who are connected, from
    reporters that have counted for ``settling``. An old CA stays ``grace`` longer than its last
    leaf. Meshes that poll our bundle are given ``publication`` to get a new root.
    """

    enough: float = 0.99
    grace: timedelta = timedelta(hours=24)
    settling: timedelta = timedelta(seconds=30)
    publication: timedelta = timedelta()


@dataclass(frozen=True)
class Overview:
    """The CAs as stored, what is published of them, who trusts that, and what the next step lacks.

    ``known`` is about the sequence of ``bundle``.
    """

    authority: Authority
    bundle: Bundle
    known: Knowledge
    problem: str = ""


class Step(Enum):
    """What is to be done now."""

    PREPARE = "prepare"
    ACTIVATE = "activate"
    PRUNE = "prune"


def slot_named(authority: Authority, name: str) -> Slot:
    """The slot whose id begins with ``name``; NotPossible names those there are."""
    found = [slot for slot in authority.slots if name and slot.id.startswith(name.lower())]
    if len(found) == 1:
        return found[0]
    there = ", ".join(f"{slot.id} ({slot.state.name})" for slot in authority.slots)
    problem = "matches several slots" if found else "is no slot"
    raise NotPossible(f"slot {name!r} {problem}; there are {there}")


# Transitions


def check_preparable(authority: Authority) -> None:
    """Raises NotPossible if a CA is prepared already."""
    if (waiting := authority.prepared) is not None:
        raise NotPossible(f"slot {waiting.id} is prepared already: activate or revoke it first")


def prepared(authority: Authority, slot: Slot) -> Authority:
    """With one more CA, trusted from now on. NotPossible if one is prepared already."""
    check_preparable(authority)
    return replace(authority, slots=(*authority.slots, replace(slot, state=State.PREPARED)))


def activated(authority: Authority, name: str, *, now: datetime, grace: timedelta) -> Authority:
    """With the prepared CA signing; the one that did is old from now on.

    Nothing changes if the slot of that name is active already. NotPossible if it is old, or if
    none is prepared.
    """
    slot = slot_named(authority, name) if name else authority.prepared
    if slot is None:
        raise NotPossible("no slot is prepared: run 'prepare' first")
    if slot.state is State.ACTIVE:
        return authority
    if slot.state is State.OLD:
        raise NotPossible(f"slot {slot.id} is old: only a prepared one can be activated")
    if slot.key is None:
        raise NotPossible(f"the key of slot {slot.id} is lost: revoke it, and prepare another one")

    def aged(each: Slot) -> Slot:
        if each is slot:
            return replace(each, state=State.ACTIVE)
        if each.state is State.ACTIVE:
            return replace(each, state=State.OLD, retires_at=retirement(each, now, grace))
        return each

    return replace(authority, slots=tuple(map(aged, authority.slots)))


def retirement(slot: Slot, now: datetime, grace: timedelta) -> datetime:
    """When a CA that signs nothing from now on has no living leaf any more, and ``grace``."""
    return min(now + slot.longest_leaf, slot.not_after) + grace


def tainted(authority: Authority, name: str = "") -> Authority:
    """With an old CA whose leaves are to be replaced at once; it is dropped after that.

    NotPossible for one that signs: its successor has to be activated first.
    """
    slot = _chosen(authority, name, [s for s in authority.slots if s.state is State.OLD], "old")
    if slot.state is State.ACTIVE:
        raise NotPossible(
            f"slot {slot.id} signs: prepare and activate another one before this is tainted"
        )
    if slot.state is State.PREPARED:
        raise NotPossible(f"slot {slot.id} has signed nothing: revoke it")
    return _with(authority, slot, replace(slot, tainted=True))


def droppable(authority: Authority, name: str = "") -> Slot:
    """The slot that may be dropped: a prepared or tainted one. NotPossible for any other."""
    candidates = [s for s in authority.slots if s.tainted or s.state is State.PREPARED]
    slot = _chosen(authority, name, candidates, "prepared or tainted")
    if slot.state is State.ACTIVE:
        raise NotPossible(f"slot {slot.id} signs: it cannot be revoked")
    if slot not in candidates:
        raise NotPossible(f"slot {slot.id} may have living certificates: taint it first")
    return slot


def dropped(authority: Authority, slot: Slot) -> Authority:
    """Without a slot: nobody trusts it any more."""
    return replace(authority, slots=tuple(each for each in authority.slots if each is not slot))


def revoked(
    authority: Authority, serials: Sequence[int], name: str = "", *, now: datetime
) -> Authority:
    """With certificates on the list of the slot that issued them, by default the active one.

    NotPossible if the key of a slot, which signs its list, is lost: with lists each needs one.
    """
    slot = slot_named(authority, name) if name else authority.active
    if lost := [each.id for each in authority.slots if each.key is None]:
        raise NotPossible(f"the key of slot {lost[0]} is lost, so it can have no revocation list")
    known = {each.serial for each in slot.revocations}
    new = tuple(Revocation(serial, now) for serial in dict.fromkeys(serials) if serial not in known)
    if not new:
        return authority
    return _with(authority, slot, replace(slot, revocations=(*slot.revocations, *new)))


def check_lists(authority: Authority, trusted: Iterable[str]) -> None:
    """Raises NotPossible if a root that is trusted, PEM, is of a CA that has no revocation list.

    With lists every issuer needs one (Envoy's rule): its certificates would be refused everywhere.
    """
    listed = {pem(root) for slot in authority.slots for root in slot.roots}
    others = sorted(
        certificate.subject.rfc4514_string()
        for text in trusted
        if text not in listed
        for certificate in certificates(text)
    )
    if others:
        raise NotPossible(
            f"roots of other CAs are trusted in {authority.trust_domain} that have no revocation "
            f"list, so their certificates would be refused: {'; '.join(others)}"
        )


def difference(old: Authority, new: Authority) -> Iterator[tuple[str, Slot]]:
    """What became of slots: facts for the log."""
    before, after = ({slot.id: slot for slot in each.slots} for each in (old, new))
    for name, slot in after.items():
        earlier = before.get(name)
        if earlier is None or earlier.state is not slot.state:
            yield (
                {State.PREPARED: "prepared", State.ACTIVE: "activated"}.get(slot.state, "retired"),
                slot,
            )
        elif slot.tainted and not earlier.tainted:
            yield "tainted", slot
        elif slot.revocations != earlier.revocations:
            yield "list_changed", slot
    for name in before.keys() - after.keys():
        yield "dropped", before[name]


def pruned(authority: Authority, now: datetime) -> Authority:
    """Without old CAs whose time is over, and prepared ones whose key is lost.

    The same object if there are none.
    """
    over = [slot for slot in authority.slots if _is_over(slot, now)]
    if not over:
        return authority
    return replace(authority, slots=tuple(slot for slot in authority.slots if slot not in over))


def _is_over(slot: Slot, now: datetime) -> bool:
    if slot.state is State.PREPARED:
        return slot.key is None
    return slot.state is State.OLD and slot.retires_at is not None and now >= slot.retires_at


def _chosen(authority: Authority, name: str, candidates: Sequence[Slot], what: str) -> Slot:
    if name:
        return slot_named(authority, name)
    if len(candidates) == 1:
        return candidates[0]
    there = ", ".join(slot.id for slot in candidates) or "none"
    raise NotPossible(f"name the slot: {what} are {there}")


def _with(authority: Authority, old: Slot, new: Slot) -> Authority:
    slots = tuple(new if each is old else each for each in authority.slots)
    return authority if new == old else replace(authority, slots=slots)


# When


def prepare_at(slot: Slot) -> datetime:
    """When the successor of a CA should be known: half of its life, 30 days at most, before."""
    return slot.not_after - min(_life(slot) / _HALF, PREPARE_BEFORE)


def activate_at(slot: Slot) -> datetime:
    """When its successor should sign: a sixth of its life, 7 days at most, before its end."""
    return slot.not_after - min(_life(slot) / _SIXTH, ACTIVATE_BEFORE)


def _life(slot: Slot) -> timedelta:
    return slot.not_after - slot.created_at


def obstacle(
    authority: Authority, slot: Slot, known: Knowledge, *, now: datetime, policy: Policy
) -> str:
    """Why a prepared CA should not sign yet, "" if nothing speaks against it."""
    if problem := unconfirmed(authority, slot, known, now=now, policy=policy):
        return problem
    if now < slot.created_at + policy.publication:
        left = (slot.created_at + policy.publication - now).total_seconds()
        return f"other meshes poll our bundle, and may not have slot {slot.id} for {left:.0f} s"
    return ""


def activation_obstacle(seen: Overview, *, now: datetime, policy: Policy) -> str:
    """Why the prepared CA should not sign yet, "" if it may or there is none."""
    waiting = seen.authority.prepared
    if waiting is None:
        return ""
    if not is_published(seen.authority, seen.bundle):
        return f"slot {waiting.id} is not in the published trust bundle yet"
    return obstacle(seen.authority, waiting, seen.known, now=now, policy=policy)


def drop_obstacle(seen: Overview, slot: Slot, *, now: datetime, policy: Policy) -> str:
    """Why a tainted CA should still be trusted, "" if all its leaves are replaced."""
    if not is_published(seen.authority, seen.bundle):
        return f"the taint of slot {slot.id} is not in the published trust bundle yet"
    return unconfirmed(seen.authority, slot, seen.known, now=now, policy=policy)


def problem(seen: Overview, *, now: datetime, policy: Policy) -> str:
    """What the next step waits for, "" if nothing does or none is due (for operators)."""
    tainted_ones = [slot for slot in seen.authority.slots if slot.tainted]
    if tainted_ones:
        return drop_obstacle(seen, tainted_ones[0], now=now, policy=policy)
    return activation_obstacle(seen, now=now, policy=policy)


def unconfirmed(
    authority: Authority, slot: Slot, known: Knowledge, *, now: datetime, policy: Policy
) -> str:
    """Who has not confirmed what is published of a slot, "" if enough have.

    Those that never confirm got the bundle with every certificate, so they know a prepared slot
    when the longest life of a leaf has passed. Of a tainted one they may hold a leaf until it ends.
    """
    if problem := unsettled(known, now, policy.settling):
        return problem
    prepared_one = slot.state is State.PREPARED
    consent = prepared_one and now >= slot.created_at + authority.active.longest_leaf
    missing = known.missing(policy.enough, roots=prepared_one, silence_is_consent=consent)
    if not missing:
        return ""
    quiet = f", {known.silent} never confirm" if known.silent else ""
    if known.roots_only:
        quiet += f", {known.roots_only} only know the roots"
    names = f"; among the others: {', '.join(known.lagging)}" if known.lagging else ""
    return (
        f"{known.holding} of {known.connected} that are connected confirmed the roots{quiet}: "
        f"{missing} more are needed ({policy.enough:.0%}){names}"
    )


def due(
    authority: Authority, known: Knowledge, *, published: bool, now: datetime, policy: Policy
) -> Step | None:
    """What the rotator has to do now, None if nothing (A8.5).

    ``published`` tells that the stored bundle says what the authority trusts, and ``known`` is
    about that bundle. A CA that ended, or whose key is lost, is replaced whoever trusts its
    successor: it serves nobody.
    """
    if pruned(authority, now) is not authority:
        return Step.PRUNE
    active, waiting = authority.active, authority.prepared
    if active.key is None or now >= active.not_after:
        return Step.PREPARE if waiting is None else Step.ACTIVATE
    if not published:
        return None
    if any(_is_replaced(authority, slot, known, now, policy) for slot in authority.slots):
        return Step.PRUNE
    if waiting is None:
        return Step.PREPARE if now >= prepare_at(active) else None
    if now < activate_at(active):
        return None
    return None if obstacle(authority, waiting, known, now=now, policy=policy) else Step.ACTIVATE


def _is_replaced(
    authority: Authority, slot: Slot, known: Knowledge, now: datetime, policy: Policy
) -> bool:
    """A tainted CA whose leaves are gone: agents confirm only when they have others.

    Those that never confirm keep theirs until it ends, so they are waited for.
    """
    return slot.tainted and not unconfirmed(authority, slot, known, now=now, policy=policy)


def replaced(authority: Authority, known: Knowledge, *, now: datetime, policy: Policy) -> Authority:
    """Without CAs whose time is over, and without tainted ones whose leaves are replaced."""
    left = pruned(authority, now)
    gone = [slot for slot in left.slots if _is_replaced(left, slot, known, now, policy)]
    return replace(left, slots=tuple(s for s in left.slots if s not in gone)) if gone else left


def waits(authority: Authority, now: datetime) -> bool:
    """Whether a step will be due as soon as the mesh has confirmed something."""
    tainted_one = any(slot.tainted for slot in authority.slots)
    return tainted_one or (authority.prepared is not None and now >= activate_at(authority.active))
