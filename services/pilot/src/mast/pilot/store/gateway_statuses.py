"""Keeps statuses of Gateway API objects in the store: one replica writes, Galley reads (I8)."""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import structlog

from mast.common.backoff import Backoff
from mast.common.etcd import Delete, EtcdError, Leadership, Put, Store
from mast.common.keys import STATUS_GATEWAYS, gateway_status_key
from mast.common.kinds import SOURCE_ANNOTATION
from mast.common.latest import Latest
from mast.pilot.core.gateway_api.status import Translation, statuses
from mastapi.status.v1.status_pb2 import ObjectName, ObjectStatus

log = structlog.get_logger()

LEADER: Final = "pilot-gateway-status"

_LEADER_TTL: Final = timedelta(seconds=10)
_BATCH: Final = 100
"""Statuses in one transaction; etcd allows 128 operations."""


@dataclass
class GatewayStatuses:
    """Writes what differs from what is stored while this replica leads, once per `every` at most.

    All replicas come to the same translation. Statuses stay when replicas go: they are true until
    something changes.
    """

    store: Store
    translations: Latest[Translation | None]
    identity: str
    random: Callable[[], float]
    every: timedelta = timedelta(seconds=1)

    async def run(self) -> None:
        """Take part for ever; etcd may come and go."""
        backoff = Backoff(timedelta(milliseconds=500), timedelta(seconds=15))
        while True:
            try:
                await self.store.lead(LEADER, self.identity, self._lead, _LEADER_TTL)
            except EtcdError as error:
                log.info("gateway_status.interrupted", detail=str(error))
            await asyncio.sleep(backoff.next(self.random()).total_seconds())

    async def _lead(self, leadership: Leadership) -> None:
        """Until another one leads. Raises EtcdError."""
        listing = await self.store.list(STATUS_GATEWAYS)
        written = {entry.key: entry.value for entry in listing.entries}
        seen: Translation | None = None
        while True:
            seen = await self.translations.after(seen)
            if seen is None:
                continue
            wanted = await asyncio.to_thread(_serialised, seen)
            if not await self._write(written, wanted, leadership):
                return
            written = dict(wanted)
            await asyncio.sleep(self.every.total_seconds())

    async def _write(
        self, written: Mapping[str, bytes], wanted: Mapping[str, bytes], leadership: Leadership
    ) -> bool:
        """Whether the leadership lasted."""
        operations: list[Put | Delete] = [
            Put(key, value) for key, value in wanted.items() if written.get(key) != value
        ]
        operations += [Delete(key) for key in written.keys() - wanted.keys()]
        for at in range(0, len(operations), _BATCH):
            part = operations[at : at + _BATCH]
            if not (await self.store.txn([leadership.guard], part)).succeeded:
                return False
        return True


def _serialised(translation: Translation) -> Mapping[str, bytes]:
    """Statuses by key, the same bytes whenever they are the same."""
    found = {}
    for each in statuses(translation):
        collection, namespace, name = each.meta.collection, each.meta.namespace, each.meta.name
        message = ObjectStatus(
            object=ObjectName(collection=collection, namespace=namespace, name=name),
            status=json.dumps(each.status, sort_keys=True),
            source=each.meta.annotations.get(SOURCE_ANNOTATION, ""),
        )
        key = gateway_status_key(collection, namespace, name)
        found[key] = message.SerializeToString(deterministic=True)
    return found
