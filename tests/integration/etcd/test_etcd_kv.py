"""Reading and writing a real etcd."""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mast.common.etcd import (
    Compare,
    Conflict,
    Delete,
    EtcdConfig,
    Put,
    Rejected,
    Store,
    Target,
    Unavailable,
    connect,
)
from tests.support.etcd_server import EtcdServer, free_port
from tests.support.tcp_proxy import TcpProxy, tcp_proxy

MEGABYTE = 1 << 20


@pytest.fixture
async def proxy(shared_server: EtcdServer) -> AsyncIterator[TcpProxy]:
    async with tcp_proxy(shared_server.endpoint) as between:
        yield between


@pytest.fixture
def root() -> str:
    return f"/{secrets.token_hex(8)}"


@pytest.fixture
async def store(proxy: TcpProxy, root: str) -> AsyncIterator[Store]:
    config = EtcdConfig(endpoints=(proxy.endpoint,), root=root, timeout=timedelta(seconds=3))
    async with connect(config) as connected:
        yield connected


@pytest.fixture
async def direct(shared_server: EtcdServer, root: str) -> AsyncIterator[Store]:
    """A second client, not through the proxy."""
    config = EtcdConfig(endpoints=(shared_server.endpoint,), root=root)
    async with connect(config) as connected:
        yield connected


async def test_an_entry_tells_its_history(store: Store) -> None:
    created = await store.put("a", b"1")
    changed = await store.put("a", b"2")
    entry = await store.get("a")
    assert entry is not None
    assert (entry.key, entry.value, entry.version, entry.lease) == ("a", b"2", 2, 0)
    assert (entry.create_revision, entry.mod_revision) == (created, changed)
    assert created < changed


async def test_a_missing_key_has_no_entry(store: Store) -> None:
    assert await store.get("missing") is None


async def test_many_keys_are_read_together(store: Store) -> None:
    for start in (0, 100, 200):
        await store.txn([], [Put(f"k/{n}", str(n).encode()) for n in range(start, start + 100)])
    wanted = [f"k/{n}" for n in range(0, 400, 2)]
    found = await store.get_many(wanted)
    assert {key: entry.value for key, entry in found.items()} == {
        f"k/{n}": str(n).encode() for n in range(0, 300, 2)
    }
    assert await store.get_many([]) == {}


async def test_keys_are_read_as_they_were(store: Store) -> None:
    before = await store.put("a", b"old")
    await store.txn([], [Put("a", b"new"), Put("b", b"new")])
    found = await store.get_many(["a", "b"], before)
    assert {key: (entry.value, entry.mod_revision) for key, entry in found.items()} == {
        "a": (b"old", before)
    }


async def test_delete_says_whether_the_key_existed(store: Store) -> None:
    await store.put("a", b"")
    assert await store.delete("a") is True
    assert await store.delete("a") is False
    assert await store.get("a") is None


async def test_the_root_separates_stores(store: Store, shared_server: EtcdServer) -> None:
    other = EtcdConfig(endpoints=(shared_server.endpoint,), root="/other")
    async with connect(other) as elsewhere:
        await elsewhere.put("a", b"theirs")
        assert await store.get("a") is None
        assert (await store.list("")).entries == ()


async def test_a_key_may_hold_any_character(store: Store) -> None:
    for key in ("*.wild.example.com", "ns/naïve", "sp ace", "per%cent"):
        await store.put(key, key.encode())
    listing = await store.list("")
    assert {e.key: e.value.decode() for e in listing.entries} == {
        e.key: e.key for e in listing.entries
    }
    assert len(listing.entries) == 4


async def test_compare_and_swap_creates_only_what_is_missing(store: Store) -> None:
    revision = await store.compare_and_swap("a", b"1", expected=0)
    with pytest.raises(Conflict) as refused:
        await store.compare_and_swap("a", b"2", expected=0)
    assert (refused.value.key, refused.value.expected, refused.value.found) == ("a", 0, revision)


async def test_compare_and_swap_replaces_only_what_was_read(store: Store) -> None:
    first = await store.put("a", b"1")
    second = await store.compare_and_swap("a", b"2", expected=first)
    with pytest.raises(Conflict, match=f"is at revision {second}, expected {first}"):
        await store.compare_and_swap("a", b"3", expected=first)
    entry = await store.get("a")
    assert entry is not None
    assert entry.value == b"2"


async def test_delete_of_another_revision_conflicts(store: Store) -> None:
    first = await store.put("a", b"1")
    second = await store.put("a", b"2")
    with pytest.raises(Conflict):
        await store.delete("a", expected=first)
    assert await store.delete("a", expected=second) is True
    assert await store.delete("a", expected=0) is False


