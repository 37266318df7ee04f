"""Keys and tokens of an issuer for demonstrations and tests: what `mastctl jwt` makes and reads.

Keys are JSON Web Keys (RFC 7517), tokens are JSON Web Tokens (RFC 7519) signed as RFC 7515 says.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)

RSA_BITS = 2048
_SIZE = 32
_HASH = hashes.SHA256()
_PUBLIC = ("kty", "kid", "alg", "use", "crv", "x", "y", "n", "e")


class Algorithm(StrEnum):
    """How tokens are signed."""

    ES256 = "ES256"
    RS256 = "RS256"


class NotAToken(ValueError):
    """A text is no token, or a key no key of an issuer; the message says why."""


@dataclass(frozen=True)
class Token:
    """What a token says, whoever signed it."""

    header: Mapping[str, Any]
    claims: Mapping[str, Any]
    signed: bytes
    signature: bytes


def new_key(algorithm: Algorithm, kid: str) -> dict[str, str]:
    """A private key as JSON Web Key; `kid` names it in tokens."""
    name = {"kid": kid, "alg": algorithm.value, "use": "sig"}
    if algorithm is Algorithm.RS256:
        key = rsa.generate_private_key(65537, RSA_BITS)
        private, public = key.private_numbers(), key.public_key().public_numbers()
        members = {"n": public.n, "e": public.e, "d": private.d, "p": private.p, "q": private.q}
        members |= {"dp": private.dmp1, "dq": private.dmq1, "qi": private.iqmp}
        return {"kty": "RSA", **name, **{each: _number(members[each]) for each in members}}
    curve = ec.generate_private_key(ec.SECP256R1())
    point, secret = curve.public_key().public_numbers(), curve.private_numbers().private_value
    coordinates = {"x": point.x, "y": point.y, "d": secret}
    found = {each: _encoded(number.to_bytes(_SIZE)) for each, number in coordinates.items()}
    return {"kty": "EC", "crv": "P-256", **name, **found}


def public_keys(keys: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The key set that an issuer publishes: the keys without their private parts."""
    return {"keys": [{each: key[each] for each in _PUBLIC if each in key} for key in keys]}


def claims(
    issuer: str, subject: str, audiences: Iterable[str], now: datetime, lifetime: timedelta
) -> dict[str, Any]:
    """The usual claims of a token that counts from now on (RFC 7519 §4.1)."""
    issued = int(now.timestamp())
    said: dict[str, Any] = {"iss": issuer, "sub": subject, "iat": issued}
    if listed := list(audiences):
        said["aud"] = listed[0] if len(listed) == 1 else listed
    return {**said, "exp": issued + int(lifetime.total_seconds())}


def signed(said: Mapping[str, Any], key: Mapping[str, str]) -> str:
    """A token with these claims; raises NotAToken for a key that cannot sign."""
    private = _private(key)
    algorithm = Algorithm.RS256 if isinstance(private, rsa.RSAPrivateKey) else Algorithm.ES256
    header = {"alg": algorithm.value, "typ": "JWT"}
    if "kid" in key:
        header["kid"] = key["kid"]
    content = f"{_json(header)}.{_json(said)}"
    return f"{content}.{_encoded(_signature(private, content.encode()))}"


def read(text: str) -> Token:
    """The parts of a token, not verified; raises NotAToken."""
    parts = text.strip().split(".")
    if len(parts) != 3:
        raise NotAToken(f"a token has three parts with dots between them, this text {len(parts)}")
    header, said = _object("header", parts[0]), _object("claims", parts[1])
    signature = _decoded("signature", parts[2])
    return Token(header, said, f"{parts[0]}.{parts[1]}".encode(), signature)


