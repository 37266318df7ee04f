"""Credentials good and bad: what the kit says of them must be what Envoy says."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.x509 import ocsp
from cryptography.x509.oid import NameOID

from tests.support.pki import Ca, key_pem, pem, wall_clock

CA, OTHER = Ca.root(), Ca.root("other")
DAY = timedelta(days=1)
NOBODY = x509.Name([])
NAMED = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a.test")])
SAN = x509.SubjectAlternativeName([x509.DNSName("a.test")])
STAPLED = x509.TLSFeature([x509.TLSFeatureType.status_request])

Values = Mapping[str, bytes]


def _pair(key: object, subject: x509.Name, *extensions: x509.ExtensionType) -> Values:
    now = wall_clock()
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(CA.certificate.subject)
        .public_key(key.public_key())  # type: ignore[attr-defined]
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - DAY)
        .not_valid_after(now + DAY)
    )
    for each in extensions:
        builder = builder.add_extension(each, critical=False)
    leaf = builder.sign(CA.key, hashes.SHA256())  # type: ignore[arg-type]
    return {"tls.crt": pem(leaf), "tls.key": key_pem(key)}  # type: ignore[arg-type]


def _curve(curve: ec.EllipticCurve) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(curve)


def _ocsp(values: Values) -> bytes:
    """A response that the certificate is good."""
    (leaf,) = x509.load_pem_x509_certificates(values["tls.crt"])
    now = wall_clock()
    builder = ocsp.OCSPResponseBuilder().add_response(
        cert=leaf,
        issuer=CA.certificate,
        algorithm=hashes.SHA256(),
        cert_status=ocsp.OCSPCertStatus.GOOD,
        this_update=now - DAY,
        next_update=now + DAY,
        revocation_time=None,
        revocation_reason=None,
    )
    responder = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, CA.certificate)
    made = responder.sign(CA.key, hashes.SHA256())  # type: ignore[arg-type]
    return made.public_bytes(serialization.Encoding.DER)


def _crl() -> bytes:
    now = wall_clock()
    made = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(CA.certificate.subject)
        .last_update(now - DAY)
        .next_update(now + DAY)
        .sign(CA.key, hashes.SHA256())  # type: ignore[arg-type]
    )
    return made.public_bytes(serialization.Encoding.PEM)


_P256 = _pair(_curve(ec.SECP256R1()), NOBODY, SAN)
_P384 = _pair(_curve(ec.SECP384R1()), NOBODY, SAN)
_MUST_STAPLE = _pair(_curve(ec.SECP256R1()), NOBODY, SAN, STAPLED)
_ROOTS = {"ca.crt": CA.pem}

GOOD: Mapping[str, Values] = {
    "p256": _P256,
    "p384": _P384,
    "p521": _pair(_curve(ec.SECP521R1()), NOBODY, SAN),
    "rsa": _pair(rsa.generate_private_key(65537, 2048), NOBODY, SAN),
    "ed25519": _pair(ed25519.Ed25519PrivateKey.generate(), NOBODY, SAN),
    "common-name": _pair(_curve(ec.SECP256R1()), NAMED),
    "chain": {**_P256, "tls.crt": _P256["tls.crt"] + CA.pem},
    "text-around": {**_P256, "tls.crt": b"issued by us\n" + _P256["tls.crt"]},
    "stapled": {**_MUST_STAPLE, "tls.ocsp-staple": _ocsp(_MUST_STAPLE)},
    "roots": _ROOTS,
    "two-roots": {"ca.crt": CA.pem + OTHER.pem},
    "revocations": {**_ROOTS, "ca.crl": _crl()},
}

BAD: Mapping[str, Values] = {
    "nobody": _pair(_curve(ec.SECP256R1()), NOBODY),
    "other-key": {**_P256, "tls.key": _P384["tls.key"]},
    "leaf-last": {**_P256, "tls.crt": CA.pem + _P256["tls.crt"]},
    "small-rsa": _pair(rsa.generate_private_key(65537, 1024), NOBODY, SAN),  # noqa: S505
    "other-curve": _pair(_curve(ec.SECP256K1()), NOBODY, SAN),
    "ed448": _pair(ed448.Ed448PrivateKey.generate(), NOBODY, SAN),
    "no-certificate": {**_P256, "tls.crt": b"nothing"},
    "no-key": {**_P256, "tls.key": b"nothing"},
    "must-staple": _MUST_STAPLE,
    "staple-of-another": {**_P256, "tls.ocsp-staple": _ocsp(_P384)},
    "no-staple": {**_P256, "tls.ocsp-staple": b"nothing"},
    "no-roots": {"ca.crt": b"nothing"},
}

USELESS: Mapping[str, Values] = {
    "no-revocations": {**_ROOTS, "ca.crl": b"nothing"},
}
"""Refused by us although Envoy takes them for nothing."""
