"""The authority as it is stored, keys included unless a key manager keeps them elsewhere."""

from collections.abc import Sequence
from datetime import UTC, timedelta

from cryptography import x509

from mast.citadel.core.authority import (
    LEAVES_PER_CA,
    UNLIMITED,
    Authority,
    Revocation,
    Slot,
    State,
    certificates,
    pem,
    pem_of,
)
from mast.citadel.core.keys import PrivateKey, load_private_key, private_key_pem
from mastapi.citadel.v1 import citadel_pb2

Record = citadel_pb2.Authority

STORED_HERE = "etcd"
"""The key manager that keeps keys in the record itself, sealed."""

_LONGEST_LEAF = timedelta(hours=2160)
"""Of records from before there was a limit: Istio's maximum (A2)."""


def record(authority: Authority) -> Record:
    """The authority as it is stored."""
    return Record(
        trust_domain=authority.trust_domain,
        slots=[_slot_record(slot) for slot in authority.slots],
    )


def _slot_record(slot: Slot) -> Record.Slot:
    stored = Record.Slot(
        state=slot.state.value,
        certificate_pem=pem(slot.certificate),
        chain_pem=pem_of(slot.issuers),
        root_pem=pem_of(slot.roots),
        key_id=slot.key_id,
        key_manager=slot.key_manager,
        tainted=slot.tainted,
    )
    if slot.key is not None and not slot.key_id:
        stored.private_key_pem = private_key_pem(slot.key)
    stored.created_at.FromDatetime(slot.created_at)
    if slot.longest_leaf < UNLIMITED:
        stored.longest_leaf.FromTimedelta(slot.longest_leaf)
    if slot.retires_at is not None:
        stored.retires_at.FromDatetime(slot.retires_at)
    for each in slot.revocations:
        stored.revocations.add(serial=f"{each.serial:x}").at.FromDatetime(each.at)
    return stored


def from_record(
    stored: Record,
    more_roots: tuple[x509.Certificate, ...] = (),
    keys: Sequence[PrivateKey | None] | None = None,
) -> Authority:
    """The inverse of ``record``; ValueError if something in it does not parse.

    ``keys`` are those that key managers keep, slot by slot; None where the record has the key, or
    where it is lost.
    """
    kept = keys if keys is not None else [None] * len(stored.slots)
    slots = tuple(_slot(each, key) for each, key in zip(stored.slots, kept, strict=True))
    return Authority(stored.trust_domain, slots, more_roots)


def _slot(stored: Record.Slot, kept: PrivateKey | None) -> Slot:
    own = load_private_key(stored.private_key_pem.encode()) if stored.private_key_pem else None
    slot = Slot(
        state=State(stored.state),
        certificate=x509.load_pem_x509_certificate(stored.certificate_pem.encode()),
        key=own if own is not None else kept,
        issuers=certificates(stored.chain_pem),
        roots=certificates(stored.root_pem),
        created_at=stored.created_at.ToDatetime(tzinfo=UTC),
        key_id=stored.key_id,
        key_manager=stored.key_manager or STORED_HERE,
        longest_leaf=_longest_leaf(stored),
        retires_at=(
            stored.retires_at.ToDatetime(tzinfo=UTC) if stored.HasField("retires_at") else None
        ),
        tainted=stored.tainted,
        revocations=tuple(
            Revocation(int(each.serial, 16), each.at.ToDatetime(tzinfo=UTC))
            for each in stored.revocations
        ),
    )
    if slot.key is not None and slot.key.public_key() != slot.certificate.public_key():
        raise ValueError(f"slot {slot.id}: the key is not that of the certificate")
    return slot


def _longest_leaf(stored: Record.Slot) -> timedelta:
    if stored.HasField("longest_leaf"):
        return stored.longest_leaf.ToTimedelta()
    made = x509.load_pem_x509_certificate(stored.certificate_pem.encode())
    life = made.not_valid_after_utc - made.not_valid_before_utc
    return min(_LONGEST_LEAF, life / LEAVES_PER_CA)
