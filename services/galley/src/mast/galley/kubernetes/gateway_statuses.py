"""Statuses of Gateway API objects: what Pilot makes of them, written where users look (A7).

Section numbers are those of galley-and-kubernetes.md.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from google.protobuf.message import DecodeError

from mast.common import keys
from mast.common.etcd import Leadership, Store
from mast.common.kinds import BY_COLLECTION
from mast.common.kubernetes import Api, Object, labels_of
from mast.galley.core.cluster import REVISION_LABEL
from mast.galley.core.observed import Observed
from mast.galley.core.status.gateway_api import (
    KINDS_WITH_STATUS,
    Status,
    newest_generation,
    said,
)
from mast.galley.kubernetes.leading import until_failure
from mast.galley.kubernetes.metrics import StatusMetrics
from mast.galley.kubernetes.statuses import Key, Statuses
from mastapi.status.v1.status_pb2 import ObjectStatus


@dataclass
class GatewayStatuses:
    """One process does this at a time: whoever leads.

    Of objects that the mesh has from elsewhere than from ``source`` nothing is told.
    """

    api: Api
    store: Store
    observed: Observed
    source: str
    revision: str
    metrics: StatusMetrics
    now: Callable[[], datetime]
    random: Callable[[], float]
    _wanted: dict[Key, Status] = field(default_factory=dict, init=False)

    async def run(self, leadership: Leadership) -> None:
        """Keep statuses as Pilot tells them, until cancelled. Raises Deposed."""
        self._wanted.clear()
        writer = Statuses(
            self.api,
            self.store,
            self.observed,
            leadership,
            self._change,
            self.metrics,
            self.random,
        )

        def touched(kind: str, namespace: str, name: str) -> None:
            if kind in KINDS_WITH_STATUS:
                writer.work.add((kind, namespace, name))

        with self.observed.telling(touched):
            await until_failure(
                follow=self._follow(writer), write=writer.run(), what=leadership.what
            )

    async def _follow(self, writer: Statuses) -> None:
        """What Pilot publishes; once all of it is known, also what it says nothing about."""
        first = True
        async with aclosing(self.store.follow(keys.STATUS_GATEWAYS)) as batches:
            async for batch in batches:
                for change in batch.changes:
                    self._take(writer, change.key, change.value)
                if first and batch.synced:
                    first = False
                    for key in self.observed.names():
                        if key[0] in KINDS_WITH_STATUS:
                            writer.work.add(key)

    def _take(self, writer: Statuses, key: str, value: bytes | None) -> None:
        about = _object(key)
        if about is None:
            return
        self._wanted.pop(about, None)
        with suppress(DecodeError, ValueError):
            told = ObjectStatus.FromString(value or b"")
            if value is not None and told.source == self.source:
                self._wanted[about] = json.loads(told.status)
        writer.work.add(about)

    def _change(self, key: Key, found: Object) -> Mapping[str, Any] | None:
        """None also for objects of other revisions, and while Pilot tells of a namesake's past."""
        if labels_of(found).get(REVISION_LABEL, self.revision) != self.revision:
            return None
        wanted = self._wanted.get(key)
        if newest_generation(wanted or {}) > int(found["metadata"].get("generation") or 0):
            return None
        return said(found.get("status") or {}, wanted, f"{self.now():%Y-%m-%dT%H:%M:%SZ}")


def _object(key: str) -> Key | None:
    """The object that a key is about, None for one of a newer version."""
    try:
        where = keys.parse_config_key(keys.CONFIG + key.removeprefix(keys.STATUS_GATEWAYS))
    except ValueError:
        return None
    kind = BY_COLLECTION.get(where.collection)
    return None if kind is None else (str(kind), where.namespace, where.name)
