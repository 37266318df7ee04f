"""What Citadel keeps in order in etcd: the published bundles, and no join tokens that expired."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import structlog

from mast.citadel.core.authority import Authority
from mast.citadel.core.refusals import CaNotReady
from mast.citadel.store.bundles import Bundles, Others
from mast.citadel.store.join_tokens import JoinTokens
from mast.common.etcd import EtcdError, Store
from mast.common.latest import Latest

log = structlog.get_logger()

EVERY = timedelta(seconds=60)
AFTER_A_FAILURE = timedelta(seconds=2)


async def keep_house(
    store: Store,
    authority: Latest[Authority | None],
    bundles: Bundles,
    now: Callable[[], datetime],
    *,
    others: Latest[Others | None] | None = None,
    every: timedelta = EVERY,
    after_a_failure: timedelta = AFTER_A_FAILURE,
) -> None:
    """Publish the bundles of every new authority, and when ``others`` change; look after them and
    the tokens now and then.
    """
    tokens = JoinTokens(store)
    others = others or Latest(None)
    failing = False
    seen: Authority | None = None
    while True:
        seen = authority.value if seen else await authority.after(None)
        delay, known = every, others.value
        try:
            if seen is not None:
                await bundles.publish(seen)
            await tokens.prune(now())
            failing = False
        except (EtcdError, CaNotReady) as error:
            if not failing:
                log.warning("housekeeping.failed", error=str(error))
            failing, delay = True, after_a_failure
        with suppress(TimeoutError):
            async with asyncio.timeout(delay.total_seconds()):
                await _either(authority.after(seen), others.after(known))


async def _either(*news: Coroutine[Any, Any, object]) -> None:
    """Until one of them is there."""
    async with asyncio.TaskGroup() as tasks:
        waiting = [tasks.create_task(each) for each in news]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for each in waiting:
            each.cancel()
