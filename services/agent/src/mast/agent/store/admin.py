"""Envoy's admin port: statistics, draining."""

from datetime import timedelta

import aiohttp
import structlog

from mast.agent.core.readiness import Stats, stats

log = structlog.get_logger()

_PATIENCE = aiohttp.ClientTimeout(total=timedelta(seconds=3).total_seconds())


class EnvoyAdmin:
    """Calls of one Envoy's admin port at ``http://host:port``."""

    def __init__(self, session: aiohttp.ClientSession, base: str) -> None:
        self._session = session
        self._base = base

    async def stats(self, pattern: str) -> Stats | None:
        """Statistics whose names match a regular expression; None if Envoy does not answer.

        Unused ones are included: an update count of 0 is a statistic, too (B7, within 3 s).
        """
        try:
            async with self._session.get(
                f"{self._base}/stats", params={"filter": pattern}, timeout=_PATIENCE
            ) as response:
                if response.status != 200:
                    return None
                return stats(await response.text())
        except (aiohttp.ClientError, TimeoutError):
            return None

    async def drain(self, *, inbound_only: bool, skip_exit: bool = False) -> bool:
        """Begin to close listeners gracefully (B6.2); False if Envoy did not take the order."""
        query = ["graceful"]
        if inbound_only:
            query.insert(0, "inboundonly")
        if skip_exit:
            query.append("skip_exit")
        url = f"{self._base}/drain_listeners?{'&'.join(query)}"
        try:
            async with self._session.post(url, timeout=_PATIENCE) as response:
                taken = response.status == 200
        except (aiohttp.ClientError, TimeoutError) as error:
            log.warning("envoy.drain_failed", error=f"{type(error).__name__}: {error}")
            return False
        log.info("envoy.draining", inbound_only=inbound_only, accepted=taken)
        return taken
