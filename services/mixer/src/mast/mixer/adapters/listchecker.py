"""Adapter ``listchecker``: allow and deny by lists, given or fetched (mixer.md G.1)."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import structlog
from google.protobuf.duration_pb2 import Duration

from istio.mixer.adapter.list.config.config_pb2 import Params
from mast.mixer.adapters.lists import TYPES, Entries, parsed
from mast.mixer.core.adapter import Adapter, AdapterError, CheckResult, HandlerConfig, Instance
from mast.mixer.core.engine import Status
from mast.mixer.core.values import ip_text, text

log = structlog.get_logger()

INVALID_ARGUMENT, PERMISSION_DENIED = 3, 7


@dataclass(frozen=True, slots=True)
class Fetched:
    """An HTTP answer."""

    status: int
    body: bytes


# Gets a URL; raises OSError if there is no answer.
Fetch = Callable[[str], Awaitable[Fetched]]


class ListState:
    """The list of the moment and when it ends; time is an argument, in seconds."""

    def __init__(self, params: Params) -> None:
        self._params = params
        self._digest = b""
        self._purge_at: float | None = None
        self.entries: Entries | None = None
        if not params.provider_url:
            self.entries = parsed(params.entry_type, b"", params.overrides)

    def fetched(self, answer: Fetched, now: float) -> None:
        """Take a fetched list; with the same content only the purge timer restarts.

        Raises ValueError if it is no list: the last one stays until it is purged.
        """
        if answer.status != 200:
            raise ValueError(f"could not fetch the list: HTTP status {answer.status}")
        digest = hashlib.sha1(answer.body, usedforsecurity=False).digest()
        if digest != self._digest or self.entries is None:
            self.entries = parsed(self._params.entry_type, answer.body, self._params.overrides)
            self._digest = digest
        self._purge_at = now + self._params.ttl.ToTimedelta().total_seconds()

    def current(self, now: float) -> Entries:
        """The list; AdapterError if there is none (any more)."""
        if self._purge_at is not None and now >= self._purge_at:
            self.entries = None
        if self.entries is None:
            raise AdapterError(f"list provider '{self._params.provider_url}' is unreachable")
        return self.entries


class Listchecker:
    """Answers checks from a list, which a worker keeps fresh."""

    def __init__(self, params: Params, fetch: Fetch, clock: Callable[[], float]) -> None:
        self._params = params
        self._fetch = fetch
        self._clock = clock
        self._state = ListState(params)

    def check(self, instance: Instance) -> CheckResult:
        """Whether the value is in the list, turned round for a blacklist."""
        value: Any = instance.fields["value"]
        if isinstance(value, bytes):
            symbol = ip_text(value)
        elif isinstance(value, str):
            symbol = value
        else:
            return self._answer(
                INVALID_ARGUMENT, f"{text(value)} is not a valid string or IP address"
            )
        entries = self._state.current(self._clock())
        try:
            found = entries.has(symbol)
        except ValueError:
            return self._answer(INVALID_ARGUMENT, f"{symbol} is not a valid IP address")
        if found == self._params.blacklist:
            listed = "is blacklisted" if found else "is not whitelisted"
            return self._answer(PERMISSION_DENIED, f"{symbol} {listed}")
        return self._answer(0, "")

    def _answer(self, code: int, message: str) -> CheckResult:
        params = self._params
        return CheckResult(
            Status(code, message),
            params.caching_interval.ToTimedelta(),
            params.caching_use_count,
        )

    async def prepare(self) -> None:
        """Fetch the list once, so that the first checks have it."""
        await self._refresh()

    async def run(self) -> None:
        """Fetch the list every refresh interval."""
        while self._params.provider_url:
            await asyncio.sleep(self._params.refresh_interval.ToTimedelta().total_seconds())
            await self._refresh()

    async def _refresh(self) -> None:
        url = self._params.provider_url
        if not url:
            return
        try:
            self._state.fetched(await self._fetch(url), self._clock())
        except (OSError, ValueError) as error:
            log.warning("list.refused", url=url, error=str(error))


def _validate(config: HandlerConfig) -> Sequence[str]:
    params = config.params
    problems: list[str] = []
    if params.provider_url:
        problems += _provider_problems(params)
    if params.caching_interval.ToTimedelta() < timedelta():
        problems.append("caching_interval: must not be negative")
    if params.caching_use_count < 0:
        problems.append("caching_use_count: must not be negative")
    try:
        TYPES[params.entry_type](params.overrides)
    except ValueError as error:
        problems.append(f"overrides: {error}")
    return problems


def _provider_problems(params: Params) -> Sequence[str]:
    problems: list[str] = []
    if not _absolute(params.provider_url):
        problems.append(
            f"provider_url: '{params.provider_url}' must be an absolute http or https URL"
        )
    refresh, ttl = params.refresh_interval.ToTimedelta(), params.ttl.ToTimedelta()
    if refresh < timedelta(seconds=1):
        problems.append(f"refresh_interval: must be at least 1s, it is {refresh.total_seconds()}s")
    if ttl < refresh:
        problems.append(
            f"ttl: must be at least refresh_interval ({refresh.total_seconds()}s), "
            f"it is {ttl.total_seconds()}s"
        )
    return problems


def _absolute(provider_url: str) -> bool:
    try:
        url = urlsplit(provider_url)
    except ValueError:
        return False
    return url.scheme in {"http", "https"} and bool(url.netloc)


def adapter(fetch: Fetch, clock: Callable[[], float]) -> Adapter:
    """The adapter; ``fetch`` gets URLs, ``clock`` in seconds decides when lists end."""

    def build(config: HandlerConfig) -> Listchecker:
        return Listchecker(config.params, fetch, clock)

    return Adapter(
        name="listchecker",
        templates=frozenset({"listentry"}),
        defaults=Params(
            refresh_interval=Duration(seconds=60),
            ttl=Duration(seconds=300),
            caching_interval=Duration(seconds=300),
            caching_use_count=10_000,
        ),
        build=build,
        validate=_validate,
    )
