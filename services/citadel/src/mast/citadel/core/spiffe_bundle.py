"""SPIFFE trust bundles as JSON: ours for other meshes, theirs for us (A8.4).

Section numbers are those of citadel-and-agent.md; the format is SPIFFE's "Trust Domain and Bundle".
"""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

MAX_BYTES = 1 << 20
USE = "x509-svid"

_CURVES = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}
_LONGEST_HINT = timedelta(days=1)


class InvalidBundle(ValueError):
    """A document that is no SPIFFE bundle, or vouches for nothing; says what is wrong."""


@dataclass(frozen=True)
class SpiffeBundle:
    """Roots of a trust domain. The sequence rises with every change; None if it is not told."""

    roots: tuple[x509.Certificate, ...]
    sequence: int | None = None
    refresh_hint: timedelta | None = None


def document(bundle: SpiffeBundle) -> str:
    """The bundle as JSON."""
    told: dict[str, Any] = {"keys": [_jwk(root) for root in bundle.roots]}
    if bundle.sequence is not None:
        told["spiffe_sequence"] = bundle.sequence
    if bundle.refresh_hint is not None:
        told["spiffe_refresh_hint"] = max(1, int(bundle.refresh_hint.total_seconds()))
    return json.dumps(told, indent=2)


def _jwk(root: x509.Certificate) -> dict[str, Any]:
    der = base64.b64encode(root.public_bytes(Encoding.DER)).decode()
    return {"use": USE, **_key(root.public_key()), "x5c": [der]}


def _key(key: object) -> dict[str, str]:
    """A public key by its numbers (RFC 7518)."""
    if isinstance(key, ec.EllipticCurvePublicKey):
        size, numbers = (key.key_size + 7) // 8, key.public_numbers()
        point = {name: _url(getattr(numbers, name).to_bytes(size)) for name in ("x", "y")}
        return {"kty": "EC", "crv": _CURVES.get(key.curve.name, key.curve.name), **point}
    if isinstance(key, rsa.RSAPublicKey):
        public = key.public_numbers()
        values = {"n": public.n, "e": public.e}
        octets = {k: v.to_bytes((v.bit_length() + 7) // 8) for k, v in values.items()}
        return {"kty": "RSA", **{name: _url(value) for name, value in octets.items()}}
    return {"kty": "OKP"}


def _url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def parsed(text: bytes) -> SpiffeBundle:
    """A document's roots: of every key for X.509 exactly one certificate, which must be a CA.

    Keys for other uses are left out. Raises InvalidBundle, also if nothing is left.
    """
    if len(text) > MAX_BYTES:
        raise InvalidBundle(f"{len(text)} bytes, want at most {MAX_BYTES}")
    try:
        told = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidBundle("no JSON") from error
    keys = told.get("keys") if isinstance(told, dict) else None
    if not isinstance(keys, list):
        raise InvalidBundle("no list 'keys'")
    roots = tuple(_root(key, index) for index, key in enumerate(keys) if _is_ours(key))
    if not roots:
        raise InvalidBundle(f"no key has the use {USE!r}")
    return SpiffeBundle(roots, _number(told, "spiffe_sequence"), _hint(told))


def _is_ours(key: object) -> bool:
    return isinstance(key, dict) and key.get("use") == USE


def _root(key: Any, index: int) -> x509.Certificate:
    chain = key.get("x5c")
    if not isinstance(chain, list) or len(chain) != 1 or not isinstance(chain[0], str):
        raise InvalidBundle(f"keys[{index}]: want exactly one certificate in 'x5c'")
    try:
        root = x509.load_der_x509_certificate(base64.b64decode(chain[0], validate=True))
    except ValueError as error:
        raise InvalidBundle(f"keys[{index}]: 'x5c' holds no certificate") from error
    if not is_ca(root):
        raise InvalidBundle(f"keys[{index}]: {root.subject.rfc4514_string()!r} is no CA")
    return root


def is_ca(certificate: x509.Certificate) -> bool:
    """Whether a certificate may issue others (RFC 5280, "basicConstraints")."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    except (x509.ExtensionNotFound, ValueError, x509.DuplicateExtension):
        return False
    return found.value.ca


def _number(told: dict[str, Any], name: str) -> int | None:
    value = told.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 64:
        raise InvalidBundle(f"{name}: want a number, not {value!r}")
    return value


def _hint(told: dict[str, Any]) -> timedelta | None:
    seconds = _number(told, "spiffe_refresh_hint")
    if seconds is None:
        return None
    return min(timedelta(seconds=max(1, min(seconds, 1 << 30))), _LONGEST_HINT)


def certificate_authorities(pem: bytes) -> Sequence[x509.Certificate]:
    """The certificates of a PEM text; ValueError if it has none, or one that is no CA (A8.3)."""
    found = x509.load_pem_x509_certificates(pem)
    for each in found:
        if not is_ca(each):
            raise ValueError(f"{each.subject.rfc4514_string()!r} is no CA")
    return found
