"""Certificates, keys and roots as Secrets and ConfigMaps hold them, and whether Envoy takes them.

The names of the values are those that Istio knows (pilot.md I5): `cert` `key` `cacert` `crl`, or
`tls.crt` `tls.key` `ca.crt` `ca.crl`, and `tls.ocsp-staple`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtensionOID, NameOID

PAIRS = (("cert", "key"), ("tls.crt", "tls.key"))
ROOTS = ("cacert", "ca.crt")
CRLS = ("crl", "ca.crl")
OCSP_STAPLE = "tls.ocsp-staple"
KNOWN = frozenset({*PAIRS[0], *PAIRS[1], *ROOTS, *CRLS, OCSP_STAPLE})
"""Names of values that mean something."""

_LEAST_RSA_BITS = 2048
_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)


@dataclass(frozen=True, slots=True)
class Part:
    """A value and the name it stands under."""

    name: str
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Credential:
    """What a Secret or ConfigMap holds; certificates, key, roots and CRL in PEM, the staple in DER.

    The first certificate of `chain` is that of `key`.
    """

    chain: Part | None = None
    key: Part | None = None
    roots: Part | None = None
    crl: Part | None = None
    staple: Part | None = None


@dataclass(frozen=True, slots=True)
class Defect:
    """Why a value cannot be used; the message holds nothing of the value."""

    name: str
    message: str


def credential(values: Mapping[str, bytes]) -> Credential:
    """The parts by name; of two names for one thing the first that has a value counts.

    A certificate goes with the key that stands beside it.
    """
    whole = (pair for pair in PAIRS if all(values.get(name) for name in pair))
    half = (pair for pair in PAIRS if any(values.get(name) for name in pair))
    chain, key = next(whole, next(half, PAIRS[1]))
    return Credential(
        chain=_part(values, chain),
        key=_part(values, key),
        roots=_part(values, *ROOTS),
        crl=_part(values, *CRLS),
        staple=_part(values, OCSP_STAPLE),
    )


def defects(found: Credential) -> Iterator[Defect]:
    """Everything that Envoy would reject."""
    certificates: list[x509.Certificate] = []
    if found.chain:
        certificates, complaints = _certificates(found.chain)
        yield from complaints
        for leaf in certificates[:1]:
            yield from _leaf_defects(found.chain, leaf, stapled=found.staple is not None)
    if found.key:
        yield from _key_defects(found.key, certificates)
    if found.roots:
        yield from _certificates(found.roots)[1]
    if found.crl:
        yield from _crl_defects(found.crl)
    if found.staple:
        yield from _staple_defects(found.staple, certificates)


def _part(values: Mapping[str, bytes], *names: str) -> Part | None:
    return next((Part(each, values[each]) for each in names if values.get(each)), None)


def _certificates(part: Part) -> tuple[list[x509.Certificate], list[Defect]]:
    try:
        return x509.load_pem_x509_certificates(part.content), []
    except ValueError:
        return [], [Defect(part.name, "holds no certificates in PEM")]


def _leaf_defects(part: Part, leaf: x509.Certificate, *, stapled: bool) -> Iterator[Defect]:
    """What Envoy wants of a certificate that it serves with."""
    try:
        extensions = {each.oid for each in leaf.extensions}
    except (ValueError, x509.DuplicateExtension):
        yield Defect(part.name, "holds a certificate whose extensions cannot be read")
        return
    named = leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if not named and ExtensionOID.SUBJECT_ALTERNATIVE_NAME not in extensions:
        yield Defect(part.name, "is for nobody: neither a common name nor alternative names")
    if not stapled and ExtensionOID.TLS_FEATURE in extensions:
        features = leaf.extensions.get_extension_for_class(x509.TLSFeature).value
        if x509.TLSFeatureType.status_request in features:
            yield Defect(part.name, f"must be stapled, but there is no {OCSP_STAPLE!r}")


def _key_defects(part: Part, certificates: list[x509.Certificate]) -> Iterator[Defect]:
    try:
        key = load_pem_private_key(part.content, password=None)
    except TypeError:
        yield Defect(part.name, "is encrypted; only a key without passphrase can be used")
        return
    except (ValueError, UnsupportedAlgorithm):
        yield Defect(part.name, "holds no private key in PEM")
        return
    if isinstance(key, rsa.RSAPrivateKey):
        if key.key_size < _LEAST_RSA_BITS:
            message = f"is an RSA key of {key.key_size} bits; allowed: {_LEAST_RSA_BITS} or more"
            yield Defect(part.name, message)
    elif isinstance(key, ec.EllipticCurvePrivateKey):
        if not isinstance(key.curve, _CURVES):
            yield Defect(part.name, "must be on P-256, P-384 or P-521")
    elif not isinstance(key, ed25519.Ed25519PrivateKey):
        yield Defect(part.name, "must be an RSA, ECDSA or Ed25519 key")
    if certificates and certificates[0].public_key() != key.public_key():
        yield Defect(part.name, "is not the key of the first certificate")


def _crl_defects(part: Part) -> Iterator[Defect]:
    try:
        x509.load_pem_x509_crl(part.content)
    except ValueError:
        yield Defect(part.name, "holds no certificate revocation list in PEM")


def _staple_defects(part: Part, certificates: list[x509.Certificate]) -> Iterator[Defect]:
    try:
        response = ocsp.load_der_ocsp_response(part.content)
    except ValueError:
        yield Defect(part.name, "is no OCSP response in DER")
        return
    if response.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
        yield Defect(part.name, "is an OCSP response without success")
        return
    numbers = [each.serial_number for each in response.responses]
    if certificates and numbers != [certificates[0].serial_number]:
        yield Defect(part.name, "is not the OCSP response for the first certificate")
