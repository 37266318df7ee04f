"""Leadership on a real etcd: one at a time, handed over, fenced."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from mast.common.etcd import Leadership, Put, Store
from mast.common.keys import leader_key
from tests.support.etcd_server import EtcdServer
from tests.support.following import SECONDS
from tests.support.tcp_proxy import TcpProxy

TTL = timedelta(seconds=2)


async def test_the_leader_is_named_under_its_key(store: Store) -> None:
    async with store.elect("ingest", "galley-1", TTL) as leadership:
        entry = await store.get(leader_key("ingest"))
        assert entry is not None
        assert entry.value == b"galley-1"
        assert entry.create_revision == leadership.fence
        assert entry.lease != 0
    assert await store.get(leader_key("ingest")) is None


async def test_one_leads_at_a_time_and_fences_rise(store: Store, direct: Store) -> None:
    leading: list[str] = []
    fences: list[int] = []

    async def candidate(by: Store, name: str) -> None:
        async with by.elect("ingest", name, TTL) as leadership:
            leading.append(name)
            assert leading == [name], "somebody else leads"
            fences.append(leadership.fence)
            await by.put("work", name.encode())
            leading.remove(name)

    async with asyncio.timeout(SECONDS), asyncio.TaskGroup() as tasks:
        for n in range(6):
            tasks.create_task(candidate(store if n % 2 else direct, f"c{n}"))
    assert len(fences) == 6
    assert fences == sorted(set(fences))


async def test_elections_are_independent(store: Store) -> None:
    async with (
        asyncio.timeout(SECONDS),
        store.elect("one", "me", TTL) as one,
        store.elect("two", "me", TTL) as two,
    ):
        assert one.fence < two.fence


async def test_another_takes_over_from_the_dead_and_fences_it_off(
    store: Store, direct: Store, proxy: TcpProxy
) -> None:
    async with asyncio.timeout(SECONDS), store.elect("ingest", "old", TTL) as old:
        assert (await store.txn([old.guard], [Put("by", b"old")])).succeeded
        proxy.cut()
        async with direct.elect("ingest", "new", TTL) as new:
            await old.lost.wait()
            assert new.fence > old.fence
            assert (await direct.txn([new.guard], [Put("by", b"new")])).succeeded
            proxy.heal()
            assert not (await store.txn([old.guard], [Put("by", b"old")])).succeeded
            entry = await direct.get("by")
            assert entry is not None
            assert entry.value == b"new"


async def test_a_deleted_key_deposes_the_leader(store: Store, direct: Store) -> None:
    async with asyncio.timeout(SECONDS), store.elect("ingest", "me", TTL) as leadership:
        await direct.delete(leader_key("ingest"))
        await leadership.lost.wait()


async def test_who_outranks_the_leader_deposes_it(store: Store, direct: Store) -> None:
    async with asyncio.timeout(SECONDS), store.elect("ingest", "canary/a", TTL) as old:
        async with direct.elect("ingest", "default/b", TTL, lambda held: "canary/" in held) as new:
            await old.lost.wait()
            assert new.fence > old.fence
            assert not (await store.txn([old.guard], [Put("by", b"old")])).succeeded


async def test_leadership_survives_a_restart_of_etcd(store: Store, server: EtcdServer) -> None:
    ttl = timedelta(seconds=6)
    async with store.elect("ingest", "me", ttl) as leadership:
        await server.restart()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.2 * ttl.total_seconds()):
                await leadership.lost.wait()
        assert (await store.txn([leadership.guard], [Put("a", b"")])).succeeded


async def test_work_stops_when_leadership_is_lost_and_starts_again(
    store: Store, direct: Store
) -> None:
    fences: list[int] = []
    cancelled = 0

    async def work(leadership: Leadership) -> None:
        nonlocal cancelled
        fences.append(leadership.fence)
        if len(fences) == 3:
            return
        try:
            await direct.delete(leader_key("ingest"))
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled += 1
            raise

    async with asyncio.timeout(SECONDS):
        await store.lead("ingest", "me", work, TTL)
    assert cancelled == 2
    assert fences == sorted(set(fences))


async def test_an_error_of_the_work_is_raised(store: Store) -> None:
    async def work(_: Leadership) -> None:
        raise KeyError("x")

    async with asyncio.timeout(SECONDS):
        with pytest.raises(KeyError):
            await store.lead("ingest", "me", work, TTL)
    assert await store.get(leader_key("ingest")) is None