async def test_racing_writers_lose_no_increment(store: Store, direct: Store) -> None:
    async def increment(by: Store, times: int) -> None:
        for _ in range(times):
            while True:
                entry = await by.get("counter")
                value, seen = (0, 0) if entry is None else (int(entry.value), entry.mod_revision)
                try:
                    await by.compare_and_swap("counter", str(value + 1).encode(), expected=seen)
                except Conflict:
                    continue
                break

    async with asyncio.TaskGroup() as tasks:
        for writer in (store, direct, store, direct):
            tasks.create_task(increment(writer, 25))
    entry = await store.get("counter")
    assert entry is not None
    assert entry.value == b"100"


@pytest.mark.parametrize(
    ("compare", "holds"),
    [
        pytest.param(Compare.absent("new"), True, id="absent"),
        pytest.param(Compare.absent("old"), False, id="not-absent"),
        pytest.param(Compare("old", b"1", Target.VALUE), True, id="value"),
        pytest.param(Compare("old", b"2", Target.VALUE), False, id="other-value"),
        pytest.param(Compare("old", 1, Target.VERSION), True, id="version"),
        pytest.param(Compare.created("old", 999), False, id="other-creation"),
        pytest.param(Compare.unchanged("old", 999), False, id="other-revision"),
    ],
)
async def test_a_transaction_does_one_branch(store: Store, compare: Compare, holds: bool) -> None:
    await store.put("old", b"1")
    result = await store.txn([compare], [Put("then", b"")], [Put("else", b"")])
    assert result.succeeded is holds
    assert (await store.get("then") is not None) is holds
    assert (await store.get("else") is not None) is not holds


async def test_a_transaction_has_one_revision(store: Store) -> None:
    await store.put("gone/1", b"")
    await store.put("gone/2", b"")
    result = await store.txn([], [Put("a", b"1"), Put("b", b"2"), Delete("gone/", prefix=True)])
    listing = await store.list("")
    assert {e.key: e.mod_revision for e in listing.entries} == {
        "a": result.revision,
        "b": result.revision,
    }


async def test_too_many_operations_are_rejected_whole(store: Store) -> None:
    with pytest.raises(Rejected, match="too many operations") as refused:
        await store.txn([], [Put(f"k/{n}", b"") for n in range(129)])
    assert refused.value.code == "INVALID_ARGUMENT"
    assert (await store.list("k/")).entries == ()


