"""What counts of a certificate signing request (citadel-and-agent.md A2, A4)."""

from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.x509.oid import NameOID

from mast.citadel.core.keys import PublicKey, accepted_public_key
from mast.citadel.core.refusals import BadCsr

MAX_BYTES = 64 << 10

_UNREADABLE = (
    ValueError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)


@dataclass(frozen=True)
class Csr:
    """The parts that count: the key, and whether there is a common name (dual use, A2).

    ``has_san`` matters to IstioCAService only (A4). Names and extensions are ignored.
    """

    public_key: PublicKey
    has_common_name: bool
    has_san: bool


def read_csr(pem: bytes) -> Csr:
    """Read one PEM block whose signature is by its own key; BadCsr names what is wrong."""
    if len(pem) > MAX_BYTES:
        raise BadCsr(f"CSR of {len(pem)} bytes, want at most {MAX_BYTES}")
    if (blocks := pem.count(b"-----BEGIN ")) != 1:
        raise BadCsr(f"CSR has {blocks} PEM blocks, want one CERTIFICATE REQUEST")
    try:
        request = x509.load_pem_x509_csr(pem)
        signed = request.is_signature_valid
        subject = request.subject
        key = request.public_key()
        extensions = request.extensions
    except _UNREADABLE as error:
        raise BadCsr("CSR does not parse") from error
    if not signed:
        raise BadCsr("CSR is not signed by its own key")
    try:
        accepted = accepted_public_key(key)
    except ValueError as error:
        raise BadCsr(f"CSR: {error}") from error
    return Csr(
        public_key=accepted,
        has_common_name=bool(subject.get_attributes_for_oid(NameOID.COMMON_NAME)),
        has_san=any(e.oid == x509.SubjectAlternativeName.oid for e in extensions),
    )
