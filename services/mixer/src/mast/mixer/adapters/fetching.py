"""Fetching lists over HTTP."""

from __future__ import annotations

from datetime import timedelta

import aiohttp

from mast.mixer.adapters.listchecker import Fetched

# Lists longer than this are refused.
MAX_BYTES = 16 << 20


async def fetch(url: str, timeout: timedelta = timedelta(seconds=5)) -> Fetched:
    """GET a URL; OSError if there is no whole answer in time or it is too long."""
    limit = aiohttp.ClientTimeout(total=timeout.total_seconds())
    try:
        async with aiohttp.ClientSession(timeout=limit) as session, session.get(url) as response:
            body = await response.content.read(MAX_BYTES + 1)
            while len(body) <= MAX_BYTES and (more := await response.content.read(MAX_BYTES)):
                body += more
            status = response.status
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise OSError(f"could not fetch {url}: {error or type(error).__name__}") from error
    if len(body) > MAX_BYTES:
        raise OSError(f"could not fetch {url}: longer than {MAX_BYTES} bytes")
    return Fetched(status, body)
