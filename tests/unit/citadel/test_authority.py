"""The authority: slots, trust, issuing (citadel-and-agent.md A1, A2, A4, A8)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from functools import partial
from itertools import pairwise

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from mast.citadel.core.authority import (
    Authority,
    Slot,
    State,
    certificates,
    issued_by,
    pem,
    self_signed,
)
from mast.citadel.core.csr import read_csr
from mast.citadel.core.leaf import TtlPolicy
from mast.citadel.core.refusals import CaNotReady, TtlTooLong
from tests.support.pki import DAY, Ca, wall_clock
from tests.unit.citadel.examples import DOMAIN, HOUR, ME, NOW, authority, csr_pem, private_key


def chained(*, roots: tuple[Ca, ...], depth: int = 2, life: timedelta = 30 * DAY) -> Slot:
    """A slot whose signing certificate is ``depth`` steps below the first root."""
    ca = roots[0]
    for step in range(depth):
        ca = ca.intermediate(f"step {step}", valid=(-DAY, life))
    return Slot(
        State.ACTIVE,
        ca.certificate,
        ca.key,  # type: ignore[arg-type]
        ca.issuers[:-1],
        tuple(root.certificate for root in roots),
        wall_clock(),
    )


@pytest.mark.parametrize("kind", ["P256", "P384", "RSA2048"])
def test_self_signed_root(kind: str) -> None:
    slot = self_signed("me.example", private_key(kind), now=NOW, ttl=3650 * DAY, serial=9)
    root = slot.certificate
    assert slot.roots == (root,)
    assert [(a.oid, a.value) for a in root.subject] == [(NameOID.ORGANIZATION_NAME, "me.example")]
    assert (root.not_valid_before_utc, root.not_valid_after_utc) == (
        NOW - timedelta(minutes=2),
        NOW + 3650 * DAY,
    )
    constraints = root.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (constraints.critical, constraints.value.ca) == (True, True)
    usage = root.extensions.get_extension_for_class(x509.KeyUsage)
    assert (usage.critical, usage.value.key_cert_sign, usage.value.crl_sign) == (True, True, True)
    assert not usage.value.digital_signature
    assert issued_by(root, root)


def test_trust_domain_longer_than_a_name_may_be() -> None:
    slot = self_signed("d" * 100, private_key("P256"), now=NOW, ttl=DAY, serial=9)
    (organisation,) = slot.certificate.subject
    assert organisation.value == "d" * 64


@pytest.mark.parametrize(
    "states",
    [
        pytest.param([], id="no-slot"),
        pytest.param([State.PREPARED, State.OLD], id="none-active"),
        pytest.param([State.ACTIVE, State.ACTIVE], id="two-active"),
    ],
)
def test_exactly_one_slot_is_active(states: list[State]) -> None:
    slot = authority().active
    with pytest.raises(ValueError, match="active slots, want one"):
        Authority(DOMAIN, tuple(replace(slot, state=state) for state in states))


def test_the_active_slot_signs() -> None:
    active, old = authority("P256").active, authority("P384").active
    both = Authority(DOMAIN, (replace(old, state=State.OLD), active))
    leaf = issue(both)
    assert issued_by(leaf, active.certificate)
    assert not issued_by(leaf, old.certificate)


def issue(
    signing: Authority, requested: timedelta = HOUR, after: timedelta = timedelta()
) -> x509.Certificate:
    return signing.issue(
        read_csr(csr_pem()), (ME,), requested, policy=TtlPolicy(), now=NOW + after, serial=5
    )


def test_roots_of_all_slots_are_trusted_sorted_and_once() -> None:
    one, two, three = authority("P256").active, authority("P384").active, Ca.root().certificate
    joined = Authority(
        DOMAIN,
        (one, replace(two, state=State.PREPARED), replace(one, state=State.OLD)),
        more_roots=(three, one.certificate),
    )
    texts = sorted(map(pem, (one.certificate, two.certificate, three)))
    assert list(map(pem, joined.roots)) == texts
    assert joined.roots_pem == "".join(texts)


@pytest.mark.parametrize(("depth", "intermediates"), [(0, 0), (1, 1), (2, 2), (3, 3)])
def test_chain_elements(depth: int, intermediates: int) -> None:
    """Each intermediate by itself, last the whole bundle, each ending in a newline (A4)."""
    roots = (Ca.root("one"), Ca.root("two"))
    slot = chained(roots=roots, depth=depth)
    elements = Authority(DOMAIN, (slot,)).chain_elements
    assert len(elements) == intermediates + 1
    assert all(element.endswith("-----\n") for element in elements)
    assert all(element.count("BEGIN CERTIFICATE") == 1 for element in elements[:-1])
    assert elements[:-1] == tuple(map(pem, slot.intermediates))
    assert elements[-1].count("BEGIN CERTIFICATE") == 2
    path = [*slot.intermediates, roots[0].certificate]
    assert all(issued_by(below, above) for below, above in pairwise(path))


def test_a_slot_ends_with_the_first_certificate_of_its_chain() -> None:
    root = Ca.root(valid=(-DAY, 10 * DAY))
    later = Ca.root(valid=(-DAY, 100 * DAY))  # trusted, but not above this chain
    assert chained(roots=(root, later), life=30 * DAY).not_after == (
        root.certificate.not_valid_after_utc
    )
    short = chained(roots=(root,), life=5 * DAY)
    assert short.not_after == short.certificate.not_valid_after_utc


def test_a_slot_without_its_root_ends_with_the_chain_that_there_is() -> None:
    slot = replace(chained(roots=(Ca.root(),), depth=1), roots=())
    assert slot.not_after == slot.certificate.not_valid_after_utc


@pytest.mark.parametrize("requested", [timedelta(), HOUR], ids=["default", "asked-for"])
def test_no_leaf_lives_longer_than_a_sixth_of_its_ca(requested: timedelta) -> None:
    """A8.5: so an old CA's leaves are gone long before it is."""
    leaf = issue(authority(ttl=2 * HOUR), requested)
    assert leaf.not_valid_after_utc == NOW + HOUR / 3


