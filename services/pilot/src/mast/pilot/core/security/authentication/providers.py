"""Providers of jwt_authn: where tokens are found, what they must say, what becomes of them (J2)."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from envoy.extensions.filters.http.jwt_authn.v3.config_pb2 import (
    JwtClaimToHeader,
    JwtHeader,
    JwtProvider,
)

from istio.security.v1beta1.request_authentication_pb2 import JWTRule
from mast.pilot.core.model.proxy import Proxy, ProxyType
from mast.pilot.core.scope.matches import JWT_PAYLOAD

SPACE_DELIMITED: Final = ("permission", "scope")
"""Claims that are lists in one text (RFC 8693 §4.2): each word of them counts as a value."""

_CACHE_DURATION: Final = timedelta(minutes=5)
_RETRY_AFTER: Final = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class LocalKeys:
    """Keys that the proxy is given; "" are none: every token is refused with 401 (pilot.md J3)."""

    text: str = ""


@dataclass(frozen=True, slots=True)
class RemoteKeys:
    """Keys that the proxy fetches through one of its clusters."""

    uri: str
    cluster: str
    timeout: timedelta


Keys = LocalKeys | RemoteKeys


def jwt_provider(rule: JWTRule, keys: Keys, proxy: Proxy) -> JwtProvider:
    """The provider of a rule; without locations Envoy looks at the usual ones (pilot.md J2).

    On gateways a good token lets routes be looked for again, by its claims.
    """
    made = JwtProvider(
        issuer=rule.issuer,
        audiences=rule.audiences,
        from_headers=[
            JwtHeader(name=each.name, value_prefix=each.prefix) for each in rule.from_headers
        ],
        from_params=rule.from_params,
        from_cookies=rule.from_cookies,
        forward=rule.forward_original_token,
        forward_payload_header=rule.output_payload_to_header,
        claim_to_headers=[
            JwtClaimToHeader(header_name=each.header, claim_name=each.claim)
            for each in rule.output_claim_to_headers
        ],
        payload_in_metadata=JWT_PAYLOAD,
        normalize_payload_in_metadata=JwtProvider.NormalizePayload(
            space_delimited_claims=sorted({*SPACE_DELIMITED, *rule.space_delimited_claims})
        ),
        clear_route_cache=proxy.type is ProxyType.ROUTER,
    )
    _set_keys(made, keys)
    return made


def _set_keys(made: JwtProvider, keys: Keys) -> None:
    if isinstance(keys, LocalKeys):
        made.local_jwks.inline_string = keys.text
        return
    remote = made.remote_jwks
    remote.http_uri.uri = keys.uri
    remote.http_uri.cluster = keys.cluster
    remote.http_uri.timeout.FromTimedelta(keys.timeout)
    remote.cache_duration.FromTimedelta(_CACHE_DURATION)
    # No listener waits for keys (pilot.md N15).
    remote.async_fetch.fast_listener = True
    remote.async_fetch.failed_refetch_duration.FromTimedelta(_RETRY_AFTER)
