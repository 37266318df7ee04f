"""The directory source: a tree of files whose leader keeps the store equal to it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path

import structlog

from mast.common.backoff import Backoff
from mast.common.etcd import Compare, Leadership, Rejected, Unavailable
from mast.common.kinds import KINDS
from mast.common.latest import Latest
from mast.galley.core.history import Operation, Origin
from mast.galley.core.objects import Defaults
from mast.galley.core.plan import Aborted, TooLarge
from mast.galley.core.problem import Problem, Severity, errors
from mast.galley.core.selection import selection
from mast.galley.core.tree import Reconciliation, Tree, read_tree, reconcile
from mast.galley.store.configs import Configs
from mast.galley.store.files import FileTree

log = structlog.get_logger()

KEPT_APART = tuple(str(kind) for kind in KINDS if kind.sealed)
"""Kinds that are not among all kinds, because their objects stand under another prefix."""

LEADER_TTL = timedelta(seconds=10)


class DirectorySource:
    """Keeps the objects of a directory in the store, under the name of the source.

    Every replica reads the directory; the one that leads writes. ``report`` is told the number
    of objects and errors after each change.
    """

    def __init__(
        self,
        configs: Configs,
        root: Path,
        *,
        name: str,
        identity: str,
        defaults: Defaults,
        report: Callable[[str, int, int], None],
    ) -> None:
        self.name = name
        self._configs = configs
        self._files = FileTree(root)
        self._identity = identity
        self._defaults = defaults
        self._report = report
        self._tree: Latest[Tree | None] = Latest(None)
        self._told: frozenset[Problem] = frozenset()
        self._stored: Tree | None = None
        self._leading = False

    @property
    def synced(self) -> bool:
        """Whether the directory was read and, by the one that leads, stored."""
        read = self._tree.value is not None
        return read and (not self._leading or self._stored is not None)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What was wrong the last time."""
        return tuple(self._told)

    async def run(self) -> None:
        """Read and store for ever."""
        async with self._files.notified(), asyncio.TaskGroup() as tasks:
            tasks.create_task(self._read(), name=f"read source {self.name}")
            tasks.create_task(self._store(), name=f"store source {self.name}")

    async def _read(self) -> None:
        while True:
            contents = await self._files.next()
            before = self._tree.value or Tree()
            tree = await asyncio.to_thread(read_tree, before, contents, self._defaults)
            objects, problems = tree.merged()
            self._tell(problems, len(objects))
            self._tree.publish(tree)

    def _tell(self, problems: tuple[Problem, ...], objects: int) -> None:
        """Log problems that are new, count all of them."""
        for problem in problems:
            if problem not in self._told:
                level = log.error if problem.severity is Severity.ERROR else log.warning
                level("source.problem", source_name=self.name, problem=str(problem))
        self._told = frozenset(problems)
        self._report(self.name, objects, len(errors(problems)))

    async def _store(self) -> None:
        what = f"galley-source-{self.name}"
        while True:
            try:
                await self._configs.store.lead(what, self._identity, self._lead, LEADER_TTL)
            except Aborted as error:
                log.info("source.deposed", source_name=self.name, detail=str(error))
            finally:
                self._leading = False
                self._stored = None

    async def _lead(self, leadership: Leadership) -> None:
        self._leading = True
        backoff = Backoff(timedelta(milliseconds=200), timedelta(seconds=10))
        seen: Tree | None = None
        while True:
            tree = await self._tree.after(seen)
            if tree is None:
                continue
            try:
                await self._reconcile(tree, leadership.guard)
            except (Unavailable, Rejected, TooLarge) as error:
                log.warning("source.waiting", source_name=self.name, error=str(error))
                await asyncio.sleep(backoff.next(random.random()).total_seconds())  # noqa: S311
                continue
            backoff.reset()
            seen = self._stored = tree

    async def _reconcile(self, tree: Tree, guard: Compare) -> None:
        stored, _ = await self._configs.list(selection((), "", ""))
        apart, _ = await self._configs.list(selection(KEPT_APART, "", ""))
        stored += apart
        todo = await asyncio.to_thread(partial(reconcile, tree, self.name, stored))
        self._tell(todo.problems, len(todo.objects))
        await self._write(todo, guard)

    async def _write(self, todo: Reconciliation, guard: Compare) -> None:
        written, deleted, revision = await self._configs.replace(
            todo.objects,
            todo.deletions,
            guards=[guard],
            origin=Origin(f"source {self.name}", Operation.SOURCE),
        )
        if revision:
            log.info(
                "source.stored",
                source_name=self.name,
                written=written,
                deleted=deleted,
                revision=revision,
            )
