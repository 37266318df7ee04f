"""Fetches metrics pages of Envoy and of the application (citadel-and-agent.md B7)."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import aiohttp
import structlog

from mast.agent.core.scrape import MOST_BYTES, Page

log = structlog.get_logger()

ACCEPT = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.4"


class TooLarge(Exception):
    """A metrics page is larger than 10 MiB."""


@dataclass(frozen=True)
class Scraper:
    """Fetches pages; one that cannot be had is None and fails no other.

    ``envoy`` is the URL of its metrics port, ``application`` those of the application's pages.
    """

    session: aiohttp.ClientSession
    envoy: str
    application: Sequence[str]

    async def envoy_page(self, query: str, seconds: float) -> Page | None:
        """Envoy's own metrics, with the query of the request passed on."""
        url = f"{self.envoy}/stats/prometheus"
        return await self._page(f"{url}?{query}" if query else url, "text/plain", seconds)

    async def application_pages(self, seconds: float) -> list[Page]:
        """The application's pages, in the order of their URLs."""
        async with asyncio.TaskGroup() as tasks:
            fetching = [
                tasks.create_task(self._page(url, ACCEPT, seconds), name=f"scrape-{url}")
                for url in self.application
            ]
        pages = [task.result() for task in fetching]
        return [page for page in pages if page is not None]

    async def _page(self, url: str, accept: str, seconds: float) -> Page | None:
        timeout = aiohttp.ClientTimeout(total=seconds)
        try:
            async with self.session.get(
                url, headers={"accept": accept}, timeout=timeout
            ) as response:
                response.raise_for_status()
                body = await _limited(response)
                return Page(response.headers.get("content-type", ""), body)
        except (aiohttp.ClientError, TimeoutError, TooLarge) as error:
            log.warning("metrics.unavailable", url=url, error=f"{type(error).__name__}: {error}")
            return None


async def _limited(response: aiohttp.ClientResponse) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for part in response.content.iter_chunked(1 << 16):
        parts.append(part)
        size += len(part)
        if size > MOST_BYTES:
            raise TooLarge(f"more than {MOST_BYTES} bytes")
    return b"".join(parts)
