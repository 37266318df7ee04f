"""Publishes what this replica has in force under `status/mixer/`, on a lease."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from mast.common.etcd import Store
from mast.common.etcd.on_lease import publish_latest
from mast.common.keys import mixer_status_key
from mast.common.latest import Latest
from mastapi.status.v1.status_pb2 import MixerStatus


@dataclass(frozen=True)
class StatusPublisher:
    """The newest status only: what comes while etcd is away or slow is skipped.

    It disappears with the lease, ``ttl`` after this replica died.
    """

    store: Store
    status: Latest[MixerStatus | None]
    random: Callable[[], float]
    ttl: timedelta = timedelta(seconds=30)

    async def run(self) -> None:
        """Publish for ever; etcd may come and go."""
        await publish_latest(
            self.store, self.ttl, self.status, _entry, random=self.random, what="status"
        )


def _entry(status: MixerStatus | None) -> tuple[str, bytes] | None:
    if status is None:
        return None
    return mixer_status_key(status.replica), status.SerializeToString(deterministic=True)
