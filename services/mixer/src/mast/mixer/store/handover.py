"""Hands open connections over from a Mixer that closes to the one that their proxy goes on with."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

import structlog

from mast.common.etcd import EtcdError, Store
from mast.common.keys import flows_key
from mast.mixer.core.tcp_flows import Entries

log = structlog.get_logger()

KEPT: Final = timedelta(minutes=1)
"""How long what was left is there; proxies report open connections every ten seconds."""

_PATIENCE: Final = timedelta(seconds=2)


@dataclass
class StoredHandover:
    """Under `flows/`, one key for each proxy. Without etcd nothing is handed over, that is all."""

    store: Store
    _lease: int = 0
    _given_up: bool = False
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def leave(self, node_id: str, reported: Callable[[], Entries]) -> None:
        """Leave what has been reported of a proxy's connections; asked for when it is written.

        After a failure nothing more is left: a Mixer that closes has no time to wait for etcd.
        """
        if self._given_up:
            return
        try:
            async with asyncio.timeout(_PATIENCE.total_seconds()), self._lock:
                if not self._lease:
                    self._lease = await self.store.expiring(KEPT)
                content = reported().SerializeToString(deterministic=True)
                await self.store.put(flows_key(node_id), content, self._lease)
        except (EtcdError, TimeoutError) as error:
            self._given_up = True
            log.warning("flows.not_left", node=node_id, error=str(error))

    async def take(self, node_id: str) -> Entries:
        """What was left of a proxy's connections, nothing if nothing was."""
        try:
            async with asyncio.timeout(_PATIENCE.total_seconds()):
                found = await self.store.get(flows_key(node_id))
        except (EtcdError, TimeoutError) as error:
            log.warning("flows.not_taken", node=node_id, error=str(error))
            return Entries()
        return Entries.FromString(found.value) if found else Entries()
