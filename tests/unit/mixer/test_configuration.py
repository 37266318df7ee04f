"""From changes in the store to snapshots in force (mixer.md D10 to D12)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from itertools import count
from typing import Any

import pytest

from mast.common.etcd import Batch, Change
from mast.mixer.core.config.entry import LANGUAGE_ANNOTATION
from mast.mixer.core.config.snapshot import Snapshot
from mast.mixer.core.lang.dialects import Dialect
from mast.mixer.core.world import PREFIXES, World
from mast.mixer.store.follow import Configuration
from tests.support.mixer_config import Rig, entries, stored
from tests.support.mixer_objects import DENY, NOTHING, rule


class FakeStore:
    """What is told of each prefix is what a test says."""

    def __init__(self) -> None:
        self._told: dict[str, asyncio.Queue[Batch]] = {each: asyncio.Queue() for each in PREFIXES}

    async def follow(self, prefix: str) -> AsyncGenerator[Batch, None]:
        while True:
            yield await self._told[prefix].get()

    def tell(self, objects: dict[str, bytes], revision: int) -> None:
        """Changes, each to the followers of its prefix."""
        for prefix in PREFIXES:
            mine = {key: value for key, value in objects.items() if key.startswith(prefix)}
            if mine:
                self._told[prefix].put_nowait(batch(mine, revision))

    def synced(self, *prefixes: str) -> None:
        """Everything that was there is told."""
        for prefix in prefixes:
            self._told[prefix].put_nowait(batch({}, 1))


def batch(objects: dict[str, bytes], revision: int) -> Batch:
    changes = tuple(Change(key, value, revision, revision, None) for key, value in objects.items())
    return Batch(changes, revision, synced=True)


class Following:
    """A configuration that is followed, and what became of it."""

    def __init__(self, gather: timedelta, language: str) -> None:
        self.store = FakeStore()
        self.swapped: asyncio.Queue[Snapshot] = asyncio.Queue()
        store: Any = self.store
        self.configuration = Configuration(
            store, World(), Rig().adapters, self.swapped.put, gather, language
        )

    async def snapshot(self) -> Snapshot:
        async with asyncio.timeout(30):
            return await self.swapped.get()


@asynccontextmanager
async def following(gather: timedelta, language: str = "") -> AsyncIterator[Following]:
    found = Following(gather, language)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(found.configuration.run())
        yield found
        running.cancel()


ACTIONS = "actions: [{handler: deny, instances: [nothing]}]"


async def test_nothing_is_in_force_before_everything_is_known() -> None:
    """D11: rules without the attributes of their matches would be no rules."""
    async with following(timedelta(milliseconds=10)) as found:
        found.store.tell(stored(DENY, NOTHING, rule(f"{{{ACTIONS}}}")), 7)
        *most, last = PREFIXES
        found.store.synced(*most)
        for _ in range(100):
            await asyncio.sleep(0)
        assert found.swapped.empty()
        assert not found.configuration.complete.is_set()
        found.store.synced(last)
        snapshot = await found.snapshot()
        assert (snapshot.id, len(snapshot.rules), snapshot.revision) == (1, 1, 7)
        async with asyncio.timeout(30):
            await found.configuration.complete.wait()


async def test_changes_that_come_together_make_one_snapshot() -> None:
    """D10: the next has the number after, and says up to which revision it is."""
    async with following(timedelta(seconds=1)) as found:
        found.store.synced(*PREFIXES)
        assert (await found.snapshot()).rules == ()
        for number in range(20):
            objects = stored(rule(f"{{match: 'true', {ACTIONS}}}", name=f"r{number}"))
            found.store.tell(objects, 10 + number)
        found.store.tell(stored(DENY, NOTHING), 50)
        snapshot = await found.snapshot()
        assert (snapshot.id, len(snapshot.rules), snapshot.revision) == (2, 20, 50)


@pytest.mark.parametrize(
    ("everywhere", "annotation", "dialect"),
    [
        ("", "", Dialect.CEXL),
        ("", "CEL", Dialect.CEL),
        ("", "COMPAT", Dialect.COMPAT),
        ("", "cel", Dialect.CEXL),
        ("CEL", "", Dialect.CEL),
        ("COMPAT", "CEL", Dialect.COMPAT),
        ("CEXL", "CEL", Dialect.CEXL),
        ("anything", "CEL", Dialect.CEXL),
    ],
)
async def test_the_language_of_an_object(
    everywhere: str, annotation: str, dialect: Dialect
) -> None:
    """D12: that of all, else that of its annotation; any other word is CEXL."""
    async with following(timedelta(milliseconds=10), everywhere) as found:
        found.store.synced(*PREFIXES)
        expressions = (await found.snapshot()).expressions
        (entry,) = entries(
            f"{{kind: rule, metadata: {{name: r, annotations: {{{LANGUAGE_ANNOTATION}:"
            f" '{annotation}'}}}}}}"
        )
        assert expressions.dialect(entry) is dialect


async def test_what_cannot_be_read_is_told_with_the_rest() -> None:
    async with following(timedelta(milliseconds=10)) as found:
        ((key, _),) = stored(rule(f"{{{ACTIONS}}}")).items()
        found.store.tell({**stored(DENY, NOTHING), key: b"\xff"}, 3)
        found.store.synced(*PREFIXES)
        snapshot = await found.snapshot()
        assert [each.resource for each in snapshot.problems] == [key]
        assert snapshot.counts.unreadable == 1


async def test_a_change_that_comes_alone_does_not_wait_for_others() -> None:
    """Differs from Istio, which gathers for a second (D10, decision 34)."""
    async with following(timedelta(hours=1)) as found:
        found.store.synced(*PREFIXES)
        await found.snapshot()
        found.store.tell(stored(DENY, NOTHING), 2)
        assert (await found.snapshot()).revision == 2


async def test_changes_without_pause_are_put_in_force_all_the_same() -> None:
    async def change(store: FakeStore) -> None:
        for revision in count(2):
            store.tell(stored(DENY), revision)
            await asyncio.sleep(0.001)

    async with following(timedelta(milliseconds=50)) as found, asyncio.TaskGroup() as tasks:
        found.store.synced(*PREFIXES)
        changing = tasks.create_task(change(found.store))
        numbers = [(await found.snapshot()).id for _ in range(4)]
        changing.cancel()
    assert numbers == [1, 2, 3, 4]


async def test_a_configuration_has_its_name_when_it_is_in_force() -> None:
    """Proxies forget verdicts when it changes: not before others are given (decision 34)."""
    async with following(timedelta(milliseconds=10)) as found:
        names: list[str] = []
        configuration = found.configuration

        async def swap(snapshot: Snapshot) -> None:
            names.append(configuration.world.client.configuration)
            await found.swapped.put(snapshot)

        configuration.swap = swap
        found.store.synced(*PREFIXES)
        for revision, text in enumerate((DENY, NOTHING), start=2):
            await found.snapshot()
            found.store.tell(stored(text), revision)
        await found.snapshot()
    nothing, empty, one = names
    assert nothing != empty != one
