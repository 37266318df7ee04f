"""Steps in the life of the stored CAs: commands, and what is due by itself (A8).

Every replica may act: a step is a transition of the stored authority, which one of them wins.
Section numbers are those of citadel-and-agent.md.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import structlog

from mast.citadel.core import rotation
from mast.citadel.core.authority import Authority, Slot
from mast.citadel.core.bundle import is_published
from mast.citadel.core.knowledge import knowledge
from mast.citadel.core.refusals import CaNotReady
from mast.citadel.core.remote_keys import KeyUnavailable
from mast.citadel.core.rotation import NotPossible, NotYet, Overview, Policy, Step
from mast.citadel.store.authorities import StoredAuthority, UnusableAuthority
from mast.citadel.store.bundles import Bundles
from mast.common.etcd import EtcdError, Store
from mast.common.keys import STATUS_TRUST
from mast.common.latest import Latest
from mastapi.status.v1.status_pb2 import TrustStatus

log = structlog.get_logger()

FAILURES = (EtcdError, KeyUnavailable, UnusableAuthority, CaNotReady)
"""What may pass: nothing has changed then, and it is tried again."""

ROUTINE = timedelta(hours=1)
WAITING = timedelta(seconds=2)
"""How often the mesh is looked at while a step waits for it."""


async def overview(store: Store, bundles: Bundles, authority: Authority) -> Overview:
    """What is published of an authority, and who trusts that. Raises EtcdError."""
    bundle = await bundles.published(authority.trust_domain)
    listing = await store.list(STATUS_TRUST)
    reports = [TrustStatus.FromString(each.value) for each in listing.entries]
    known = knowledge(reports, authority.trust_domain, bundle.sequence)
    return Overview(authority, bundle, known)


@dataclass(frozen=True, kw_only=True)
class Rotation:
    """``new_slot`` makes a CA with a fresh key. Without an ``interval`` only commands rotate.

    Commands raise NotPossible, NotYet, or one of FAILURES.
    """

    store: Store
    authorities: StoredAuthority
    bundles: Bundles
    new_slot: Callable[[], Awaitable[Slot]]
    policy: Policy
    now: Callable[[], datetime]
    random: Callable[[], float]
    interval: timedelta = timedelta(hours=1)
    jitter: bool = True

    async def overview(self) -> Overview:
        """What operators are shown."""
        seen = await overview(self.store, self.bundles, await self.authorities.current())
        return replace(seen, problem=rotation.problem(seen, now=self.now(), policy=self.policy))

    async def prepare(self) -> Overview:
        """Add a CA that is trusted and signs nothing yet."""
        rotation.check_preparable(await self.authorities.current())
        slot = await self.new_slot()
        try:
            return await self._changed(lambda old: rotation.prepared(old, slot))
        except NotPossible:
            await self.authorities.forget(slot)
            raise

    async def activate(self, name: str, *, force: bool) -> Overview:
        """Have the prepared CA sign."""
        seen = await self.overview()

        def transition(old: Authority) -> Authority:
            new = rotation.activated(old, name, now=self.now(), grace=self.policy.grace)
            if new is not old and not force and (problem := self._obstacle(old, seen)):
                raise NotYet(problem)
            return new

        return await self._changed(transition)

    def _obstacle(self, old: Authority, seen: Overview) -> str:
        return rotation.activation_obstacle(
            replace(seen, authority=old), now=self.now(), policy=self.policy
        )

    async def taint(self, name: str) -> Overview:
        """Have every leaf of an old CA replaced; it is dropped when that is confirmed."""
        return await self._changed(lambda old: rotation.tainted(old, name))

    async def revoke(self, name: str, *, force: bool) -> Overview:
        """Stop trusting a prepared or tainted CA."""
        seen = await self.overview()

        def transition(old: Authority) -> Authority:
            slot = rotation.droppable(old, name)
            if slot.tainted and not force:
                view = replace(seen, authority=old)
                if problem := rotation.drop_obstacle(
                    view, slot, now=self.now(), policy=self.policy
                ):
                    raise NotYet(problem)
            return rotation.dropped(old, slot)

        return await self._changed(transition)

    async def revoke_certificates(self, serials: Sequence[int], name: str) -> Overview:
        """Put leaves on the list of the CA that issued them."""
        seen = await self.overview()

        def transition(old: Authority) -> Authority:
            rotation.check_lists(old, [root.pem for root in seen.bundle.roots])
            return rotation.revoked(old, serials, name, now=self.now())

        return await self._changed(transition)

    async def _changed(self, transition: Callable[[Authority], Authority]) -> Overview:
        before: list[Authority] = []

        def noted(old: Authority) -> Authority:
            before[:] = [old]
            return transition(old)

        authority = await self.authorities.change(noted)
        for became, slot in rotation.difference(before[0], authority):
            log.info("authority.changed", slot=slot.id, became=became, subject=slot.subject)
        await self.bundles.publish(authority)
        return await self.overview()

    # By itself

    async def run(self, authority: Latest[Authority | None]) -> None:
        """Take every step that is due, for ever; failures change nothing and are tried again."""
        failing = False
        await authority.after(None)
        pause = self._routine * self.random() if self.jitter else self._routine
        while True:
            seen = authority.value
            waits = False
            try:
                waits = await self.check()
                failing = False
            except FAILURES as error:
                if not failing:
                    log.warning("rotation.failed", error=str(error))
                failing = True
            delay = min(WAITING, pause) if waits or failing else pause
            with suppress(TimeoutError):
                async with asyncio.timeout(delay.total_seconds()):
                    await authority.after(seen)
            pause = self._routine

    @property
    def _routine(self) -> timedelta:
        """Old CAs are dropped also where nothing is rotated by itself."""
        return self.interval if self.interval > timedelta() else ROUTINE

    async def check(self) -> bool:
        """Take the step that is due now; whether something waits for the mesh."""
        seen = await self.overview()
        step = self._due(seen.authority, seen)
        if step is not None:
            log.info("rotation.due", step=step.value)
            await self._take(step, seen)
            return True
        return rotation.waits(seen.authority, self.now())

    def _due(self, authority: Authority, seen: Overview) -> Step | None:
        step = rotation.due(
            authority,
            seen.known,
            published=is_published(authority, seen.bundle),
            now=self.now(),
            policy=self.policy,
        )
        automatic = self.interval > timedelta() or step is Step.PRUNE
        return step if automatic else None

    async def _take(self, step: Step, seen: Overview) -> None:
        new = await self.new_slot() if step is Step.PREPARE else None

        def transition(old: Authority) -> Authority:
            if self._due(old, seen) is not step:
                return old  # another replica was faster
            if new is not None:
                return rotation.prepared(old, new)
            if step is Step.ACTIVATE:
                return rotation.activated(old, "", now=self.now(), grace=self.policy.grace)
            return rotation.replaced(old, seen.known, now=self.now(), policy=self.policy)

        result = await self._changed(transition)
        if new is not None and new.id not in {slot.id for slot in result.authority.slots}:
            await self.authorities.forget(new)
