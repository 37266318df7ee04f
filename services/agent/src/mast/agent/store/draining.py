"""Ends a proxy without cutting its connections off (citadel-and-agent.md B6.2)."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta

import structlog

from mast.agent.core.readiness import CONNECTIONS_FILTER, active_connections
from mast.agent.store.admin import EnvoyAdmin

log = structlog.get_logger()

MOST_ERRORS = 5
SECOND = timedelta(seconds=1)


@dataclass(frozen=True, kw_only=True)
class Drain:
    """How to drain. A router drains everything, a sidecar its inbound listeners.

    Either ``termination`` passes, or, with ``exit_on_zero``, ``minimum`` and then the time until
    no connection of an application is left. ``own_ports`` are not an application's.
    """

    inbound_only: bool
    exit_on_zero: bool
    termination: timedelta
    minimum: timedelta
    own_ports: frozenset[int]
    interval: timedelta = SECOND

    async def run(self, admin: EnvoyAdmin) -> None:
        """Order Envoy to drain and wait until it may end."""
        await admin.drain(inbound_only=self.inbound_only)
        if not self.exit_on_zero:
            await asyncio.sleep(self.termination.total_seconds())
            return
        await asyncio.sleep(self.minimum.total_seconds())
        await self._until_idle(admin)

    async def _until_idle(self, admin: EnvoyAdmin) -> None:
        errors = 0
        while errors < MOST_ERRORS:
            seen = await admin.stats(CONNECTIONS_FILTER)
            errors = errors + 1 if seen is None else 0
            if seen is not None:
                active = active_connections(seen, self.own_ports)
                log.info("envoy.connections", active=active)
                if not active:
                    return
            await asyncio.sleep(self.interval.total_seconds())
        log.warning("envoy.unresponsive", errors=errors)