def verified_by(token: Token, keys: Iterable[Mapping[str, Any]]) -> str | None:
    """The ID of the key that signed a token ("" if it has none), None if none of them did.

    Raises NotAToken if the token is signed in a way that `mastctl jwt` does not know.
    """
    algorithm, wanted = token.header.get("alg"), token.header.get("kid")
    if not isinstance(algorithm, str) or algorithm not in set(Algorithm):
        raise NotAToken(f"'alg' {algorithm!r} is not verified here; known: {', '.join(Algorithm)}")
    for key in keys:
        if wanted in (None, key.get("kid")) and _fits(token, Algorithm(algorithm), key):
            return str(key.get("kid", ""))
    return None


def _fits(token: Token, algorithm: Algorithm, key: Mapping[str, Any]) -> bool:
    try:
        public = _public(key)
        if isinstance(public, rsa.RSAPublicKey) and algorithm is Algorithm.RS256:
            public.verify(token.signature, token.signed, padding.PKCS1v15(), _HASH)
            return True
        if isinstance(public, ec.EllipticCurvePublicKey) and algorithm is Algorithm.ES256:
            halves = token.signature[:_SIZE], token.signature[_SIZE:]
            form = encode_dss_signature(*(int.from_bytes(each) for each in halves))
            public.verify(form, token.signed, ec.ECDSA(_HASH))
            return len(token.signature) == 2 * _SIZE
    except (InvalidSignature, NotAToken):
        pass
    return False


def _signature(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, content: bytes) -> bytes:
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(content, padding.PKCS1v15(), _HASH)
    r, s = decode_dss_signature(key.sign(content, ec.ECDSA(_HASH)))
    return r.to_bytes(_SIZE) + s.to_bytes(_SIZE)


def _private(key: Mapping[str, str]) -> rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey:
    public = _public(key)
    names = ("d", "p", "q", "dp", "dq", "qi") if isinstance(public, rsa.RSAPublicKey) else ("d",)
    numbers = {each: _integer(key, each) for each in names}
    try:
        if isinstance(public, rsa.RSAPublicKey):
            return rsa.RSAPrivateNumbers(
                p=numbers["p"],
                q=numbers["q"],
                d=numbers["d"],
                dmp1=numbers["dp"],
                dmq1=numbers["dq"],
                iqmp=numbers["qi"],
                public_numbers=public.public_numbers(),
            ).private_key()
        return ec.EllipticCurvePrivateNumbers(numbers["d"], public.public_numbers()).private_key()
    except ValueError as error:
        raise NotAToken(f"the key is no private key: {error}") from error


def _public(key: Mapping[str, Any]) -> rsa.RSAPublicKey | ec.EllipticCurvePublicKey:
    try:
        if key.get("kty") == "RSA":
            return rsa.RSAPublicNumbers(_integer(key, "e"), _integer(key, "n")).public_key()
        if (key.get("kty"), key.get("crv")) == ("EC", "P-256"):
            x, y = _integer(key, "x"), _integer(key, "y")
            return ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    except ValueError as error:
        raise NotAToken(f"the key is no key: {error}") from error
    raise NotAToken("the key is of a kind that this command does not know; known: RSA, EC P-256")


def _integer(key: Mapping[str, Any], name: str) -> int:
    value = key.get(name)
    if not isinstance(value, str):
        raise NotAToken(f"the key has no {name!r}")
    return int.from_bytes(_decoded(name, value))


def _object(what: str, text: str) -> dict[str, Any]:
    try:
        found = json.loads(_decoded(what, text))
    except (ValueError, RecursionError) as error:
        raise NotAToken(f"the {what} of the token is not JSON in base64url") from error
    if not isinstance(found, dict):
        raise NotAToken(f"the {what} of the token is no JSON object")
    return found


def _decoded(what: str, text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise NotAToken(f"the {what} is not base64url") from error


def _json(content: Mapping[str, Any]) -> str:
    return _encoded(json.dumps(content, separators=(",", ":")).encode())


def _number(value: int) -> str:
    return _encoded(value.to_bytes((value.bit_length() + 7) // 8))


def _encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
