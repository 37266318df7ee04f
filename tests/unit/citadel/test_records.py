"""The stored form of the authority (citadel-and-agent.md A1, A8)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from mast.citadel.core.authority import Authority, Revocation, Slot, State, pem_of
from mast.citadel.core.records import from_record, record
from tests.support.pki import Ca
from tests.unit.citadel.examples import DAY, DOMAIN, HOUR, NOW, authority


def brought(*roots: Ca) -> Slot:
    """A slot below a root."""
    ca = roots[0].intermediate("step", valid=(-DAY, 30 * DAY))
    found = tuple(root.certificate for root in roots)
    return Slot(State.ACTIVE, ca.certificate, ca.key, (), found, NOW)  # type: ignore[arg-type]


def test_record_is_read_again() -> None:
    old = replace(
        authority("P384").active,
        state=State.OLD,
        tainted=True,
        retires_at=NOW + DAY,
        revocations=(Revocation(1 << 127, NOW), Revocation(3, NOW + HOUR)),
    )
    prepared = replace(authority("RSA2048").active, state=State.PREPARED)
    stored = Authority(DOMAIN, (brought(Ca.root("one"), Ca.root("two")), old, prepared))
    again = from_record(record(stored), more_roots=(Ca.root("three").certificate,))
    assert again.trust_domain == DOMAIN
    assert [pem_of((s.certificate, *s.issuers, *s.roots)) for s in again.slots] == [
        pem_of((s.certificate, *s.issuers, *s.roots)) for s in stored.slots
    ]
    facts = [
        (s.state, s.created_at, s.tainted, s.retires_at, s.revocations, s.key_manager)
        for s in again.slots
    ]
    assert facts == [
        (s.state, s.created_at, s.tainted, s.retires_at, s.revocations, "etcd")
        for s in stored.slots
    ]
    assert [s.longest_leaf for s in again.slots[1:]] == [s.longest_leaf for s in stored.slots[1:]]
    assert [s.key.private_numbers() for s in again.slots if s.key] == [
        s.key.private_numbers() for s in stored.slots if s.key
    ]
    assert len(again.roots) == 5
    assert record(replace(again, more_roots=())).slots[1:] == record(stored).slots[1:]


def test_a_key_that_is_kept_elsewhere_is_not_in_the_record() -> None:
    slot = replace(authority().active, key_id="k1", key_manager="pkcs11")
    stored = record(Authority(DOMAIN, (slot,)))
    assert not stored.slots[0].private_key_pem
    assert (stored.slots[0].key_id, stored.slots[0].key_manager) == ("k1", "pkcs11")
    assert from_record(stored).active.key is None, "lost"
    assert from_record(stored, keys=[slot.key]).active.key is slot.key
    with pytest.raises(ValueError, match=f"slot {slot.id}: the key is not that of the certificate"):
        from_record(stored, keys=[authority("P384").active.key])


@pytest.mark.parametrize(
    ("ttl", "limit"),
    [
        pytest.param(3650 * DAY, timedelta(hours=2160), id="istio's-maximum"),
        pytest.param(60 * DAY, 10 * DAY + timedelta(seconds=20), id="a-sixth"),
    ],
)
def test_old_records_have_the_limit_of_leaves_that_held_then(
    ttl: timedelta, limit: timedelta
) -> None:
    stored = record(authority(ttl=ttl))
    stored.slots[0].ClearField("longest_leaf")
    stored.slots[0].ClearField("key_manager")
    slot = from_record(stored).active
    assert (slot.longest_leaf, slot.key_manager) == (limit, "etcd")


def test_damaged_records_are_refused() -> None:
    stored = record(authority())
    stored.slots[0].state = 0  # type: ignore[assignment]
    with pytest.raises(ValueError, match="0 is not a valid State"):
        from_record(stored)
    stored = record(authority())
    stored.slots[0].certificate_pem = "nothing"
    with pytest.raises(ValueError, match="PEM"):
        from_record(stored)
