"""The certificate authority: its slots, what it trusts and what it signs (A1, A2, A8).

How slots follow each other is `rotation`'s, how they are stored `records`'.

Section numbers are those of citadel-and-agent.md.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from functools import cached_property

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from mast.citadel.core.csr import Csr
from mast.citadel.core.keys import PrivateKey, signature_hash
from mast.citadel.core.leaf import BACKDATED, Signer, TtlPolicy, leaf
from mast.citadel.core.refusals import CaNotReady
from mastapi.citadel.v1 import citadel_pb2

_CA_KEY_USAGE = x509.KeyUsage(
    key_cert_sign=True,
    crl_sign=True,
    digital_signature=False,
    key_encipherment=False,
    content_commitment=False,
    data_encipherment=False,
    key_agreement=False,
    encipher_only=False,
    decipher_only=False,
)


ID_DIGITS = 8
LEAVES_PER_CA = 6
"""No leaf lives longer than this part of its CA's life (A8.5)."""


class State(Enum):
    """Where a slot is in its life (A8.5)."""

    PREPARED = citadel_pb2.Authority.Slot.PREPARED  # trusted, signs nothing yet
    ACTIVE = citadel_pb2.Authority.Slot.ACTIVE  # signs
    OLD = citadel_pb2.Authority.Slot.OLD  # trusted until its last leaf has ended


UNLIMITED = timedelta.max


@dataclass(frozen=True)
class Revocation:
    """A certificate that counts no more, and since when."""

    serial: int
    at: datetime


@dataclass(frozen=True)
class Slot:
    """One CA: its certificate and key, the certificate's issuers below the root, and the roots.

    ``key`` is None if it is lost: such a slot signs nothing. ``key_id`` is the key's name where
    ``key_manager`` keeps it, "" if it is stored with the slot. No leaf lives longer than
    ``longest_leaf``, so that an old slot, which is dropped at ``retires_at``, has no living leaf
    then. A ``tainted`` slot's leaves are replaced at once.
    """

    state: State
    certificate: x509.Certificate
    key: PrivateKey | None
    issuers: tuple[x509.Certificate, ...]
    roots: tuple[x509.Certificate, ...]
    created_at: datetime
    key_id: str = ""
    key_manager: str = "etcd"
    longest_leaf: timedelta = UNLIMITED
    retires_at: datetime | None = None
    tainted: bool = False
    revocations: tuple[Revocation, ...] = ()

    @cached_property
    def id(self) -> str:
        """The slot's name for operators: the first digits of the certificate's SHA-256."""
        return self.certificate.fingerprint(SHA256()).hex()[:ID_DIGITS]

    @property
    def subject(self) -> str:
        """Subject of the certificate (RFC 4514)."""
        return self.certificate.subject.rfc4514_string()

    @cached_property
    def signer(self) -> Signer:
        """What signs leaves; CaNotReady if the key is lost."""
        if self.key is None:
            raise CaNotReady(f"the key of slot {self.id} is lost")
        return Signer.of(self.certificate, self.key)

    @cached_property
    def intermediates(self) -> tuple[x509.Certificate, ...]:
        """What a leaf's holder presents beside it: every certificate up to, without, a root."""
        return tuple(c for c in (self.certificate, *self.issuers) if c not in self.roots)

    @cached_property
    def not_after(self) -> datetime:
        """When the first certificate of the chain ends, the root that it leads to included."""
        top = self.intermediates[-1] if self.intermediates else self.certificate
        ends = [c.not_valid_after_utc for c in (self.certificate, *self.intermediates)]
        anchors = [root.not_valid_after_utc for root in self.roots if issued_by(top, root)]
        return min([*ends, max(anchors, default=ends[0])])


