"""Revocation lists of our own CAs (citadel-and-agent.md A1, "every issuer needs its own").

A list is complete in itself and reaches proxies as soon as it changes, so it ends with its issuer
and not before: a Citadel that is away must not make the whole mesh unreachable.
"""

import re
from collections.abc import Iterable, Mapping

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from mast.citadel.core.authority import Authority, Slot
from mast.citadel.core.keys import signature_hash

Crl = x509.CertificateRevocationList

_BLOCK = re.compile(rb"-----BEGIN X509 CRL-----.*?-----END X509 CRL-----", re.DOTALL)


def lists(pem: bytes) -> tuple[Crl, ...]:
    """The lists in a PEM text; ValueError if one is damaged."""
    return tuple(map(x509.load_pem_x509_crl, _BLOCK.findall(pem)))


def revoked_serials(authority: Authority) -> frozenset[int]:
    """Serial numbers that our own ports refuse."""
    listed = (each.serial_number for crl in lists(authority.crl_pem.encode()) for each in crl)
    own = (each.serial for slot in authority.slots for each in slot.revocations)
    return frozenset((*own, *listed))


def crl_pem(authority: Authority, published: str) -> str:
    """The lists to publish, PEM: one of each of our CAs, or none at all if nothing is revoked.

    Those in ``published`` that still say what they should are kept. The lists of a plugged-in CA
    are the operator's. CaNotReady if a key that signs one is lost.
    """
    if authority.crl_pem:
        return authority.crl_pem
    if not any(slot.revocations for slot in authority.slots):
        return ""
    try:
        known = lists(published.encode())
    except ValueError:
        known = ()
    return "".join(_text(_current(slot, known)) for slot in authority.slots)


def _current(slot: Slot, known: Iterable[Crl]) -> Crl:
    """The list of a CA: a known one if that still says what it should, else a new one."""
    wanted = {each.serial: each.at.replace(microsecond=0) for each in slot.revocations}
    for each in known:
        ours = each.next_update_utc == slot.certificate.not_valid_after_utc
        if ours and _revoked(each) == wanted and _is_signed_by(each, slot):
            return each
    return _signed(slot)


def _revoked(crl: Crl) -> Mapping[int, object]:
    return {each.serial_number: each.revocation_date_utc for each in crl}


def _is_signed_by(crl: Crl, slot: Slot) -> bool:
    key = slot.certificate.public_key()
    return crl.issuer == slot.certificate.subject and crl.is_signature_valid(key)  # type: ignore[arg-type]


def _signed(slot: Slot) -> Crl:
    signer = slot.signer
    newest = max((each.at for each in slot.revocations), default=slot.created_at)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(slot.certificate.subject)
        .last_update(newest)
        .next_update(slot.certificate.not_valid_after_utc)
        .add_extension(x509.CRLNumber(len(slot.revocations) + 1), critical=False)
    )
    if signer.authority_key_id is not None:
        builder = builder.add_extension(signer.authority_key_id, critical=False)
    for each in slot.revocations:
        builder = builder.add_revoked_certificate(
            x509.RevokedCertificateBuilder()
            .serial_number(each.serial)
            .revocation_date(each.at)
            .build()
        )
    return builder.sign(signer.key, signature_hash(signer.key))


def _text(crl: Crl) -> str:
    return crl.public_bytes(Encoding.PEM).decode()
