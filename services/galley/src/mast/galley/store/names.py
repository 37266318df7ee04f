"""Addresses of names, by whatever this machine resolves them with."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Final

import structlog

log = structlog.get_logger()

DEADLINE: Final = timedelta(seconds=5)


async def addresses_of(names: Iterable[str]) -> Mapping[str, Sequence[str]]:
    """Addresses by name, sorted; a name that cannot be resolved in time is left out."""
    found: dict[str, Sequence[str]] = {}

    async def resolve(name: str) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(DEADLINE.total_seconds()):
                answers = await loop.getaddrinfo(name, None, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            log.debug("name.unresolved", name=name, error=str(error) or "no answer in time")
            return
        found[name] = sorted({str(address[0]) for *_, address in answers})

    async with asyncio.TaskGroup() as tasks:
        for name in names:
            tasks.create_task(resolve(name), name=f"resolve {name}")
    return found
