"""Sources that say what there is to be: the leader keeps the store equal to it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection
from contextlib import ExitStack, aclosing
from dataclasses import replace
from datetime import timedelta
from functools import partial

import structlog

from mast.common.backoff import Backoff
from mast.common.etcd import Compare, Leadership, Rejected, Unavailable
from mast.common.keys import CONFIG, SECRETS
from mast.common.kinds import KINDS
from mast.common.latest import Latest
from mast.galley.core.cluster import owner_of
from mast.galley.core.history import Operation, Origin
from mast.galley.core.plan import Aborted, TooLarge
from mast.galley.core.problem import Problem, Severity, errors
from mast.galley.core.selection import selection
from mast.galley.core.tree import Reconciliation, Tree, reconcile
from mast.galley.store.configs import Configs

log = structlog.get_logger()

KEPT_APART = tuple(str(kind) for kind in KINDS if kind.sealed)
"""Kinds that are not among all kinds, because their objects stand under another prefix."""

LEADER_TTL = timedelta(seconds=10)


class TreeKeeper:
    """Keeps the objects of a tree in the store, under the name of their source.

    Every replica is told the tree; the one that leads writes. ``earlier`` are sources whose objects
    are left to them, until they give them up, ``later`` those whose objects are taken over.
    ``report`` is told the number of objects and errors after each change.
    """

    def __init__(
        self,
        configs: Configs,
        *,
        name: str,
        identity: str,
        report: Callable[[str, int, int], None],
        earlier: Collection[str] = (),
        later: Collection[str] = (),
    ) -> None:
        self.name = name
        self._configs = configs
        self._identity = identity
        self._report = report
        self._earlier = frozenset(earlier)
        self._later = frozenset(later)
        self._tree: Latest[Tree | None] = Latest(None)
        self._told: frozenset[Problem] = frozenset()
        # Whether the store is as the one that leads wants it: we do, or somebody else was seen to.
        self._agreed = False

    @property
    def tree(self) -> Tree | None:
        """What there is to be; None if that was never told."""
        return self._tree.value

    @property
    def synced(self) -> bool:
        """Whether the source was read, and stored once by the one that leads (A7)."""
        return self._tree.value is not None and self._agreed

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What was wrong the last time."""
        return tuple(self._told)

    def take(self, tree: Tree) -> None:
        """From now on this is what there is to be."""
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

    async def run(self) -> None:
        """Store for ever."""
        what = f"galley-source-{self.name}"
        while True:
            try:
                await self._configs.store.lead(
                    what, self._identity, self._lead, LEADER_TTL, self._yield_to
                )
            except Aborted as error:
                log.info("source.deposed", source_name=self.name, detail=str(error))

    def _yield_to(self, _: str) -> bool:
        """Somebody else leads, and is not deposed."""
        self._agreed = True
        return False

    async def _lead(self, leadership: Leadership) -> None:
        with ExitStack() as following:
            for prefix in (CONFIG, SECRETS) if self._earlier else ():
                mirror = self._follow_earlier(prefix)
                name = f"source {self.name} {prefix}"
                following.enter_context(self._configs.store.background(mirror, name))
            await self._agree(leadership.guard)

    async def _follow_earlier(self, prefix: str) -> None:
        """Look again when a source before this one gives up an object that is here, too."""
        theirs: set[str] = set()
        async with aclosing(self._configs.follow(prefix)) as batches:
            async for batch in batches:
                given_up = False
                for change in batch.changes:
                    if change.value is not None and owner_of(change.value) in self._earlier:
                        theirs.add(change.key)
                    elif change.key in theirs:
                        theirs.discard(change.key)
                        given_up = True
                tree = self._tree.value
                if given_up and tree is not None:
                    self._tree.publish(replace(tree))

    async def _agree(self, guard: Compare) -> None:
        backoff = Backoff(timedelta(milliseconds=200), timedelta(seconds=10))
        seen: Tree | None = None
        while True:
            tree = await self._tree.after(seen)
            if tree is None:
                continue
            try:
                await self._reconcile(tree, guard)
            except (Unavailable, Rejected, TooLarge) as error:
                log.warning("source.waiting", source_name=self.name, error=str(error))
                await asyncio.sleep(backoff.next(random.random()).total_seconds())  # noqa: S311
                continue
            backoff.reset()
            self._agreed = True
            seen = tree

    async def _reconcile(self, tree: Tree, guard: Compare) -> None:
        stored, _ = await self._configs.list(selection((), "", ""))
        apart, _ = await self._configs.list(selection(KEPT_APART, "", ""))
        stored += apart
        todo = await asyncio.to_thread(partial(reconcile, tree, self.name, stored, self._later))
        self._tell(todo.problems, len(todo.objects))
        await self._write(todo, guard, tree.commit)

    async def _write(self, todo: Reconciliation, guard: Compare, commit: str) -> None:
        written, deleted, revision = await self._configs.replace(
            todo.objects,
            todo.deletions,
            guards=[guard],
            origin=Origin(f"source {self.name}", Operation.SOURCE, commit=commit),
        )
        if revision:
            log.info(
                "source.stored",
                source_name=self.name,
                written=written,
                deleted=deleted,
                revision=revision,
                **({"commit": commit} if commit else {}),
            )
