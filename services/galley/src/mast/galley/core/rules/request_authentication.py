"""RequestAuthentication: rules about tokens, and the keys that stand in them (B3; pilot.md J2)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import urlsplit

from mast.common.jwks import NotAKeySet, key_set
from mast.galley.core.objects import ConfigObject
from mast.galley.core.problem import Finding, Path, warning
from mast.galley.core.rules import common, values
from mast.galley.core.rules.table import SPEC, Family, exclusive, prefixed, required

DEFAULT_HEADER = "authorization"

# What these say decides how a request is read, or where it goes: no place for what a token says.
_FRAMING = frozenset(
    {
        "connection", "content-length", "expect", "host", "keep-alive", "proxy-connection", "te",
        "trailer", "transfer-encoding", "upgrade",
    }
)  # fmt: skip


def _request_authentication(obj: ConfigObject) -> Iterator[Finding]:
    """Differs from Istio: what a rule sets must not be where tokens are looked for."""
    yield from common.attachment(obj)
    looked_at = {each for rule in obj.spec.jwt_rules for each in _token_headers(rule)}
    for index, rule in enumerate(obj.spec.jwt_rules):
        at = (*SPEC, "jwtRules", index)
        for where, header in _output_headers(rule, at):
            if header.lower() in looked_at:
                message = f"{header!r} is where tokens are looked for: they would never be found"
                yield Finding(where, "header", message)


def _jwt_rule(rule: Any, at: Path) -> Iterator[Finding]:
    if not rule.issuer and not rule.jwks_uri:
        yield required((*at, "issuer"), "issuer", "jwksUri")
    yield from exclusive(rule, at, "jwks_uri", "jwks")
    if rule.jwks:
        yield from keys(rule.jwks, (*at, "jwks"))
    elif not rule.jwks_uri and rule.issuer:
        yield from discovery(rule.issuer, (*at, "issuer"))
    headers = [(each.name.lower(), each.prefix) for each in rule.from_headers]
    yield from _repeated(headers, (*at, "fromHeaders"))
    yield from _repeated(rule.from_params, (*at, "fromParams"))
    yield from _repeated(rule.from_cookies, (*at, "fromCookies"))
    outputs = [(where, header.lower()) for where, header in _output_headers(rule, at)]
    for index in values.duplicates([header for _, header in outputs]):
        where, header = outputs[index]
        yield warning(where, "duplicate", f"{header!r} is set twice and will have both values")


def keys(text: str, at: Path) -> Iterator[Finding]:
    """A JSON Web Key Set in a policy: every key that is for tokens must be one that Envoy takes."""
    try:
        found = key_set(text, published=False)
    except NotAKeySet as error:
        yield Finding(at, "jwks", str(error))
        return
    for each in found.defects:
        message = f"{each.where} {each.message}"
        if each.fatal:
            yield Finding(at, "jwks", message)
        else:
            yield warning(at, "private-key" if _is_secret(each.message) else "jwks", message)
    if not found.number and not any(each.fatal for each in found.defects):
        yield Finding(at, "jwks", "no key for tokens in it; allowed: RSA, EC, OKP, oct")


def discovery(issuer: str, at: Path) -> Iterator[Finding]:
    """Without keys they are looked for at the issuer, which must be a URL for that."""
    if jwks_uri(issuer) is not None:
        message = (
            f"{issuer!r} is no URL, so that its keys cannot be found; without jwks or jwksUri"
            " every token of it is refused"
        )
        yield warning(at, "no-keys", message)


def jwks_uri(text: str) -> str | None:
    """A URL of http or https with a host that can exist."""
    complaint = values.url("http", "https")(text)
    if complaint is not None:
        return complaint
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return f"{text!r} is not a URL; allowed: https://host[:port][/path]"
    if values.host_or_ip(host) is not None:
        return f"{text!r} names no host; allowed: https://host[:port][/path]"
    if port == 0 or any(each.isspace() or not each.isprintable() for each in text):
        return f"{text!r} is not a URL; allowed: https://host[:port][/path]"
    return None


def _is_secret(message: str) -> bool:
    return "private" in message or "symmetric" in message


def _token_headers(rule: Any) -> Iterator[str]:
    """Headers in which Envoy looks for tokens of a rule (pilot.md J2)."""
    if rule.from_headers or rule.from_params or rule.from_cookies:
        yield from (each.name.lower() for each in rule.from_headers)
    else:
        yield DEFAULT_HEADER


def _output_headers(rule: Any, at: Path) -> Iterator[tuple[Path, str]]:
    """Headers that a rule sets, and where it says so."""
    if rule.output_payload_to_header:
        yield (*at, "outputPayloadToHeader"), rule.output_payload_to_header
    for index, each in enumerate(rule.output_claim_to_headers):
        yield (*at, "outputClaimToHeaders", index, "header"), each.header


def _output_header(name: str) -> str | None:
    """A header that may say what a token says.

    Differs from Istio: those that frame a request are refused.
    """
    if name.lower() in _FRAMING:
        return f"header {name!r} is not allowed: it decides how the request is read"
    return values.token(name)


def _cookie(name: str) -> str | None:
    return None if values.token(name) is None else f"{name!r} is not the name of a cookie"


def _repeated(places: Iterable[object], at: Path) -> Iterator[Finding]:
    for index in values.duplicates(list(places)):
        yield warning((*at, index), "duplicate", "the place is given twice")


_PACKAGE = "istio.security.v1beta1"

FAMILY = Family(
    fields=prefixed(
        _PACKAGE,
        {
            "JWTRule.jwks_uri": ("url", jwks_uri),
            "JWTRule.audiences": ("empty", values.nonempty),
            "JWTRule.from_params": ("empty", values.nonempty),
            "JWTRule.from_cookies": ("cookie", _cookie),
            "JWTRule.space_delimited_claims": ("empty", values.nonempty),
            "JWTRule.output_payload_to_header": ("header", _output_header),
            "JWTHeader.name": ("header", values.token),
            "JWTHeader.prefix": ("header", values.header_text),
            "ClaimToHeader.header": ("header", _output_header),
        },
    ),
    messages={f"{_PACKAGE}.JWTRule": _jwt_rule},
    objects={"RequestAuthentication": _request_authentication},
)
