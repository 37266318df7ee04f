"""Fetches key sets of issuers over HTTP: checked TLS, limits of time and size, no secrets told."""

import asyncio
import json
import socket
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

from mast.common.jwks import MAX_BYTES, KeySet, NotAKeySet, key_set
from mast.pilot.core.model.public_keys import KeySource, shown

_REDIRECTS: Final = (301, 302, 303, 307, 308)
_MOST_REDIRECTS: Final = 5
_SCHEMES: Final = ("http", "https")


class FetchFailed(Exception):
    """Why there are no keys; the message holds nothing secret of URL or content."""


@dataclass(frozen=True, kw_only=True)
class KeyFetch:
    """How keys are fetched.

    `roots_file` holds certificates that are trusted beside those of the machine. Addresses in
    `blocked` are not connected to, whatever names lead there: who writes policies could otherwise
    have Pilot call what only Pilot can reach (Istio: BLOCKED_CIDRS_IN_JWKS_URIS).
    """

    roots_file: Path | None = None
    blocked: Sequence[IPv4Network | IPv6Network] = ()

    async def __call__(self, source: KeySource, timeout: timedelta) -> KeySet:
        """The usable keys of a source; raises `FetchFailed`, and never takes longer than that."""
        try:
            async with asyncio.timeout(timeout.total_seconds()):
                return await self._keys(source)
        except TimeoutError as error:
            seconds = f"{timeout.total_seconds():g}s"
            raise FetchFailed(f"{source}: no answer within {seconds}") from error

    async def _keys(self, source: KeySource) -> KeySet:
        connector = aiohttp.TCPConnector(resolver=_Guarded(self.blocked), use_dns_cache=False)
        async with aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=None),
            auto_decompress=False,
            headers={"accept": "application/json", "accept-encoding": "identity"},
        ) as session:
            uri = source.jwks_uri or await self._discovered(session, source)
            body = await self._get(session, uri)
        try:
            found = key_set(body, published=True)
        except NotAKeySet as error:
            raise FetchFailed(f"{shown(uri)}: {error}") from error
        if not found.number:
            why = "; ".join(f"{each.where} {each.message}" for each in found.defects[:5])
            raise FetchFailed(f"{shown(uri)}: no usable key{f': {why}' if why else ''}")
        return found

    async def _discovered(self, session: aiohttp.ClientSession, source: KeySource) -> str:
        """The `jwks_uri` of an OpenID configuration (OpenID Connect Discovery 1.0 §4.2)."""
        body = await self._get(session, source.url)
        try:
            found = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise FetchFailed(f"{source}: not JSON") from error
        uri = found.get("jwks_uri") if isinstance(found, dict) else None
        if not isinstance(uri, str) or urlsplit(uri).scheme not in _SCHEMES:
            raise FetchFailed(f"{source}: 'jwks_uri' is missing or no URL of http or https")
        return uri

    async def _get(self, session: aiohttp.ClientSession, url: str) -> bytes:
        """What is at a URL, after redirects that lead to nothing less safe."""
        for _ in range(_MOST_REDIRECTS + 1):
            try:
                answer = await self._once(session, url)
            except (aiohttp.ClientError, OSError, ValueError) as error:
                raise FetchFailed(f"{shown(url)}: {_reason(error)}") from error
            if isinstance(answer, bytes):
                return answer
            if not _may_follow(url, answer):
                raise FetchFailed(f"{shown(url)}: redirects to {shown(answer)}")
            url = answer
        raise FetchFailed(f"{shown(url)}: more than {_MOST_REDIRECTS} redirects")

    async def _once(self, session: aiohttp.ClientSession, url: str) -> bytes | str:
        """The content, or where else it is."""
        host = urlsplit(url).hostname or ""
        _admit(host, self.blocked)
        context: ssl.SSLContext | bool = True
        if urlsplit(url).scheme == "https":
            context = await asyncio.to_thread(_context, self.roots_file)
        async with session.get(url, allow_redirects=False, ssl=context) as answer:
            if answer.status in _REDIRECTS and "location" in answer.headers:
                return urljoin(url, answer.headers["location"])
            if answer.status != 200:
                raise FetchFailed(f"{shown(url)}: HTTP status {answer.status}")
            if answer.headers.get("content-encoding", "identity") != "identity":
                raise FetchFailed(f"{shown(url)}: compressed, though nobody asked for that")
            body = b""
            while len(body) <= MAX_BYTES and (more := await answer.content.read(MAX_BYTES + 1)):
                body += more
        if len(body) > MAX_BYTES:
            raise FetchFailed(f"{shown(url)}: longer than {MAX_BYTES} bytes")
        return body


class _Blocked(OSError):
    """An address that is not to be connected to."""


class _Guarded(AbstractResolver):
    """Resolves names as the machine does, but not to blocked addresses."""

    def __init__(self, blocked: Sequence[IPv4Network | IPv6Network]) -> None:
        self._blocked = blocked
        self._inner = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of a name; raises `_Blocked` if one of them is."""
        found = await self._inner.resolve(host, port, family)
        for each in found:
            _admit(each["host"], self._blocked)
        return found

    async def close(self) -> None:
        """There is nothing to close."""
        await self._inner.close()


def _admit(host: str, blocked: Sequence[IPv4Network | IPv6Network]) -> None:
    """Raise `_Blocked` for an address that is; names are judged once they are resolved."""
    try:
        address: Any = ip_address(host.partition("%")[0])
    except ValueError:
        return
    address = getattr(address, "ipv4_mapped", None) or address
    if any(address in network for network in blocked):
        raise _Blocked(f"address {address} is blocked by --blocked-cidrs-in-jwks-uris")


def _context(roots_file: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if roots_file is not None:
        context.load_verify_locations(cafile=str(roots_file))
    return context


def _may_follow(url: str, target: str) -> bool:
    """Redirects stay on HTTP, and on TLS once there."""
    before, after = urlsplit(url).scheme, urlsplit(target).scheme
    return after in _SCHEMES and not (before == "https" and after == "http")


_REASONS: Final[Mapping[type[BaseException], str]] = {
    ConnectionRefusedError: "connection refused",
    ConnectionResetError: "connection reset",
    aiohttp.ServerDisconnectedError: "the server closed the connection",
    ValueError: "not a URL",
}


def _reason(error: BaseException) -> str:
    """Why a request failed, in words that repeat neither URL nor content."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        certificate = error.certificate_error
        return f"its certificate is not trusted: {getattr(certificate, 'verify_message', '')}"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        blocked = error.os_error
        return str(blocked) if isinstance(blocked, _Blocked) else "the host name is not found"
    inner = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(inner, _Blocked):
        return str(inner)
    for kind, text in _REASONS.items():
        if isinstance(inner, kind):
            return text
    return (inner.strerror or "") if isinstance(inner, OSError) else type(inner).__name__
