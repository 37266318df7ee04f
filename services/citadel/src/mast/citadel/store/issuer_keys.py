"""Public keys of token issuers: fetched in the background and kept, or read from a file (A5).

Section numbers are those of citadel-and-agent.md.
"""

import asyncio
import ipaddress
import json
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import structlog
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jwt.algorithms import get_default_algorithms

from mast.citadel.core.jwt import JwtRule, VerifyingKey, parse_keys
from mast.citadel.core.refusals import Unauthenticated
from mast.common.backoff import Backoff
from mast.common.latest import Latest

log = structlog.get_logger()

MAX_BYTES = 1 << 20
_DISCOVERY = "/.well-known/openid-configuration"


class KeysUnavailable(Exception):
    """The keys of an issuer could not be had; says why."""


def checked_url(url: str) -> str:
    """The URL, if nobody in between can change what is read from it: https, or this machine.

    Raises ValueError.
    """
    parts = urlsplit(url)
    if parts.scheme == "https" and parts.hostname:
        return url
    if parts.scheme == "http" and parts.hostname and _is_local(parts.hostname):
        return url
    raise ValueError(f"URL {url!r}: want https, or http on this machine")


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@dataclass(kw_only=True)
class FetchedKeys:
    """The keys of one issuer, kept while the issuer is away.

    They are fetched every ``interval``, and when a token names a key that is not among them: not
    more often than every ``pause``, so that made-up names cost nothing.
    """

    rule: JwtRule
    ca_pem: bytes = b""
    random: Callable[[], float]
    interval: timedelta = timedelta(minutes=20)
    pause: timedelta = timedelta(seconds=10)
    patience: timedelta = timedelta(seconds=3)
    timeout: timedelta = timedelta(seconds=5)
    _held: Latest[Sequence[VerifyingKey] | None] = field(
        default_factory=lambda: Latest(None), init=False
    )
    _wanted: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _asked_at: float = field(default=float("-inf"), init=False)

    async def keys(self, key_id: str) -> Sequence[VerifyingKey]:
        """The keys, newer ones if none has this id; Unauthenticated if there are none at all."""
        held = self._held.value
        if held is None or (key_id and all(key.id != key_id for key in held)):
            held = await self._newer(held)
        if held is None:
            raise Unauthenticated(f"keys of {self.rule.issuer} could not be had so far")
        return held

    async def _newer(self, held: Sequence[VerifyingKey] | None) -> Sequence[VerifyingKey] | None:
        now = asyncio.get_running_loop().time()
        if now - self._asked_at >= self.pause.total_seconds():
            self._asked_at = now
            self._wanted.set()
        elif not self._wanted.is_set():
            return self._held.value
        with suppress(TimeoutError):
            async with asyncio.timeout(self.patience.total_seconds()):
                await self._held.after(held)
        return self._held.value

    async def run(self) -> None:
        """Keep the keys fresh, for ever."""
        backoff = Backoff(timedelta(seconds=1), timedelta(minutes=1))
        failing = False
        async with self._session() as session:
            while True:
                delay = self.interval
                try:
                    self._held.publish(await self._fetch(session))
                    backoff.reset()
                    failing = False
                except KeysUnavailable as error:
                    if not failing:
                        log.warning("keys.unavailable", issuer=self.rule.issuer, error=str(error))
                    failing = True
                    delay = backoff.next(self.random())
                self._wanted.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(delay.total_seconds()):
                        await self._wanted.wait()

    def _session(self) -> aiohttp.ClientSession:
        context = ssl.create_default_context(cadata=self.ca_pem.decode() or None)
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=context, limit=2),
            timeout=aiohttp.ClientTimeout(total=self.timeout.total_seconds()),
        )

    async def _fetch(self, session: aiohttp.ClientSession) -> Sequence[VerifyingKey]:
        uri = self.rule.jwks_uri or await self._discovered(session)
        text = await self._get(session, uri)
        try:
            return parse_keys(text)
        except ValueError as error:
            raise KeysUnavailable(f"{uri}: {error}") from error

    async def _discovered(self, session: aiohttp.ClientSession) -> str:
        """Where the issuer says that its keys are (OpenID Connect Discovery)."""
        url = self.rule.issuer.rstrip("/") + _DISCOVERY
        try:
            document = json.loads(await self._get(session, url))
            issuer, uri = document["issuer"], document["jwks_uri"]
        except (ValueError, KeyError, TypeError) as error:
            raise KeysUnavailable(f"{url}: no discovery document") from error
        if issuer != self.rule.issuer:
            raise KeysUnavailable(f"{url}: is of issuer {issuer!r}")
        return str(uri)

    async def _get(self, session: aiohttp.ClientSession, url: str) -> bytes:
        try:
            async with session.get(checked_url(url), allow_redirects=False) as response:
                if response.status != 200:
                    raise KeysUnavailable(f"{url}: status {response.status}")
                body = await response.content.read(MAX_BYTES + 1)
                while len(body) <= MAX_BYTES and (more := await response.content.read(MAX_BYTES)):
                    body += more
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise KeysUnavailable(f"{url}: {error or type(error).__name__}") from error
        if len(body) > MAX_BYTES:
            raise KeysUnavailable(f"{url}: more than {MAX_BYTES} bytes")
        return body


@dataclass
class FileKeys:
    """Keys of a file, JWKS or public keys in PEM, read again when it changes.

    A file that is damaged leaves the last good keys in force.
    """

    path: Path
    _read: bytes = b""
    _keys: Sequence[VerifyingKey] = ()

    def load(self) -> None:
        """Take up the file; ValueError or OSError if that cannot be."""
        text = self.path.read_bytes()
        if text != self._read:
            self._keys = keys_of(text)
            self._read = text

    async def keys(self, key_id: str) -> Sequence[VerifyingKey]:
        """The keys, whatever id is asked for."""
        try:
            self.load()
        except (OSError, ValueError) as error:
            log.error("keys.rejected", file=str(self.path), error=str(error))
        return self._keys


def keys_of(text: bytes) -> tuple[VerifyingKey, ...]:
    """The keys of a JWKS, or of PEM blocks ``PUBLIC KEY``; ValueError if there are none."""
    if b"-----BEGIN" not in text:
        return parse_keys(text)
    entries = []
    algorithms = get_default_algorithms()
    for block in text.split(b"-----END PUBLIC KEY-----")[:-1]:
        try:
            key = load_pem_public_key(block + b"-----END PUBLIC KEY-----\n")
        except (ValueError, UnsupportedAlgorithm) as error:
            raise ValueError("PEM: a public key does not parse") from error
        for name in ("RS256", "ES256", "EdDSA"):
            with suppress(Exception):
                entries.append(json.loads(algorithms[name].to_jwk(key)))
                break
    return parse_keys(json.dumps({"keys": entries}))
