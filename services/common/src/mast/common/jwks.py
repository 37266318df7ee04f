"""JSON Web Key Sets (RFC 7517): which of their keys Envoy can verify tokens with, and why not all.

Envoy refuses a whole listener because of a set without keys that it understands (pilot.md J3). So
it is given sets that are written anew, of usable keys and nothing else about them.

Differs from Istio: published symmetric keys, and keys for other uses than signatures, do not count.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

MAX_BYTES: Final = 1 << 20
MAX_KEYS: Final = 100
RSA_BITS: Final = (1024, 8192)
RSA_EXPONENTS: Final = (3, 65537)
LONGEST_KID: Final = 1024
"""Limits of Envoy's library, and ours: a set is part of every listener of a workload."""

_RSA_ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_HMAC_ALGORITHMS: Final = ("HS256", "HS384", "HS512")
_CURVES: Final[Mapping[str, tuple[str, ec.EllipticCurve]]] = {
    "P-256": ("ES256", ec.SECP256R1()),
    "P-384": ("ES384", ec.SECP384R1()),
    "P-521": ("ES512", ec.SECP521R1()),
}
_CURVE_OF: Final = {algorithm: curve for curve, (algorithm, _) in _CURVES.items()}
_OTHER_USES: Final = re.compile(r"RSA1_5|RSA-OAEP.*|ECDH-ES.*|A\d{3}.*|dir|PBES2-.*|ES256K")
"""Algorithms of JOSE that are not for signatures, or unknown to Envoy."""
_PRIVATE: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth"})
_BASE64URL: Final = re.compile(r"[-_0-9A-Za-z]+={0,2}")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_CERTIFICATE: Final = "-----BEGIN CERTIFICATE-----"


class NotAKeySet(ValueError):
    """A text is no JSON Web Key Set at all; the message says why and holds nothing of the text."""


@dataclass(frozen=True, slots=True)
class Defect:
    """Something about one key, whose place is `where`; the message holds nothing secret.

    Keys with a defect that is `fatal` look as if they should verify tokens, but cannot. Others are
    left out because they are for something else, or are used all the same.
    """

    where: str
    message: str
    fatal: bool = True


@dataclass(frozen=True, slots=True)
class KeySet:
    """The usable keys of a set, as JSON with one way of writing it, and what is wrong with it."""

    text: str
    number: int
    defects: tuple[Defect, ...] = ()


class _Unusable(ValueError):
    """Why a key is left out."""

    def __init__(self, message: str, *, fatal: bool = True) -> None:
        super().__init__(message)
        self.fatal = fatal


def key_set(text: str | bytes, *, published: bool) -> KeySet:
    """The keys of a JSON Web Key Set, or of certificates by key ID; raises `NotAKeySet`.

    In sets that are `published` a symmetric key is no key: whoever reads it could sign with it.
    """
    found = _keys(_parsed(text))
    usable: list[Mapping[str, str]] = []
    defects: list[Defect] = []
    for where, key in found[:MAX_KEYS]:
        try:
            usable.append(_usable(key, published=published))
        except _Unusable as error:
            defects.append(Defect(where, str(error), fatal=error.fatal))
        else:
            defects += _remarks(where, key)
    if len(found) > MAX_KEYS:
        defects.append(Defect("keys", f"{len(found)} keys; allowed: {MAX_KEYS}"))
    content = json.dumps({"keys": usable}, sort_keys=True, separators=(",", ":"))
    return KeySet(content, len(usable), tuple(defects))


def _parsed(text: str | bytes) -> Mapping[str, Any]:
    if len(text) > MAX_BYTES:
        raise NotAKeySet(f"{len(text)} bytes; allowed: {MAX_BYTES}")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        why = error.msg if isinstance(error, json.JSONDecodeError) else type(error).__name__
        raise NotAKeySet(f"not JSON: {why}") from error
    if not isinstance(content, dict):
        raise NotAKeySet("not a JSON Web Key Set: needs 'keys', a list of objects")
    return content


