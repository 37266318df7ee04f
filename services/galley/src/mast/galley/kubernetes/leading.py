"""Who of several Galleys does a job in a cluster: a leader, and the default revision first (A7).

Section numbers are those of galley-and-kubernetes.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

import structlog

from mast.common.etcd import EtcdError, Leadership, Store
from mast.common.kubernetes import Api, Change, labels_of
from mast.common.kubernetes.objects import MUTATING_WEBHOOK_CONFIGURATIONS
from mast.common.latest import Latest
from mast.galley.core.cluster import DEFAULT_REVISION, REVISION_LABEL
from mast.galley.core.discovery.settings import CLUSTER
from mast.galley.kubernetes.mirror import Mirror

log = structlog.get_logger()

NAMESPACES: Final = "istio-namespace-controller-election"
INGRESS: Final = "istio-leader"
GATEWAYS: Final = "istio-gateway-status-leader"
ANALYSIS: Final = "istio-analyze-leader"
"""Jobs, by Istio's names of their leases."""

LEADER_TTL: Final = timedelta(seconds=10)
"""That long after a leader's death another one takes over."""

_TAG: Final = "istio.io/tag=default"
_AGAIN_AFTER: Final = timedelta(seconds=1)

Job = Callable[[Leadership], Awaitable[None]]


class Deposed(Exception):
    """Somebody else leads by now."""


@dataclass
class Leading:
    """Runs jobs of this process when nobody of the default revision does, or if that is its own.

    The default revision is the one with the tag ``default``, without a tag the one of that name.
    Every cluster has leaders of its own.
    """

    store: Store
    identity: str
    revision: str
    cluster: str = CLUSTER
    default: Latest[str] = field(default_factory=lambda: Latest(DEFAULT_REVISION))

    async def follow_tag(self, api: Api) -> None:
        """Keep in mind which revision is the default one, for ever."""

        def told(_: Change) -> None:
            tagged = [labels_of(found).get(REVISION_LABEL) for found in mirror]
            default = next((each for each in tagged if each), DEFAULT_REVISION)
            if default != self.default.value:
                self.default.publish(default)

        mirror = Mirror(api, MUTATING_WEBHOOK_CONFIGURATIONS, told, labels=_TAG)
        await mirror.run()

    async def run(self, what: str, job: Job, others: Callable[[], None] = lambda: None) -> None:
        """Do a job whenever this process is its leader, for ever.

        ``others`` is called when somebody else leads who is not deposed.
        """
        while True:
            try:
                await self._candidacy(what, job, others)
            except Deposed:
                log.info("leader.fenced", what=what, identity=self.identity)
            except EtcdError as error:
                log.warning("leader.interrupted", what=what, error=str(error))
                await asyncio.sleep(_AGAIN_AFTER.total_seconds())

    async def _candidacy(self, what: str, job: Job, others: Callable[[], None]) -> None:
        """Until the default revision is another one while somebody else leads."""
        leading = asyncio.Event()

        async def work(leadership: Leadership) -> None:
            leading.set()
            try:
                await job(leadership)
            finally:
                leading.clear()

        async def stand() -> None:
            identity = f"{self.revision}/{self.identity}"
            lease = lease_of(what, self.cluster)
            await self.store.lead(lease, identity, work, LEADER_TTL, outranks)

        def outranks(held: str) -> bool:
            if self._outranks(held):
                return True
            others()
            return False

        async def reconsider() -> None:
            seen = self.default.value
            while leading.is_set() or seen == self.default.value:
                await self.default.after(self.default.value)
            standing.cancel()

        try:
            async with asyncio.TaskGroup() as tasks:
                standing = tasks.create_task(stand(), name=f"leader of {what}")
                waiting = tasks.create_task(reconsider(), name=f"rank for {what}")
                standing.add_done_callback(lambda _: waiting.cancel())
        except ExceptionGroup as group:
            raise group.exceptions[0] from None

    def _outranks(self, held: str) -> bool:
        """Whether we are of the default revision, and the leader is not."""
        default = self.default.value
        return self.revision == default and held.partition("/")[0] != default


async def until_failure(*, what: str, **parts: Coroutine[Any, Any, None]) -> None:
    """Run the parts of a job together, for ever; the first failure of one ends all of them."""
    try:
        async with asyncio.TaskGroup() as tasks:
            for name, part in parts.items():
                tasks.create_task(part, name=f"{what}: {name}")
    except ExceptionGroup as group:
        raise group.exceptions[0] from None


def lease_of(what: str, cluster: str) -> str:
    """The lease of a job in a cluster, which several clusters share a store with."""
    return what if cluster == CLUSTER else f"{what}-{cluster}"


async def fenced(store: Store, leadership: Leadership) -> None:
    """See that the leadership lasts right before something is written elsewhere, or raise Deposed.

    What is written must also depend on what was read: an API server knows nothing of leaders.
    """
    if not (await store.txn([leadership.guard], [])).succeeded:
        raise Deposed(leadership.what)
