"""How connections to adapters are protected, and what Mixer shows of itself (mixer.md G12)."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from cryptography import x509

from istio.policy.v1beta1 import cfg_pb2
from mast.mixer.adapters.remote.tunnel import Tunnel
from mast.mixer.core.adapter import AdapterError

Metadata = Sequence[tuple[str, str]]
FetchToken = Callable[[str, Mapping[str, str]], Awaitable[tuple[str, float]]]
"""Posts a form to a token endpoint: the access token, and the seconds that it is good for."""

_EARLY: Final = 10.0
"""Seconds before its end at which a token is renewed."""


class NoToken:
    """Calls carry no token."""

    async def metadata(self) -> Metadata:
        """Nothing."""
        return ()


@dataclass(frozen=True)
class FileToken:
    """The token that a file holds at the moment of the call."""

    path: Path
    header: str
    prefix: str = ""

    async def metadata(self) -> Metadata:
        """One header; AdapterError if the file cannot be read."""
        try:
            token = self.path.read_text().strip()
        except OSError as error:
            raise AdapterError(f"token: {error}") from error
        return ((self.header, self.prefix + token),)


class OAuthToken:
    """A token by client credentials (RFC 6749, 4.4), kept until shortly before it ends."""

    def __init__(
        self,
        oauth: cfg_pb2.OAuth,
        header: str,
        prefix: str,
        fetch: FetchToken,
        clock: Callable[[], float],
    ) -> None:
        self._oauth = oauth
        self._header, self._prefix = header, prefix
        self._fetch = fetch
        self._clock = clock
        self._token, self._until = "", 0.0

    async def metadata(self) -> Metadata:
        """One header; AdapterError if there is no token to be had."""
        if self._clock() >= self._until:
            await self._renew()
        return ((self._header, self._prefix + self._token),)

    async def _renew(self) -> None:
        oauth = self._oauth
        try:
            secret = Path(oauth.client_secret).read_text().strip()
            form = {
                **oauth.endpoint_params,
                "grant_type": "client_credentials",
                "client_id": oauth.client_id,
                "client_secret": secret,
                **({"scope": " ".join(oauth.scopes)} if oauth.scopes else {}),
            }
            self._token, seconds = await self._fetch(oauth.token_url, form)
        except OSError as error:
            raise AdapterError(f"token: {error}") from error
        self._until = self._clock() + max(seconds - _EARLY, 0)


Tokens = NoToken | FileToken | OAuthToken


@dataclass(frozen=True)
class Security:
    """How an adapter is reached: through ``tunnel``, if there is one, with ``tokens``."""

    tunnel: Tunnel | None = None
    tokens: Tokens = field(default_factory=NoToken)


def security(
    connection: cfg_pb2.Connection,
    *,
    fetch: FetchToken,
    clock: Callable[[], float],
    verify_identity: bool = True,
) -> Security:
    """What a handler's connection asks for; AdapterError if it cannot be had.

    ``verify_identity`` is off where BYPASS_OOP_MTLS_SAN_VERIFICATION is set.
    """
    kind = connection.authentication.WhichOneof("auth_type")
    if kind is None:
        return Security()
    if kind == "tls":
        tls = connection.authentication.tls
        tunnel = Tunnel(
            connection.address,
            tls.server_name,
            lambda: client_context(tls.ca_certificates),
            _anybody,
        )
        return Security(tunnel, _tokens(tls, fetch, clock))
    mutual = connection.authentication.mutual
    for name in ("private_key", "client_certificate"):
        if not getattr(mutual, name):
            raise AdapterError(f"connection.authentication.mutual.{name}: must not be empty")
    own = Path(mutual.client_certificate)
    accept = (lambda server: _same_identity(server, own)) if verify_identity else _anybody
    return Security(
        Tunnel(connection.address, mutual.server_name, lambda: _mutual_context(mutual), accept)
    )


def _tokens(tls: cfg_pb2.Tls, fetch: FetchToken, clock: Callable[[], float]) -> Tokens:
    header, prefix = "authorization", ""
    if tls.WhichOneof("token_type") == "custom_header":
        header = tls.custom_header.lower()
    elif tls.auth_header == cfg_pb2.Tls.BEARER:
        prefix = "Bearer "
    match tls.WhichOneof("token_source"):
        case "token_path":
            return FileToken(Path(tls.token_path), header, prefix)
        case "oauth":
            return OAuthToken(tls.oauth, header, prefix, fetch, clock)
        case _:
            text = "connection.authentication.tls: want tokenPath or oauth"
            raise AdapterError(text)


def client_context(authorities: str) -> ssl.SSLContext:
    """TLS of 1.2 or later with HTTP/2; those of the machine vouch if no authorities are named."""
    found = ssl.create_default_context(cafile=authorities or None)
    found.minimum_version = ssl.TLSVersion.TLSv1_2
    found.set_alpn_protocols(["h2"])
    return found


def _mutual_context(mutual: cfg_pb2.Mutual) -> ssl.SSLContext:
    found = client_context(mutual.ca_certificates)
    found.load_cert_chain(mutual.client_certificate, mutual.private_key)
    # Who the server is, is told by the identity in its certificate, unless a name is asked for.
    found.check_hostname = bool(mutual.server_name)
    return found


def _anybody(_: ssl.SSLObject) -> str:
    return ""


def _same_identity(server: ssl.SSLObject, own: Path) -> str:
    """The server must have one of the identities that we have (URIs of certificates)."""
    certificate: Any = server.getpeercert()
    theirs = {value for kind, value in certificate.get("subjectAltName", ()) if kind == "URI"}
    leaf = x509.load_pem_x509_certificates(own.read_bytes())[0]
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        ours = set(names.get_values_for_type(x509.UniformResourceIdentifier))
    except x509.ExtensionNotFound:
        ours = set()
    if theirs & ours:
        return ""
    return f"the server is {', '.join(sorted(theirs)) or 'nobody'}, want one of {sorted(ours)}"
