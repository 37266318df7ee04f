"""Following a prefix of a real etcd through everything that can go wrong."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path

import pytest

from mast.common.etcd import Batch, Change, Delete, EtcdConfig, Put, Store, connect
from mast.common.etcd.fold import Fold
from tests.support.etcd_server import EtcdServer, etcd_server, free_port
from tests.support.following import SECONDS, Folded, compact, contents
from tests.support.tcp_proxy import TcpProxy
from tests.support.until import until


async def test_an_empty_prefix_is_synced_at_once(store: Store) -> None:
    async with aclosing(store.follow("none/")) as batches, asyncio.timeout(SECONDS):
        batch = await anext(batches)
    assert (batch.changes, batch.synced) == ((), True)
    assert batch.revision >= 1


async def test_the_listing_comes_first_then_changes(store: Store) -> None:
    first = await store.put("p/a", b"1")
    await store.put("q/a", b"not ours")
    async with aclosing(store.follow("p/")) as batches, asyncio.timeout(SECONDS):
        batch = await anext(batches)
        assert batch.changes == (Change("p/a", b"1", first, first, None),)
        assert batch.synced is True
        second = await store.put("p/a", b"2")
        assert await anext(batches) == Batch(
            (Change("p/a", b"2", second, first, b"1"),), second, True
        )
        await store.put("q/b", b"not ours")
        await store.delete("p/a")
        batch = await anext(batches)
        assert batch.changes == (Change("p/a", None, batch.revision, 0, b"2"),)


async def test_one_key_is_followed_without_its_neighbours(store: Store) -> None:
    await store.put("key", b"1")
    await store.put("key2", b"not ours")
    async with aclosing(store.follow_key("key")) as batches, asyncio.timeout(SECONDS):
        assert [change.key for change in (await anext(batches)).changes] == ["key"]
        await store.put("key3", b"not ours")
        await store.put("key", b"2")
        assert [change.value for change in (await anext(batches)).changes] == [b"2"]


async def test_a_transaction_is_seen_whole(store: Store, direct: Store) -> None:
    async with aclosing(store.follow("")) as batches:
        folded = Folded()
        await folded.until(batches, lambda f: True)
        for n in range(50):
            value = str(n).encode()
            await direct.txn([], [Put("left", value), Put("right", value)])
        while folded.state.get("left") != b"49":
            folded.add(await anext(batches))
            assert folded.state["left"] == folded.state["right"]


async def test_a_slow_reader_gets_one_change_per_key(store: Store, direct: Store) -> None:
    async with aclosing(store.follow("p/")) as batches, aclosing(store.follow("p/")) as others:
        slow, prompt = Folded(), Folded()
        await slow.until(batches, lambda f: True)
        await prompt.until(others, lambda f: True)
        for n in range(1000):
            await direct.put(f"p/{n % 5}", str(n).encode())
        await direct.put("p/short-lived", b"")
        await direct.delete("p/short-lived")
        await direct.put("p/end", b"")
        await prompt.until(others, lambda f: "p/end" in f.state)
        await slow.until(batches, lambda f: "p/end" in f.state)
    assert len(slow.batches) <= 3, "what a slow reader missed is conflated"
    assert slow.state == prompt.state == await contents(store, "p/")
    told = {change.key for batch in slow.batches for change in batch.changes}
    assert "p/short-lived" not in told, "what came and went between two reads is not told"


async def test_killed_etcd_resumes_where_it_stopped(store: Store, server: EtcdServer) -> None:
    await store.put("a", b"1")
    await store.put("b", b"1")
    async with aclosing(store.follow("")) as batches:
        folded = Folded()
        await folded.until(batches, lambda f: len(f.state) == 2)
        for n in range(3):
            await server.kill()
            await server.restart()
            await store.put("a", str(n).encode())
            await store.delete("b")
            await store.put(f"new/{n}", b"")
            await folded.until(batches, lambda f, n=n: f"new/{n}" in f.state)
            assert folded.state == await contents(store, "")


async def test_changes_during_a_cut_are_told_after_it(
    store: Store, direct: Store, proxy: TcpProxy
) -> None:
    await direct.txn([], [Put("a", b"1"), Put("b", b"1"), Put("c", b"1")])
    async with aclosing(store.follow("")) as batches:
        folded = Folded()
        await folded.until(batches, lambda f: len(f.state) == 3)
        proxy.cut()
        await direct.put("a", b"2")
        await direct.delete("b")
        await direct.put("d", b"1")
        proxy.heal()
        await folded.until(batches, lambda f: "d" in f.state)
    assert folded.state == {"a": b"2", "c": b"1", "d": b"1"}


async def test_after_a_compaction_only_differences_are_told(
    store: Store, direct: Store, proxy: TcpProxy, server: EtcdServer
) -> None:
    await direct.txn([], [Put(f"same/{n}", b"1") for n in range(100)])
    await direct.txn([], [Put("changed", b"1"), Put("gone", b"1"), Put("recreated", b"1")])
    async with aclosing(store.follow("")) as batches:
        folded = Folded()
        await folded.until(batches, lambda f: len(f.state) == 103)
        told = len(folded.batches)
        proxy.cut()
        await direct.put("changed", b"2")
        await direct.txn([], [Delete("gone"), Delete("recreated")])
        await direct.put("recreated", b"2")
        last = await direct.put("added", b"1")
        await compact(server.endpoint, last)
        proxy.heal()
        await folded.until(batches, lambda f: "added" in f.state)
        changes = [change for batch in folded.batches[told:] for change in batch.changes]
        await direct.put("live", b"1")
        await folded.until(batches, lambda f: "live" in f.state)
    assert {(c.key, c.previous, c.value) for c in changes} == {
        ("changed", b"1", b"2"),
        ("gone", b"1", None),
        ("recreated", b"1", b"2"),
        ("added", None, b"1"),
    }
    assert folded.state == await contents(direct, "")


async def test_a_compaction_without_changes_is_silent(
    store: Store, direct: Store, proxy: TcpProxy, server: EtcdServer
) -> None:
    await direct.put("p/a", b"1")
    async with aclosing(store.follow("p/")) as batches:
        folded = Folded()
        await folded.until(batches, lambda f: bool(f.state))
        proxy.cut()
        for _ in range(3):
            last = await direct.put("elsewhere", b"")
        await compact(server.endpoint, last)
        proxy.heal()
        await store.put("p/b", b"1")
        await folded.until(batches, lambda f: "p/b" in f.state)
    assert [len(batch.changes) for batch in folded.batches] == [1, 1]


async def test_progress_saves_an_idle_follower_from_compaction(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Watch progress moves the resume point although nothing under the prefix changes."""
    known = 0

    def advanced(fold: Fold, revision: int) -> None:
        nonlocal known
        known = max(known, revision)
        told(fold, revision)

    told = Fold.advanced
    monkeypatch.setattr(Fold, "advanced", advanced)
    flags = ("--experimental-watch-progress-notify-interval", "100ms")
    async with (
        etcd_server(tmp_path, flags=flags) as server,
        connect(EtcdConfig(endpoints=(server.endpoint,))) as store,
        aclosing(store.follow("p/")) as batches,
        asyncio.timeout(SECONDS),
    ):
        await anext(batches)
        for _ in range(5):
            last = await store.put("elsewhere", b"")
        await until(lambda: known >= last)
        await compact(server.endpoint, last)
        await server.restart()
        await store.put("p/a", b"")
        await anext(batches)
    assert "watch.compacted" not in capsys.readouterr().out