@dataclass(frozen=True)
class Authority:
    """All CAs of a trust domain; exactly one slot is active.

    ``more_roots`` are trusted beside the slots' own (``root-cert-file``, A1). ``crl_pem`` are the
    revocation lists that came with a plugged-in CA; ``revision`` is that of the store at which the
    authority was stored, 0 if it is not.
    """

    trust_domain: str
    slots: tuple[Slot, ...]
    more_roots: tuple[x509.Certificate, ...] = ()
    crl_pem: str = ""
    revision: int = field(default=0, compare=False)

    def __post_init__(self) -> None:
        active = sum(slot.state is State.ACTIVE for slot in self.slots)
        if active != 1:
            raise ValueError(f"authority of {self.trust_domain}: {active} active slots, want one")

    @cached_property
    def active(self) -> Slot:
        """The slot that signs."""
        return next(slot for slot in self.slots if slot.state is State.ACTIVE)

    @cached_property
    def prepared(self) -> Slot | None:
        """The slot that will sign next; None if there is none."""
        return next((slot for slot in self.slots if slot.state is State.PREPARED), None)

    def best_known(self, now: datetime) -> Slot:
        """The slot that the most have heard of: an old one that still counts, else the active one.

        Citadel's own certificate is its: whoever was away during a rotation can come back.
        """
        old = (
            slot
            for slot in self.slots
            if slot.state is State.OLD and slot.key and not slot.tainted and now < slot.not_after
        )
        return min(old, key=lambda slot: slot.created_at, default=self.active)

    @cached_property
    def roots(self) -> tuple[x509.Certificate, ...]:
        """Every root that is trusted, sorted by PEM, without repeats (A8.3)."""
        found = [*(root for slot in self.slots for root in slot.roots), *self.more_roots]
        return tuple(sorted(dict.fromkeys(found), key=pem))

    @cached_property
    def roots_pem(self) -> str:
        """The trust bundle as one PEM."""
        return pem_of(self.roots)

    @cached_property
    def chain_elements(self) -> tuple[str, ...]:
        """What follows the leaf in ``cert_chain``: each intermediate, last the bundle (A4)."""
        return (*map(pem, self.active.intermediates), self.roots_pem)

    def issue(
        self,
        csr: Csr,
        names: Sequence[str],
        requested: timedelta,
        *,
        policy: TtlPolicy,
        now: datetime,
        serial: int,
        subject: str | None = None,
    ) -> x509.Certificate:
        """A leaf for the CSR's key (A2), living no longer than any of its slot may (A8.5).

        Raises CaNotReady if the CA's chain has ended, TtlTooLong as ``TtlPolicy.lifetime``.
        """
        left = self.active.not_after - now
        if left <= timedelta():
            raise CaNotReady("the CA's own certificate has expired")
        return leaf(
            self.active.signer,
            csr.public_key,
            names,
            lifetime=min(policy.lifetime(requested, left), self.active.longest_leaf),
            now=now,
            serial=serial,
            subject=subject,
            ca=policy.ca,
        )


def self_signed(
    trust_domain: str,
    key: PrivateKey,
    *,
    now: datetime,
    ttl: timedelta,
    serial: int,
    longest_leaf: timedelta = UNLIMITED,
) -> Slot:
    """An active slot with a root of its own (A1, "self-signed root").

    Its leaves live a sixth of its life at most (A8.5), or ``longest_leaf`` if that is less.
    """
    name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, trust_domain[:64])])
    public = key.public_key()
    root = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public)
        .serial_number(serial)
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + ttl)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_CA_KEY_USAGE, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .sign(key, signature_hash(key))
    )
    limit = min(longest_leaf, ttl / LEAVES_PER_CA)
    return Slot(State.ACTIVE, root, key, (), (root,), now, longest_leaf=limit)


def issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether names and signature say that ``issuer`` issued it."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def pem(certificate: x509.Certificate) -> str:
    """One certificate as PEM, ending in a newline."""
    return certificate.public_bytes(Encoding.PEM).decode()


def pem_of(certificates: Iterable[x509.Certificate]) -> str:
    """Certificates as one PEM text."""
    return "".join(map(pem, certificates))


def certificates(text: str | bytes) -> tuple[x509.Certificate, ...]:
    """The certificates of a PEM text, none if it is blank; ValueError if it is damaged."""
    data = text.encode() if isinstance(text, str) else text
    return tuple(x509.load_pem_x509_certificates(data)) if data.strip() else ()
