"""Statuses of objects, kept as they should be by the one process that leads (A7, A8).

Section numbers are those of galley-and-kubernetes.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog

from mast.common.etcd import EtcdError, Leadership, Store
from mast.common.kubernetes import Api, ApiError, ApiFailure, Conflict, NotFound, Object
from mast.galley.core.observed import Observed
from mast.galley.kubernetes.leading import fenced
from mast.galley.kubernetes.metrics import StatusMetrics
from mast.galley.kubernetes.work import Work

log = structlog.get_logger()

Key = tuple[str, str, str]
"""Kind (``group/Kind``), namespace and name of an object."""
Change = Callable[[Key, Object], Mapping[str, Any] | None]
"""The merge patch that an object's status needs, None if it needs none."""


@dataclass
class Statuses:
    """Patches what differs, and nothing else.

    A patch counts only for the object as it was read, so that neither somebody else's write is lost
    nor a leader that was replaced in between overwrites what its successor wrote; and before each
    one the leadership is looked at.
    """

    api: Api
    store: Store
    observed: Observed
    leadership: Leadership
    change: Change
    metrics: StatusMetrics
    random: Callable[[], float]
    work: Work[Key] = field(init=False)

    def __post_init__(self) -> None:
        what = f"statuses of {self.leadership.what}"
        self.work = Work(what, self._keep, (ApiFailure, EtcdError), self.random)

    async def run(self) -> None:
        """Do what is added to ``work``, for ever. Raises Deposed."""
        try:
            await self.work.run()
        except ExceptionGroup as group:
            raise group.exceptions[0] from None

    async def _keep(self, key: Key) -> None:
        kind, namespace, name = key
        resource, found = self.observed.resource(kind), self.observed.get(*key)
        if resource is None or found is None or found["metadata"].get("deletionTimestamp"):
            return
        await asyncio.sleep(0)  # There may be thousands: others get their turn.
        status = self.change(key, found)
        if status is None:
            return
        await fenced(self.store, self.leadership)
        version = found["metadata"]["resourceVersion"]
        body = {"metadata": {"resourceVersion": version}, "status": status}
        try:
            await self.api.patch(resource, name, body, namespace, subresource="status")
        except NotFound:
            log.info("status.gone", kind=kind, namespace=namespace, name=name)
            return
        except ApiFailure as error:
            conflict = isinstance(error, Conflict)
            reason = error.reason if isinstance(error, ApiError) else "Unreachable"
            self.metrics.failed(kind, "Conflict" if conflict else reason)
            if conflict and self._is_newer(key, version):
                self.work.add(key)
                return
            raise
        self.metrics.written(kind)
        log.info("status.written", kind=kind, namespace=namespace, name=name)

    def _is_newer(self, key: Key, version: str) -> bool:
        """Whether what made a patch void was told meanwhile."""
        found = self.observed.get(*key)
        return found is not None and found["metadata"]["resourceVersion"] != version
