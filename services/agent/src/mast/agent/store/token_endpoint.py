"""Exchanges tokens at the endpoint that the operator named, and keeps what it gave (RFC 8693)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import structlog

from mast.agent.core.exchange import INVALID_TARGET, Exchange, Refused, answer, kept_until, refusal

log = structlog.get_logger()

MOST_KEPT = 100
MOST_BYTES = 1 << 20
PATIENCE = timedelta(seconds=10)
_LOCAL = {"localhost", "127.0.0.1", "::1"}


def check_url(text: str) -> None:
    """Raises ValueError for an endpoint that would see tokens without TLS; empty is none."""
    parts = urlsplit(text)
    secure = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOCAL)
    if text and not (parts.hostname and secure):
        raise ValueError(
            f"MAST_TOKEN_EXCHANGE_URL {text!r}: want https://HOST..., or http:// on this machine"
        )


@dataclass(frozen=True)
class _Kept:
    content: Mapping[str, Any]
    until: datetime


@dataclass
class TokenEndpoint:
    """Asks ``url`` for tokens; without one, only the token that is shown can be had."""

    http: aiohttp.ClientSession
    url: str
    now: Callable[[], datetime]
    _kept: dict[str, _Kept] = field(default_factory=dict)

    async def exchanged(self, wanted: Exchange) -> Mapping[str, Any]:
        """The answer's fields (RFC 8693 §2.2.1), kept for its life less a minute.

        Raises Refused, with the endpoint's own reason if it gives one.
        """
        if not wanted.for_another:
            return wanted.itself()
        if not self.url:
            raise Refused(
                INVALID_TARGET,
                "no token endpoint is configured: MAST_TOKEN_EXCHANGE_URL names one",
            )
        kept = self._kept.get(wanted.digest)
        if kept is not None and self.now() < kept.until:
            return kept.content
        found = await self._asked(wanted)
        until = kept_until(found, self.now())
        if until is not None:
            self._keep(wanted.digest, _Kept(found, until))
        return found

    @property
    def status(self) -> list[dict[str, str]]:
        """The answers that are kept, without their tokens."""
        return [
            {"request": digest, "reused_until": each.until.isoformat()}
            for digest, each in sorted(self._kept.items())
        ]

    async def _asked(self, wanted: Exchange) -> Mapping[str, Any]:
        timeout = aiohttp.ClientTimeout(total=PATIENCE.total_seconds())
        try:
            async with self.http.post(
                self.url, data=wanted.form, timeout=timeout, allow_redirects=False
            ) as response:
                text = (await response.content.read(MOST_BYTES)).decode(errors="replace")
        except (aiohttp.ClientError, TimeoutError) as error:
            log.warning("token.not_exchanged", error=f"{type(error).__name__}: {error}")
            raise Refused(INVALID_TARGET, "the token endpoint does not answer") from error
        if response.status == 200:
            return answer(text)
        refused = refusal(response.status, text)
        log.warning("token.not_exchanged", status=response.status, error=refused.code)
        raise refused

    def _keep(self, digest: str, kept: _Kept) -> None:
        now = self.now()
        for other in [each for each, old in self._kept.items() if old.until <= now]:
            del self._kept[other]
        if len(self._kept) >= MOST_KEPT:
            del self._kept[min(self._kept, key=lambda each: self._kept[each].until)]
        self._kept[digest] = kept