def _keys(content: Mapping[str, Any]) -> Sequence[tuple[str, Mapping[str, Any]]]:
    """Keys and their places in a set."""
    keys = content.get("keys")
    if isinstance(keys, list) and all(isinstance(each, dict) for each in keys):
        return [(f"keys[{index}]", each) for index, each in enumerate(keys)]
    if keys is None and content and all(map(_is_certificate, content.values())):
        return [(kid, {"kid": kid, "x5c": pem}) for kid, pem in content.items()]
    raise NotAKeySet("not a JSON Web Key Set: needs 'keys', a list of objects")


def _is_certificate(value: object) -> bool:
    return isinstance(value, str) and value.lstrip().startswith(_CERTIFICATE)


def _usable(key: Mapping[str, Any], *, published: bool) -> Mapping[str, str]:
    """What Envoy needs of a key."""
    operations = key.get("key_ops")
    if key.get("use", "sig") != "sig" or (operations and "verify" not in _texts(operations)):
        raise _Unusable("is not for signatures and is left out", fatal=False)
    if "kty" not in key and isinstance(key.get("x5c"), str):
        key = {**_of_certificate(key["x5c"]), "kid": key["kid"]}
    kind = key.get("kty")
    if kind == "RSA":
        made = _rsa(key)
    elif kind == "EC":
        made = _elliptic(key)
    elif kind == "OKP":
        made = _edwards(key)
    elif kind == "oct":
        made = _symmetric(key, published=published)
    elif isinstance(kind, str) and kind:
        raise _Unusable(f"'kty' {kind[:20]!r} is left out; known: RSA, EC, OKP, oct", fatal=False)
    else:
        raise _Unusable("has no 'kty'; allowed: RSA, EC, OKP, oct")
    return {**made, **_name(key)}


def _remarks(where: str, key: Mapping[str, Any]) -> Iterator[Defect]:
    if key.get("kty") == "oct":
        message = "is symmetric: whoever may read it can sign tokens"
        yield Defect(where, message, fatal=False)
    elif _PRIVATE & set(key):
        yield Defect(where, "holds its private part; leave it out", fatal=False)


def _texts(values: object) -> Sequence[str]:
    return [each for each in values if isinstance(each, str)] if isinstance(values, list) else []


def _name(key: Mapping[str, Any]) -> Mapping[str, str]:
    """Its key ID; a number, as some issuers have, is no text that tokens could repeat."""
    kid = key.get("kid")
    if not isinstance(kid, str):
        return {}
    try:
        kid.encode()
    except UnicodeEncodeError as error:
        raise _Unusable("'kid' is not Unicode") from error
    if _CONTROL.search(kid):
        raise _Unusable("'kid' has control characters")
    if len(kid) > LONGEST_KID:
        raise _Unusable(f"'kid' has {len(kid)} characters; allowed: {LONGEST_KID}")
    return {"kid": kid}


def _algorithm(key: Mapping[str, Any], allowed: Sequence[str]) -> Mapping[str, str]:
    """The only algorithm of tokens that a key is for, if it says so."""
    if "alg" not in key:
        return {}
    algorithm = key["alg"]
    if algorithm in allowed:
        return {"alg": algorithm}
    if not isinstance(algorithm, str):
        raise _Unusable(f"'alg' is no text; allowed: {', '.join(allowed)}")
    other = _OTHER_USES.fullmatch(algorithm) is not None
    message = f"has 'alg' {algorithm[:20]!r}; allowed: {', '.join(allowed)}"
    raise _Unusable(message, fatal=not other)


def _rsa(key: Mapping[str, Any]) -> Mapping[str, str]:
    algorithm = _algorithm(key, _RSA_ALGORITHMS)
    modulus, exponent = _integer(key, "n"), _integer(key, "e")
    least, most = RSA_BITS
    if not least <= modulus.bit_length() <= most:
        bits = modulus.bit_length()
        raise _Unusable(f"'n' has {bits} bits; allowed: {least} to {most}")
    if exponent not in RSA_EXPONENTS:
        raise _Unusable("'e' is not allowed; allowed: 3 (Aw), 65537 (AQAB)")
    if modulus % 2 == 0:
        raise _Unusable("'n' is even, and so of no RSA key")
    return {"kty": "RSA", "n": _encoded(modulus), "e": _encoded(exponent), **algorithm}


