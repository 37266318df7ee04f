"""Revocation lists of our own CAs (citadel-and-agent.md A1)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography import x509

from mast.citadel.core.authority import Authority, Revocation, State
from mast.citadel.core.bundle import next_bundle
from mast.citadel.core.refusals import CaNotReady
from mast.citadel.core.revocation import crl_pem, lists
from tests.unit.citadel.examples import DOMAIN, HOUR, NOW, authority

ACTIVE = replace(
    authority("P256").active, revocations=(Revocation(7, NOW), Revocation(9, NOW + HOUR))
)
OLD = replace(authority("P384").active, state=State.OLD)
BOTH = Authority(DOMAIN, (ACTIVE, OLD))


def test_without_revocations_there_are_no_lists() -> None:
    """One list would need all."""
    assert crl_pem(authority(), "") == ""


def test_every_ca_has_a_list_until_its_end() -> None:
    first, second = lists(crl_pem(BOTH, "").encode())
    for crl, slot in ((first, ACTIVE), (second, OLD)):
        assert crl.is_signature_valid(slot.certificate.public_key())  # type: ignore[arg-type]
        assert crl.issuer == slot.certificate.subject
        assert crl.next_update_utc == slot.certificate.not_valid_after_utc
        own = crl.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
        subject = slot.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
        assert own.key_identifier == subject.value.digest, "CAs of one name are told apart"
    assert {each.serial_number: each.revocation_date_utc for each in first} == {
        7: NOW,
        9: NOW + HOUR,
    }
    assert list(second) == []
    numbers = [
        c.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
        for c in (first, second)
    ]
    assert numbers == [3, 1]


def test_lists_that_still_hold_are_kept() -> None:
    """Signing again would be a change, and a change goes to every proxy."""
    published = crl_pem(BOTH, "")
    assert crl_pem(BOTH, published) == published
    more = replace(ACTIVE, revocations=(*ACTIVE.revocations, Revocation(11, NOW)))
    changed = crl_pem(Authority(DOMAIN, (more, OLD)), published)
    assert changed != published
    assert lists(changed.encode())[1] == lists(published.encode())[1]


@pytest.mark.parametrize(
    "published", ["-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n", "?"]
)
def test_damaged_lists_are_made_anew(published: str) -> None:
    assert len(lists(crl_pem(BOTH, published).encode())) == 2


def test_a_list_needs_its_key() -> None:
    with pytest.raises(CaNotReady, match="is lost"):
        crl_pem(Authority(DOMAIN, (ACTIVE, replace(OLD, key=None))), "")


def test_lists_of_a_plugged_in_ca_are_the_operators() -> None:
    assert crl_pem(replace(BOTH, crl_pem="theirs"), "ours") == "theirs"


def test_lists_are_published_with_the_roots() -> None:
    bundle = next_bundle(BOTH, None)
    assert bundle is not None
    assert len(lists(bundle.crl_pem.encode())) == 2
    assert next_bundle(BOTH, bundle) is None
