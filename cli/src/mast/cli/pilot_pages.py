"""Pilot's debug pages, for commands that ask what it told its proxies."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp

from mast.cli.errors import CommandError
from mast.cli.local.home import Home

SECONDS = 20


def pilot_address(given: str) -> str:
    """The address given, else that of the mesh of this machine."""
    return given or Home.default().running().addresses["pilot-http"]


def page(address: str, path: str, service: str = "Pilot") -> Any:
    """A page as JSON; CommandError if the service does not answer, or not with success."""
    return json.loads(text(address, path, service))


def text(address: str, path: str, service: str = "Pilot") -> str:
    """The same as it is written."""
    return asyncio.run(fetched(address, path, service))


async def sync_status(address: str) -> list[dict[str, Any]]:
    """Rows of /debug/syncz: what each connected proxy was sent and has accepted."""
    return list(json.loads(await fetched(address, "/debug/syncz")))


async def fetched(address: str, path: str, service: str = "Pilot") -> str:
    """The text of a page; errors as for `page`."""
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=SECONDS)) as session,
            session.get(f"http://{address}{path}") as answer,
        ):
            found = await answer.text()
            if answer.status != 200:
                raise CommandError(
                    f"{service} at {address} answers {answer.status}: {found.strip()}"
                )
            return found
    except (aiohttp.ClientError, TimeoutError) as error:
        raise CommandError(
            f"{service} at {address} does not answer: {error}", hint="check with: mastctl status"
        ) from error