def test_default_lifetime_is_capped_to_what_the_chain_has_left() -> None:
    slot = replace(chained(roots=(Ca.root(),)), state=State.ACTIVE)
    late = slot.not_after - HOUR - NOW
    assert issue(Authority(DOMAIN, (slot,)), timedelta(), late).not_valid_after_utc == (
        slot.not_after
    )


def test_the_limit_of_a_slot_is_the_lower_one() -> None:
    make = partial(self_signed, DOMAIN, private_key("P256"), now=NOW, serial=1)
    assert make(ttl=600 * HOUR, longest_leaf=24 * HOUR).longest_leaf == 24 * HOUR
    assert make(ttl=600 * HOUR, longest_leaf=2160 * HOUR).longest_leaf == 100 * HOUR


def test_a_slot_without_its_key_signs_nothing() -> None:
    slot = replace(authority().active, key=None)
    with pytest.raises(CaNotReady, match=f"the key of slot {slot.id} is lost"):
        issue(Authority(DOMAIN, (slot,)))


def test_the_slot_that_most_know_is_an_old_one_that_still_counts() -> None:
    """Citadel serves with it, so that whoever was away during a rotation can come back."""
    active = authority("P256").active
    old = replace(authority("P384").active, state=State.OLD, created_at=NOW - DAY)
    assert Authority(DOMAIN, (old, active)).best_known(NOW) is old
    for unfit in (replace(old, tainted=True), replace(old, key=None)):
        assert Authority(DOMAIN, (unfit, active)).best_known(NOW) is active
    assert Authority(DOMAIN, (old, active)).best_known(old.not_after) is active
    assert Authority(DOMAIN, (active,)).best_known(NOW) is active


def test_expired_authority_signs_nothing() -> None:
    signing = authority(ttl=2 * HOUR)
    issue(signing, after=2 * HOUR - timedelta(seconds=1))
    with pytest.raises(CaNotReady, match=r"CSR signing error \(the CA's own certificate has exp"):
        issue(signing, after=2 * HOUR)


def test_too_long_a_lifetime_is_refused() -> None:
    with pytest.raises(TtlTooLong):
        issue(authority(), 2161 * HOUR)


@pytest.mark.parametrize("text", ["", " \n"])
def test_certificates_of_blank_text(text: str) -> None:
    assert certificates(text) == ()
    assert certificates(text.encode()) == ()


def test_issued_by_needs_name_and_signature() -> None:
    root = Ca.root("same name")
    leaf = x509.load_pem_x509_certificate(root.leaf(uris=[ME]).chain)
    assert issued_by(leaf, root.certificate)
    assert not issued_by(leaf, Ca.root("other name").certificate)
    assert not issued_by(leaf, Ca.root("same name").certificate)
    assert not issued_by(leaf, Ca.root("same name", rsa_bits=2048).certificate)