async def test_a_follower_begun_without_etcd_waits_for_it(tmp_path: Path) -> None:
    server = EtcdServer(tmp_path, (), "http")
    config = EtcdConfig(endpoints=(server.endpoint,), timeout=timedelta(seconds=0.3))
    try:
        async with connect(config) as store, aclosing(store.follow("")) as batches:
            async with asyncio.TaskGroup() as tasks, asyncio.timeout(SECONDS):
                first = tasks.create_task(anext(batches))  # type: ignore[arg-type]
                assert (await store.health_after(store.health)).connected is False
                await server.start()
            assert first.result().synced is True
    finally:
        await server.kill()


async def test_a_store_gone_back_in_time_is_listed_again(tmp_path: Path) -> None:
    """etcd restored from a backup: revisions known to the follower will come a second time."""
    server = EtcdServer(tmp_path, (), "http")
    try:
        await server.start()
        async with (
            connect(EtcdConfig(endpoints=(server.endpoint,))) as store,
            aclosing(store.follow("")) as batches,
            asyncio.timeout(SECONDS),
        ):
            for n in range(5):
                await store.put(f"old/{n}", b"")
            state: set[str] = set()
            while len(state) < 5:
                state |= {change.key for change in (await anext(batches)).changes}
            await server.kill()
            (tmp_path / "data").rename(tmp_path / "lost")
            await server.start()
            await store.put("new", b"")
            while state != {"new"}:
                for change in (await anext(batches)).changes:
                    (state.discard if change.value is None else state.add)(change.key)
    finally:
        await server.kill()


async def test_fragments_are_put_together_again(
    store: Store, direct: Store, proxy: TcpProxy
) -> None:
    """What a follower missed comes in one answer, too big for one message."""
    values = {f"big/{n}": bytes([n]) * 400_000 for n in range(12)}
    async with aclosing(store.follow("big/")) as batches:
        folded = Folded()
        await folded.until(batches, lambda f: True)
        proxy.cut()
        for key, value in values.items():
            await direct.put(key, value)
        proxy.heal()
        await folded.until(batches, lambda f: len(f.state) == 12)
    assert folded.state == values
    assert len(folded.batches) == 2, "no fragment was told by itself"


async def test_another_endpoint_continues_the_watch(server: EtcdServer, proxy: TcpProxy) -> None:
    endpoints = (proxy.endpoint, f"127.0.0.1:{free_port()}", server.endpoint)
    config = EtcdConfig(endpoints=endpoints, timeout=timedelta(seconds=2))
    async with connect(config) as store, aclosing(store.follow("")) as batches:
        folded = Folded()
        await folded.until(batches, lambda f: True)
        proxy.cut()
        async with connect(EtcdConfig(endpoints=(server.endpoint,))) as writer:
            await writer.put("a", b"")
        await folded.until(batches, lambda f: "a" in f.state)


async def test_many_keys_come_in_bounded_batches(store: Store) -> None:
    for start in range(0, 10_000, 100):
        await store.txn([], [Put(f"many/{n:05}", b"x") for n in range(start, start + 100)])
    async with aclosing(store.follow("many/")) as batches:
        folded = Folded()
        await folded.until(batches, lambda f: True)
    assert len(folded.state) == 10_000
    assert [batch.synced for batch in folded.batches].count(True) == 1
    assert max(len(batch.changes) for batch in folded.batches) <= 4000
