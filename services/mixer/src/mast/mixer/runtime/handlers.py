"""The life of handlers: built, kept while unchanged, closed when nobody uses them (D9, D10)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from random import random
from typing import Any

import structlog

from mast.common.backoff import Backoff
from mast.mixer.core.adapter import AdapterError, Handler
from mast.mixer.core.config.handlers import Signature, UsedHandler
from mast.mixer.runtime.instruments import Instruments

log = structlog.get_logger()

PREPARE = timedelta(seconds=5)
CLOSE = timedelta(seconds=10)


@dataclass(slots=True, eq=False)
class Live:
    """A built handler; ``holders`` counts the routing tables that it is in."""

    fqn: str
    signature: Signature
    handler: Handler
    worker: asyncio.Task[None] | None = None
    holders: int = 0


@dataclass(slots=True)
class Handlers:
    """Builds handlers for snapshots and closes them; background work runs in ``tasks``.

    A handler that takes longer than ``prepare`` to prepare itself serves as it is; one that takes
    longer than ``close`` to close is left.
    """

    tasks: asyncio.TaskGroup
    instruments: Instruments
    jitter: Callable[[], float] = random
    prepare: timedelta = PREPARE
    close: timedelta = CLOSE
    failures: Mapping[str, str] = field(default_factory=dict)
    """Why handlers of the last snapshot could not be built, by FQN."""
    _live: dict[str, Live] = field(default_factory=dict)
    _daemons: int = 0

    async def build(self, used: Mapping[str, UsedHandler]) -> dict[str, Live]:
        """The handlers for a snapshot, by FQN; those that fail to build are left out (D9).

        A handler is taken over if its signature is unchanged; the others are built side by side,
        as one may wait for what does not answer. Each is held once more: give them to
        :meth:`release` when the routing table has no user any more.
        """
        kept = {
            fqn: before
            for fqn, wanted in used.items()
            if (before := self._live.get(fqn)) is not None and before.signature == wanted.signature
        }
        for _ in kept:
            self.instruments.reused_handlers.add()
        async with asyncio.TaskGroup() as tasks:
            building = {
                fqn: tasks.create_task(self._build(fqn, wanted), name=f"build {fqn}")
                for fqn, wanted in used.items()
                if fqn not in kept
            }
        made = {fqn: task.result() for fqn, task in building.items()}
        built = {**kept, **{fqn: each for fqn, each in made.items() if isinstance(each, Live)}}
        for live in built.values():
            live.holders += 1
        self._live = dict(built)
        self.failures = {fqn: each for fqn, each in made.items() if isinstance(each, str)}
        return built

    async def _build(self, fqn: str, wanted: UsedHandler) -> Live | str:
        """A handler, or why there is none."""
        try:
            handler = wanted.handler.adapter.build(wanted.config)
            if hasattr(handler, "prepare"):
                await self._prepare(fqn, handler)
        except AdapterError as error:
            self.instruments.build_failures.add()
            log.error("handler.build_failed", handler=fqn, error=str(error))
            return str(error)
        except Exception as error:
            self.instruments.build_failures.add()
            log.error("handler.build_failed", handler=fqn, error=repr(error), exc_info=error)
            return f"panic while the handler was built: {error}"
        self.instruments.new_handlers.add()
        log.info("handler.built", handler=fqn, adapter=wanted.config.adapter)
        live = Live(fqn, wanted.signature, handler)
        if hasattr(handler, "run"):
            live.worker = self.tasks.create_task(self._work(fqn, handler), name=fqn)
        return live

    async def _prepare(self, fqn: str, handler: Any) -> None:
        try:
            async with asyncio.timeout(self.prepare.total_seconds()):
                await handler.prepare()
        except TimeoutError:
            log.warning("handler.not_prepared", handler=fqn, seconds=self.prepare.total_seconds())

    async def _work(self, fqn: str, handler: Any) -> None:
        """Keep a handler's background work going, whatever happens in it."""
        backoff = Backoff(timedelta(milliseconds=100), timedelta(seconds=30))
        self._count(1)
        try:
            while True:
                try:
                    await handler.run()
                    return
                except Exception as error:
                    log.error("handler.worker_failed", handler=fqn, exc_info=error)
                await asyncio.sleep(backoff.next(self.jitter()).total_seconds())
        finally:
            self._count(-1)

    def _count(self, change: int) -> None:
        self._daemons += change
        self.instruments.daemons.set(self._daemons)

    async def release(self, held: Mapping[str, Live]) -> None:
        """Hold these handlers once less; close those that nobody holds."""
        for live in held.values():
            live.holders -= 1
        for live in held.values():
            if not live.holders:
                await self._close(live)

    async def _close(self, live: Live) -> None:
        """Let a handler deliver what it holds, then stop its work: not amid a delivery."""
        try:
            async with asyncio.timeout(self.close.total_seconds()):
                if hasattr(live.handler, "close"):
                    await live.handler.close()
                if live.worker is not None:
                    live.worker.cancel()
                    await asyncio.wait([live.worker])
        except Exception as error:
            self.instruments.close_failures.add()
            log.error("handler.close_failed", handler=live.fqn, error=repr(error), exc_info=error)
            if live.worker is not None and not live.worker.done():
                live.worker.cancel()
                log.warning("handler.worker_left", handler=live.fqn)
        else:
            self.instruments.closed_handlers.add()
            log.info("handler.closed", handler=live.fqn)
