"""The ledger of issued certificates in a real etcd (citadel-and-agent.md A12)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from structlog.testing import capture_logs
from typer.testing import CliRunner

from mast.citadel.core.issued import PREFIX
from mast.citadel.store.ledger import Ledger
from mast.cli.main import app
from mast.common.etcd import Store
from mastapi.citadel.v1 import issued_pb2
from tests.integration.citadel.process import Citadel
from tests.support.etcd_server import EtcdServer
from tests.support.pki import wall_clock
from tests.support.until import until


def certificate(serial: str, life: timedelta = timedelta(hours=1)) -> issued_pb2.IssuedCertificate:
    made = issued_pb2.IssuedCertificate(serial=serial, names=["spiffe://cluster.local/ns/a/sa/b"])
    now = wall_clock()
    made.not_before.FromDatetime(now)
    made.not_after.FromDatetime(now + life)
    return made


@asynccontextmanager
async def keeping(store: Store) -> AsyncIterator[Ledger]:
    ledger = Ledger(store, wall_clock, lambda: 0.5)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(ledger.run())
        try:
            yield ledger
        finally:
            running.cancel()


async def test_many_records_take_few_writes_and_leases(store: Store) -> None:
    before = (await store.list(PREFIX)).revision
    async with keeping(store) as ledger:
        for number in range(250):
            ledger.record(certificate(f"{number:x}"))

        async def all_there() -> bool:
            return len(await ledger.records()) == 250

        await until(all_there)
    listing = await store.list(PREFIX)
    assert listing.revision - before == 3
    assert len({entry.lease for entry in listing.entries}) == 1
    assert all(entry.lease for entry in listing.entries)


async def test_records_end_after_their_certificates(store: Store) -> None:
    async with keeping(store) as ledger:
        ledger.record(certificate("a", timedelta(hours=1)))
        ledger.record(certificate("b", timedelta(hours=30)))

        async def both_there() -> bool:
            return len(await ledger.records()) == 2

        await until(both_there)
    leases = [entry.lease for entry in (await store.list(PREFIX)).entries]
    assert len(set(leases)) == 2


async def test_a_lease_that_nobody_renews_ends(store: Store) -> None:
    """What the ledger prunes itself by."""
    lease = await store.expiring(timedelta(seconds=3))
    await store.put("x", b"", lease=lease)

    async def gone() -> bool:
        return await store.get("x") is None

    await until(gone)


async def test_what_is_issued_while_etcd_is_away_is_written_later(
    etcd: EtcdServer, store: Store
) -> None:
    await etcd.kill()
    with capture_logs() as logs:
        async with keeping(store) as ledger:
            ledger.record(certificate("a"))
            await until(lambda: any(log["event"] == "ledger.unavailable" for log in logs))
            ledger.record(certificate("b"))
            await etcd.restart()

            async def both_there() -> bool:
                return {each.serial for each in await ledger.records()} == {"a", "b"}

            await until(both_there)
    assert [log["event"] for log in logs].count("ledger.unavailable") == 1
    assert ledger.dropped == 0


async def test_a_damaged_record_harms_no_other(store: Store) -> None:
    await store.put(f"{PREFIX}bad", b"\xff")
    async with keeping(store) as ledger:
        ledger.record(certificate("a"))

        async def there() -> bool:
            return [each.serial for each in await ledger.records()] == ["a"]

        await until(there)


async def mastctl(*arguments: str) -> str:
    """What the command line prints; it runs a loop of its own."""
    ended = await asyncio.to_thread(CliRunner().invoke, app, arguments)
    assert ended.exit_code == 0, ended.output
    return ended.stdout


async def test_the_command_line_makes_tokens_and_lists_certificates(ca: Citadel) -> None:
    await ca.service.address("admin")
    socket = f"unix:{ca.admin_socket}"
    token = (await mastctl("ca", "join-token", "vms", "db", "--citadel", socket)).strip()
    await ca.new_pair(token)
    identity = "spiffe://cluster.local/ns/vms/sa/db"

    async def listed() -> bool:
        text = await mastctl("ca", "issued", identity, "--citadel", socket, "-o", "json")
        return [each["names"] for each in json.loads(text)] == [[identity]]

    await until(listed)
    assert "join token" in await mastctl("ca", "issued", "--citadel", socket)
