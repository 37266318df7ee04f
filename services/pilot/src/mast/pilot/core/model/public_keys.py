"""Keys that issuers of tokens publish: where policies say they are, and what was fetched there."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from mastapi.jwks.v1.jwks_pb2 import PublishedKeys

DISCOVERY_PATH: Final = "/.well-known/openid-configuration"
"""Where below an issuer its OpenID configuration is (OpenID Connect Discovery 1.0 §4)."""


class KeyFetching(StrEnum):
    """Who fetches keys (Istio: PILOT_JWT_ENABLE_REMOTE_JWKS)."""

    PILOT = "false"
    """Pilot does: proxies need not reach the issuer."""
    HYBRID = "hybrid"
    """The proxy does if the host of the URI is a service that it knows, Pilot if not."""
    ENVOY = "envoy"
    """The proxy does whenever a policy has a URI."""

    @classmethod
    def of(cls, text: str) -> "KeyFetching":
        """What a setting says, in Istio's words; raises ValueError that names those allowed."""
        words = {"istiod": cls.PILOT, "true": cls.HYBRID, **{each.value: each for each in cls}}
        try:
            return words[text.lower()]
        except KeyError:
            allowed = ", ".join(sorted(words))
            message = f"remote JWKS {text!r} is not allowed; allowed: {allowed}"
            raise ValueError(message) from None


class KeySource(NamedTuple):
    """The URI of a key set, or else the issuer whose OpenID configuration tells it."""

    jwks_uri: str = ""
    issuer: str = ""

    @property
    def url(self) -> str:
        """What is fetched first."""
        return self.jwks_uri or self.issuer.rstrip("/") + DISCOVERY_PATH

    def __str__(self) -> str:
        return shown(self.url)


@dataclass(frozen=True, slots=True)
class PublicKeys:
    """What is known of a source: a key set of usable keys, "" if there was none yet.

    `failure` tells why the last fetch failed, "" if it did not; `defects` why keys were left out.
    """

    text: str = ""
    failure: str = ""
    defects: tuple[str, ...] = ()


NOT_FETCHED: Final = PublicKeys(failure="they have not been fetched yet")


def key_source(rule: Any) -> KeySource | None:
    """Where the keys of a rule about tokens are published; None if the rule holds them itself.

    `rule` has `jwks`, `jwks_uri` and `issuer`: a JWTRule, or Jwt of Istio 1.0 to 1.4 (pilot.md J3).
    """
    if rule.jwks:
        return None
    if rule.jwks_uri:
        return KeySource(jwks_uri=rule.jwks_uri)
    return KeySource(issuer=rule.issuer)


def public_keys(record: PublishedKeys) -> PublicKeys:
    """What a stored record says; its times are for whoever fetches."""
    return PublicKeys(record.keys, record.failure, tuple(record.defects))


def source_of(record: PublishedKeys) -> KeySource:
    """What a stored record is about."""
    return KeySource(record.jwks_uri, record.issuer)


def shown(url: str) -> str:
    """A URL without what may be secret in it: user, password, query."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return url.partition("?")[0].rpartition("@")[2]
    bracketed = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{bracketed}{port}{parts.path}"