@pytest.mark.parametrize(
    ("size", "code"),
    [
        pytest.param(MEGABYTE + MEGABYTE // 2 + 1, "INVALID_ARGUMENT", id="over-etcds-limit"),
        pytest.param(3 * MEGABYTE, "RESOURCE_EXHAUSTED", id="over-grpcs-limit"),
    ],
)
async def test_a_value_too_big_is_rejected(store: Store, size: int, code: str) -> None:
    with pytest.raises(Rejected, match="large") as refused:
        await store.put("big", bytes(size))
    assert refused.value.code == code
    assert await store.get("big") is None


async def test_a_listing_of_big_values_exceeds_no_message_limit(store: Store) -> None:
    for n in range(8):
        await store.put(f"big/{n}", bytes([n]) * MEGABYTE)
    listing = await store.list("big/")
    assert [(e.value[0], len(e.value)) for e in listing.entries] == [
        (n, MEGABYTE) for n in range(8)
    ]


async def test_ten_thousand_keys_are_listed_at_one_revision(store: Store, direct: Store) -> None:
    """Writers add pairs in one transaction: a listing must never hold half a pair."""
    for start in range(0, 10_000, 100):
        puts = [Put(f"many/{n:05}", b"x" * 100) for n in range(start, start + 100)]
        await direct.txn([], puts)
    stop = False
    pairs = 0
    written = asyncio.Event()

    async def write() -> None:
        nonlocal pairs
        while not stop:
            value = str(pairs).encode()
            ends = [Put("many/00000", value), Put("many/99999", value)]
            await direct.txn([], ends)
            pairs += 1
            written.set()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(write())
        for page in (500, 1000, 3000):
            written.clear()
            async with asyncio.timeout(60):
                await written.wait()
            listing = await store.list("many/", page=page)
            assert len(listing.entries) == 10_001
            keys = [entry.key for entry in listing.entries]
            assert keys == sorted(set(keys))
            first, last = listing.entries[0], listing.entries[-1]
            assert first.value == last.value
            assert max(entry.mod_revision for entry in listing.entries) <= listing.revision
        stop = True
    assert pairs > 3


async def test_without_etcd_a_call_fails_in_time_and_says_why() -> None:
    config = EtcdConfig(endpoints=(f"127.0.0.1:{free_port()}",), timeout=timedelta(seconds=0.5))
    async with connect(config) as store, asyncio.timeout(20):
        with pytest.raises(Unavailable) as refused:
            await store.put("a", b"")
        assert refused.value.operation == "put"
        assert config.endpoints[0] in str(refused.value)
        assert "onnection refused" in str(refused.value)
        assert store.health.connected is False


async def test_a_frozen_etcd_fails_in_time(store: Store, shared_server: EtcdServer) -> None:
    await store.put("a", b"")
    await shared_server.pause()
    try:
        async with asyncio.timeout(20):
            with pytest.raises(Unavailable, match="DEADLINE_EXCEEDED"):
                await store.put("a", b"")
    finally:
        shared_server.resume()
    assert await store.get("a") is not None


async def test_a_short_outage_is_waited_out(server: EtcdServer) -> None:
    async with tcp_proxy(server.endpoint) as between:
        config = EtcdConfig(endpoints=(between.endpoint,), timeout=timedelta(seconds=3))
        async with connect(config) as store:
            await store.put("a", b"1")
            await server.kill()
            async with asyncio.TaskGroup() as tasks:
                reading = tasks.create_task(store.get("a"))
                await server.restart()
    entry = reading.result()
    assert entry is not None
    assert entry.value == b"1"


async def test_health_follows_the_connection(proxy: TcpProxy) -> None:
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    config = EtcdConfig(endpoints=(proxy.endpoint,), timeout=timedelta(seconds=3))
    async with connect(config, now=lambda: noon) as store:
        await store.put("a", b"")
        assert (store.health.connected, store.health.since) == (True, noon)
        proxy.cut()
        with pytest.raises(Unavailable):
            await store.put("a", b"")
        assert store.health.connected is False
        assert store.health.detail
        proxy.heal()
        async with asyncio.timeout(10):
            health = store.health
            while not health.connected:
                health = await store.health_after(health)


async def test_another_endpoint_takes_over(shared_server: EtcdServer, proxy: TcpProxy) -> None:
    endpoints = (f"127.0.0.1:{free_port()}", proxy.endpoint, shared_server.endpoint)
    config = EtcdConfig(endpoints=endpoints, timeout=timedelta(seconds=2))
    async with connect(config) as store, asyncio.timeout(20):
        await store.put("a", b"1")
        proxy.cut()
        assert await store.get("a") is not None
        await store.put("a", b"2")
        proxy.heal()
        proxy.stall()
        assert await store.get("a") is not None


async def test_an_error_in_the_block_stays_itself(shared_server: EtcdServer) -> None:
    with pytest.raises(KeyError):
        async with connect(EtcdConfig(endpoints=(shared_server.endpoint,))):
            raise KeyError("x")


async def test_closing_leaves_no_task_and_no_thread(shared_server: EtcdServer) -> None:
    before = len(asyncio.all_tasks())

    async def use() -> None:
        async with connect(EtcdConfig(endpoints=(shared_server.endpoint,))) as store:
            await store.put("a", b"")
            async with aclosing(store.follow("")) as batches, store.lease(timedelta(seconds=5)):
                await anext(batches)

    await use()
    threads = threading.active_count()
    for _ in range(3):
        await use()
    assert threading.active_count() <= threads
    names = {task.get_name() for task in asyncio.all_tasks()}
    assert not [name for name in names if name.startswith(("etcd", "follow", "lease"))]
    # gRPC's own task of the last call may take another turn of the loop.
    assert len(names) <= before + 1


async def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        EtcdConfig(endpoints=())
    with pytest.raises(ValueError, match="both or none"):
        EtcdConfig(user="galley")
    with pytest.raises(ValueError, match="both or none"):
        EtcdConfig(cert=Path("x"))
    with pytest.raises(ValueError, match="root"):
        EtcdConfig(root="/mast/")


async def test_an_outage_is_logged_once(
    server: EtcdServer, capsys: pytest.CaptureFixture[str]
) -> None:
    config = EtcdConfig(endpoints=(server.endpoint,), timeout=timedelta(seconds=0.2))
    async with connect(config) as store:
        await store.put("a", b"")
        await server.kill()
        for _ in range(4):
            with pytest.raises(Unavailable):
                await store.put("a", b"")
    assert capsys.readouterr().out.count("etcd.unavailable") == 1