def _elliptic(key: Mapping[str, Any]) -> Mapping[str, str]:
    algorithm = _algorithm(key, [each for each, _ in _CURVES.values()])
    curve = key.get("crv", _CURVE_OF[algorithm.get("alg", "ES256")])
    if not isinstance(curve, str) or curve not in _CURVES:
        known = isinstance(curve, str)
        raise _Unusable(f"'crv' is not allowed; allowed: {', '.join(_CURVES)}", fatal=not known)
    own, parameters = _CURVES[curve]
    if algorithm.get("alg", own) != own:
        raise _Unusable(f"'alg' {algorithm['alg']} is not for 'crv' {curve}; allowed: {own}")
    x, y = _integer(key, "x"), _integer(key, "y")
    try:
        ec.EllipticCurvePublicNumbers(x, y, parameters).public_key()
    except ValueError as error:
        raise _Unusable(f"'x' and 'y' are no point of {curve}") from error
    size = (parameters.key_size + 7) // 8
    return {"kty": "EC", "crv": curve, "x": _padded(x, size), "y": _padded(y, size), **algorithm}


def _edwards(key: Mapping[str, Any]) -> Mapping[str, str]:
    algorithm = _algorithm(key, ["EdDSA"])
    curve = key.get("crv")
    if curve != "Ed25519":
        known = isinstance(curve, str)
        raise _Unusable("'crv' is not allowed; allowed: Ed25519", fatal=not known)
    content = _bytes(key, "x")
    try:
        ed25519.Ed25519PublicKey.from_public_bytes(content)
    except ValueError as error:
        raise _Unusable(f"'x' has {len(content)} bytes; allowed: 32") from error
    return {"kty": "OKP", "crv": "Ed25519", "x": _text(content), **algorithm}


def _symmetric(key: Mapping[str, Any], *, published: bool) -> Mapping[str, str]:
    if published:
        raise _Unusable("is symmetric, but published: everybody could sign with it")
    algorithm = _algorithm(key, _HMAC_ALGORITHMS)
    return {"kty": "oct", "k": _text(_bytes(key, "k")), **algorithm}


def _of_certificate(pem: str) -> Mapping[str, str]:
    """The key of a certificate as a JSON Web Key."""
    try:
        key = x509.load_pem_x509_certificate(pem.encode()).public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _Unusable("is no certificate in PEM") from error
    if isinstance(key, rsa.RSAPublicKey):
        numbers = key.public_numbers()
        return {"kty": "RSA", "n": _encoded(numbers.n), "e": _encoded(numbers.e)}
    if isinstance(key, ec.EllipticCurvePublicKey):
        point = key.public_numbers()
        names = [name for name, (_, own) in _CURVES.items() if own.name == key.curve.name]
        return {"kty": "EC", "crv": "".join(names), "x": _encoded(point.x), "y": _encoded(point.y)}
    raise _Unusable("is a certificate with a key that is neither RSA nor ECDSA")


def _bytes(key: Mapping[str, Any], name: str) -> bytes:
    """The bytes of a member, which must be base64url."""
    value = key.get(name)
    if value is None:
        raise _Unusable(f"has no {name!r}")
    if not isinstance(value, str) or not _BASE64URL.fullmatch(value):
        raise _Unusable(f"{name!r} is not base64url")
    bare = value.rstrip("=")
    try:
        return base64.b64decode(bare + "=" * (-len(bare) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise _Unusable(f"{name!r} is not base64url") from error


def _integer(key: Mapping[str, Any], name: str) -> int:
    return int.from_bytes(_bytes(key, name))


def _encoded(number: int) -> str:
    return _padded(number, max(1, (number.bit_length() + 7) // 8))


def _padded(number: int, size: int) -> str:
    return _text(number.to_bytes(size))


def _text(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
