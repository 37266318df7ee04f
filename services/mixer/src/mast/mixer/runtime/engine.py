"""The engine behind all faces: one routing table in force, swapped as a whole (D10)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import structlog

from mast.common.latest import Latest
from mast.mixer.core.applied import Applied
from mast.mixer.core.check import check
from mast.mixer.core.config.snapshot import EMPTY, Snapshot
from mast.mixer.core.dispatch import Notes, Routing
from mast.mixer.core.engine import CheckVerdict, QuotaAsk, Reads
from mast.mixer.core.mixer_role import MixerRole
from mast.mixer.core.preprocess import Preprocessing
from mast.mixer.core.report import Reporter
from mast.mixer.core.templates import Variety
from mast.mixer.core.values import Attributes
from mast.mixer.runtime.calls import Calls
from mast.mixer.runtime.handlers import Handlers, Live
from mast.mixer.runtime.instruments import Instruments

log = structlog.get_logger()

# How long calls on a replaced table may still run before its handlers are closed all the same.
DRAIN = timedelta(seconds=10)

# Warnings about requests that one table may cause: callers choose what they ask for.
MAX_TOLD = 1000


@dataclass(eq=False)
class Table:
    """A routing table in use, with what belongs to it."""

    routing: Routing
    preprocessing: Preprocessing
    reporter: Reporter
    handlers: Mapping[str, Live]
    check_reads: Reads
    report_reads: Reads
    users: int = 0
    unused: asyncio.Event = field(default_factory=asyncio.Event)
    _told: set[str] = field(default_factory=set)

    def first(self, what: str) -> bool:
        """Whether this is told for the first time; no more than so many things ever are."""
        new = what not in self._told and len(self._told) < MAX_TOLD
        if new:
            self._told.add(what)
        return new


def _table(snapshot: Snapshot, handlers: Mapping[str, Live], root: str) -> Table:
    built = {fqn: live.handler for fqn, live in handlers.items()}
    routing = Routing(snapshot, built, root)
    generator = Variety.ATTRIBUTE_GENERATOR
    return Table(
        routing,
        Preprocessing(routing, snapshot.expressions.types),
        Reporter(routing, snapshot.expressions.types),
        handlers,
        routing.reads(generator, Variety.CHECK, Variety.QUOTA),
        routing.reads(generator, Variety.REPORT),
    )


class LiveEngine:
    """Answers checks and takes reports by the table in force (core.engine.Engine).

    ``applied`` tells what that is.
    """

    def __init__(
        self,
        handlers: Handlers,
        calls: Calls,
        instruments: Instruments,
        root: str,
        drain: timedelta = DRAIN,
        role: MixerRole = MixerRole.ALL,
    ) -> None:
        self._handlers = handlers
        self._calls = calls
        self._instruments = instruments
        self._root = root
        self._role = role
        self._drain = drain
        self._table = _table(EMPTY, {}, root)
        self.applied = Latest(Applied(EMPTY, 0))

    @property
    def check_reads(self) -> Reads:
        """What checks can read."""
        return self._table.check_reads

    @property
    def report_reads(self) -> Reads:
        """What reports can read."""
        return self._table.report_reads

    async def check(
        self,
        attributes: Attributes,
        quotas: Mapping[str, QuotaAsk] | None = None,
        *,
        deduplication_id: str = "",
    ) -> CheckVerdict:
        """See :meth:`mast.mixer.core.engine.Engine.check`."""
        with self._in_use() as (table, notes):
            session = check(
                table.routing,
                table.preprocessing,
                attributes,
                quotas or {},
                deduplication_id,
                notes,
            )
            return await self._calls.drive(session, notes)

    async def report(self, records: Sequence[Attributes]) -> Sequence[str]:
        """See :meth:`mast.mixer.core.engine.Engine.report`."""
        with self._in_use() as (table, notes):
            return await self._calls.drive(table.reporter.report(records, notes), notes)

    @contextmanager
    def _in_use(self) -> Iterator[tuple[Table, Notes]]:
        """The table in force, kept until the end of the call, and a place for notes."""
        table = self._table
        table.users += 1
        notes = Notes()
        try:
            yield table, notes
        finally:
            table.users -= 1
            if not table.users and table is not self._table:
                table.unused.set()
            self._tell(table, notes)

    def _tell(self, table: Table, notes: Notes) -> None:
        """Count what was noted; log each only once per table, requests are many."""
        for (rule, text), times in notes.match_errors.items():
            self._instruments.match_failed(rule, times)
            if table.first(rule):
                log.warning("rule.match_failed", rule=rule, error=text)
        for text in notes.warnings:
            if table.first(text):
                log.warning("request.degraded", detail=text)

    async def swap(self, snapshot: Snapshot) -> None:
        """Put a snapshot in force; calls that are running finish on the table before.

        Returns when the new one is in force; old handlers are closed in the background.
        """
        handlers = await self._handlers.build(self._role.handlers(snapshot))
        before, self._table = self._table, _table(snapshot, handlers, self._root)
        self._instruments.configured(snapshot.counts, self._table.routing.destinations())
        log.info(
            "config.applied",
            snapshot=snapshot.id,
            rules=len(snapshot.rules),
            handlers=len(handlers),
            problems=len(snapshot.problems),
        )
        known = set(self.applied.value.snapshot.problems)
        for problem in snapshot.problems:
            if problem not in known:
                log.warning(
                    "config.problem",
                    resource=problem.resource,
                    field=problem.field,
                    error=problem.text,
                )
        self.applied.publish(Applied(snapshot, len(handlers), self._handlers.failures))
        self._handlers.tasks.create_task(self._retire(before), name=f"retire {before.routing.id}")

    async def _retire(self, table: Table) -> None:
        if table.users:
            try:
                async with asyncio.timeout(self._drain.total_seconds()):
                    await table.unused.wait()
            except TimeoutError:
                log.warning("config.still_used", snapshot=table.routing.id, calls=table.users)
        await self._handlers.release(table.handlers)

    async def close(self) -> None:
        """Deliver what handlers hold and close them all; nothing may be asked any more."""
        before, self._table = self._table, _table(EMPTY, {}, self._root)
        await self._retire(before)
