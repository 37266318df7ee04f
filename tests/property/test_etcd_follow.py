"""A follower of a real etcd under random schedules of writes, outages, compactions and reads."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mast.common.etcd import Batch, Delete, EtcdConfig, Put, Store, connect
from tests.support.etcd_server import EtcdServer
from tests.support.following import SECONDS, Folded, compact, contents
from tests.support.tcp_proxy import TcpProxy, tcp_proxy

KEYS = st.sampled_from([f"k/{n}" for n in range(4)])
WRITES = st.one_of(
    st.builds(Put, KEYS, st.binary(max_size=3)),
    st.builds(Delete, KEYS),
)
STEPS = st.one_of(
    st.lists(WRITES, min_size=1, max_size=3, unique_by=lambda op: op.key),
    st.sampled_from(["read", "cut", "heal", "compact", "wait"]),
)
_roots = count()


@dataclass
class Bench:
    """An etcd that lives over all examples, on a loop of its own."""

    server: EtcdServer
    runner: asyncio.Runner


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    data: Path = tmp_path_factory.mktemp("etcd")
    server = EtcdServer(data, (), "http")
    with asyncio.Runner() as runner:
        try:
            runner.run(server.start())
            yield Bench(server, runner)
        finally:
            runner.run(server.kill())


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(schedule=st.lists(STEPS, max_size=25), restart=st.integers(0, 9))
def test_a_follower_ends_with_what_etcd_holds(
    bench: Bench, schedule: Sequence[str | Sequence[Put | Delete]], restart: int
) -> None:
    if restart == 0:
        schedule = [*schedule, "restart"]
    bench.runner.run(example(bench.server, schedule))


async def example(server: EtcdServer, schedule: Sequence[str | Sequence[Put | Delete]]) -> None:
    root = f"/example/{next(_roots)}"
    timeout = timedelta(seconds=2)
    async with (
        asyncio.timeout(2 * SECONDS),
        tcp_proxy(server.endpoint) as proxy,
        connect(EtcdConfig(endpoints=(server.endpoint,), root=root)) as writer,
        connect(EtcdConfig(endpoints=(proxy.endpoint,), root=root, timeout=timeout)) as store,
        aclosing(store.follow("k/")) as batches,
        asyncio.TaskGroup() as tasks,
    ):
        folded = Folded()
        reading: asyncio.Task[Batch] = tasks.create_task(batches.__anext__())
        for step in schedule:
            if step == "read" and reading.done():
                folded.add(reading.result())
                reading = tasks.create_task(batches.__anext__())
            await act(step, server, proxy, writer)
        proxy.heal()
        await writer.put("k/end", b"")
        while not (folded.batches and folded.batches[-1].synced and "k/end" in folded.state):
            folded.add(await reading)
            reading = tasks.create_task(batches.__anext__())
        assert folded.state == await contents(writer, "k/")
        reading.cancel()


async def act(
    step: str | Sequence[Put | Delete], server: EtcdServer, proxy: TcpProxy, writer: Store
) -> None:
    match step:
        case "cut":
            proxy.cut()
        case "heal":
            proxy.heal()
        case "compact":
            await compact(server.endpoint, await writer.put("elsewhere", b""))
        case "wait":
            # Lets the follower reconnect, read and list meanwhile: schedules differ in where.
            await asyncio.sleep(0.02)
        case "restart":
            await server.restart()
        case "read":
            await asyncio.sleep(0)
        case writes if not isinstance(writes, str):
            await writer.txn([], writes)
