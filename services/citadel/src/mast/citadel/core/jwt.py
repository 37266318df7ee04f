"""JSON Web Tokens as identities: what is verified, and what they must say (A5).

Section numbers are those of citadel-and-agent.md.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
from jwt.types import Options

from mast.citadel.core.keys import MIN_RSA_BITS
from mast.citadel.core.refusals import Unauthenticated
from mast.common.jwks import key_set

# By asymmetric keys only: "none" proves nothing, and whoever can verify a MAC can make it.
ALGORITHMS = (
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "EdDSA",
)
MAX_BYTES = 16 << 10
# Between our clock and an issuer's, for "nbf" and "iat".
SKEW = timedelta(seconds=60)

_ACCOUNT = "system:serviceaccount:"
_RULE_FIELDS = {"issuer", "audiences", "jwksUri", "jwks_uri", "jwks"}
# The times are compared with the clock that we are told.
_OPTIONS: Options = {
    "verify_signature": True,
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
    "verify_aud": False,
    "verify_iss": False,
    "require": [],
}


@dataclass(frozen=True)
class JwtRule:
    """Whose tokens count and for whom they must be made (``JWT_RULE``).

    Keys come from ``jwks`` if it is there, else from ``jwks_uri``, else from where the issuer's
    discovery document says.
    """

    issuer: str
    audiences: tuple[str, ...]
    jwks_uri: str = ""
    jwks: str = ""


def parse_rule(text: str, default_audiences: Sequence[str]) -> JwtRule:
    """Read ``JWT_RULE``; ValueError names the field. Without audiences ours are wanted."""
    try:
        found = json.loads(text)
    except ValueError as error:
        raise ValueError(f"JWT rule is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise ValueError("JWT rule is no object")
    if unknown := set(found) - _RULE_FIELDS:
        fields = ", ".join(sorted(_RULE_FIELDS))
        raise ValueError(f"JWT rule: unknown {', '.join(sorted(unknown))}; allowed: {fields}")
    audiences = found.get("audiences") or list(default_audiences)
    issuer = found.get("issuer")
    uri = found.get("jwksUri") or found.get("jwks_uri") or ""
    jwks = found.get("jwks") or ""
    if not isinstance(issuer, str) or not issuer:
        raise ValueError(f"JWT rule: issuer {issuer!r}: want a text")
    if not isinstance(audiences, list) or not all(isinstance(a, str) and a for a in audiences):
        raise ValueError(f"JWT rule: audiences {audiences!r}: want a list of texts")
    if not isinstance(uri, str) or not isinstance(jwks, str):
        raise ValueError("JWT rule: jwksUri and jwks: want texts")
    if jwks:
        parse_keys(jwks)
    return JwtRule(issuer, tuple(audiences), uri, jwks)


@dataclass(frozen=True)
class VerifyingKey:
    """A public key, its id ("" for none), and the algorithms of the signatures it verifies."""

    id: str
    key: Any
    algorithms: tuple[str, ...]


def parse_keys(text: str | bytes) -> tuple[VerifyingKey, ...]:
    """The public keys of a JWKS that can verify; others in it are left out.

    Raises ValueError if it is no JWKS or has no such key.
    """
    usable = key_set(text, published=True)
    found = [key for entry in json.loads(usable.text)["keys"] if (key := _key(entry)) is not None]
    if not found:
        raise ValueError("JWKS: no key that can verify a signature")
    return tuple(found)


def _key(entry: Mapping[str, Any]) -> VerifyingKey | None:
    """A key that `key_set` found whole; None if it verifies nothing that counts."""
    key = jwt.PyJWK(dict(entry))
    algorithms = _algorithms(entry, key)
    return VerifyingKey(str(entry.get("kid") or ""), key.key, algorithms) if algorithms else None


def _algorithms(entry: Mapping[str, Any], key: jwt.PyJWK) -> tuple[str, ...]:
    """The one that the key names, else those of its kind; none for what does not count."""
    if key.key_type == "RSA":
        if key.key.key_size < MIN_RSA_BITS:
            return ()
        fitting = tuple(name for name in ALGORITHMS if name[:2] in ("RS", "PS"))
    else:
        fitting = (key.algorithm_name,) if key.algorithm_name in ALGORITHMS else ()
    named = entry.get("alg")
    return tuple(name for name in fitting if named in (None, name))


@dataclass(frozen=True)
class Unverified:
    """What a token says before anything of it is believed: where to look for its key."""

    issuer: str
    key_id: str
    algorithm: str


def unverified(token: str) -> Unverified:
    """Take a token apart; Unauthenticated if it is none, or signed by nothing that counts."""
    if len(token) > MAX_BYTES:
        raise Unauthenticated(f"JWT: {len(token)} characters, want at most {MAX_BYTES}")
    try:
        header = jwt.get_unverified_header(token)
        claims = jwt.decode(token, options={**_OPTIONS, "verify_signature": False})
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as error:
        raise Unauthenticated("JWT: not readable") from error
    algorithm = header.get("alg")
    if algorithm not in ALGORITHMS:
        raise Unauthenticated(f"JWT: algorithm {str(algorithm)[:20]!r} does not count")
    return Unverified(str(claims.get("iss", "")), str(header.get("kid") or ""), str(algorithm))


def verified(
    token: str, keys: Sequence[VerifyingKey], rule: JwtRule, now: datetime
) -> Mapping[str, Any]:
    """The claims of a token that one of the keys signed, by the rule's issuer, for its audience.

    A key that has an id, or an algorithm, verifies tokens with the same only. Raises
    Unauthenticated.
    """
    stated = unverified(token)
    claims = _signed(token, stated, keys)
    if claims.get("iss") != rule.issuer:
        raise Unauthenticated("JWT: of another issuer")
    _check_times(claims, now)
    _check_audience(claims, rule.audiences)
    return claims


def _signed(token: str, stated: Unverified, keys: Sequence[VerifyingKey]) -> Mapping[str, Any]:
    for key in keys:
        if stated.key_id and key.id and key.id != stated.key_id:
            continue
        if stated.algorithm not in key.algorithms:
            continue
        try:
            return jwt.decode(token, key.key, algorithms=[stated.algorithm], options=_OPTIONS)
        except (jwt.PyJWTError, ValueError, TypeError):
            continue
    raise Unauthenticated("JWT: no key of the issuer verifies it")


def _check_times(claims: Mapping[str, Any], now: datetime) -> None:
    """``exp`` must be there; ``nbf`` and ``iat`` may be a little in the future."""
    if _time(claims, "exp", required=True) <= now:
        raise Unauthenticated("JWT: expired")
    for name in ("nbf", "iat"):
        if _time(claims, name) > now + SKEW:
            raise Unauthenticated(f"JWT: {name} is in the future")


def _time(claims: Mapping[str, Any], name: str, *, required: bool = False) -> datetime:
    value = claims.get(name)
    if value is None and not required:
        return datetime.min.replace(tzinfo=UTC)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Unauthenticated(f"JWT: {name}: want a number")
    try:
        return datetime.fromtimestamp(value, tz=UTC)
    except (OverflowError, OSError, ValueError) as error:
        raise Unauthenticated(f"JWT: {name}: no time") from error


def _check_audience(claims: Mapping[str, Any], wanted: Sequence[str]) -> None:
    audience = claims.get("aud")
    given = audience if isinstance(audience, list) else [audience]
    if not any(each in wanted for each in given if isinstance(each, str)):
        raise Unauthenticated("JWT: for another audience")


def service_account(subject: Any) -> tuple[str, str]:
    """Namespace and account of ``system:serviceaccount:ns:sa``; Unauthenticated for any other."""
    parts = str(subject).split(":")
    if not isinstance(subject, str) or not subject.startswith(_ACCOUNT) or len(parts) != 4:
        raise Unauthenticated("token is of no service account")
    return parts[2], parts[3]
