"""Backups of a real etcd, and what is put back into another one."""

from __future__ import annotations

import asyncio
import secrets
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import grpc.aio
import pytest
import pytest_asyncio
import structlog
from typer.testing import CliRunner

from mast.citadel.core.authority import Slot, self_signed
from mast.citadel.store.authorities import AUTHORITY_KEY, BeingRestored, StoredAuthority
from mast.cli.backup.archive import Item, read
from mast.cli.backup.contents import ALWAYS
from mast.cli.backup.restoring import restore
from mast.cli.backup.taking import take
from mast.cli.errors import CommandError
from mast.cli.main import app
from mast.common.etcd import Delete, EtcdConfig, Put, Store, connect
from mast.common.identity.ca_client import new_private_key
from mast.common.keys import CA_RESTORING, HISTORY
from mastapi.galley.v1 import history_pb2, history_pb2_grpc
from tests.integration.citadel.process import Citadel, citadel
from tests.support.backups import (
    HEADER,
    POLICIES,
    authority,
    config,
    published,
    secret,
    written,
)
from tests.support.credentials import secret_yaml
from tests.support.etcd_server import EtcdServer, etcd_server
from tests.support.galley_server import SECONDS, RunningGalley, galley_server
from tests.support.pki import Ca, Pair, wall_clock

SEAL = b"c" * 32
OTHERS = ("registry/services/shop/a", "quota/h/c", "status/proxies/p", "leader/pilot-1")
"""Keys that are made anew."""


class Killed(Exception):
    """Stands for the end of the process between two batches."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def etcd(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EtcdServer]:
    async with etcd_server(tmp_path_factory.mktemp("etcd")) as running:
        yield running


@pytest.fixture
def root() -> str:
    """Of the store of a test alone."""
    return f"/{secrets.token_hex(8)}"


@pytest.fixture
def short() -> Iterator[Path]:
    """Unix socket paths are short, pytest's directories are not."""
    with tempfile.TemporaryDirectory(prefix="bk-") as name:
        yield Path(name)


@pytest.fixture(autouse=True)
def _logging() -> Iterator[None]:
    """Commands log nothing; that is over with the test."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


@pytest.fixture
async def store(etcd: EtcdServer, root: str) -> AsyncIterator[Store]:
    async with connect(EtcdConfig(endpoints=(etcd.endpoint,), root=root)) as connected:
        yield connected


async def mastctl(*args: object) -> None:
    """A command that must succeed."""
    ended = await asyncio.to_thread(CliRunner().invoke, app, [*map(str, args)])
    assert ended.exit_code == 0, (ended.output, ended.exception)


async def stored(store: Store, *prefixes: str) -> Mapping[str, bytes]:
    return {e.key: e.value for each in prefixes for e in (await store.list(each)).entries}


def rule(host: str) -> str:
    return (
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\n"
        f"metadata: {{name: a, namespace: shop}}\nspec: {{host: {host}}}\n"
    )


async def history(galley: RunningGalley) -> list[history_pb2.Change]:
    async with grpc.aio.insecure_channel(f"unix:{galley.config.admin_socket}") as channel:
        stub = history_pb2_grpc.HistoryServiceStub(channel)
        told = await stub.History(history_pb2.HistoryRequest(), timeout=SECONDS)
    return list(told.changes)


def unnumbered(changes: list[history_pb2.Change]) -> list[history_pb2.Change]:
    """Without numbers that the store gives."""
    found = []
    for each in changes:
        copy = history_pb2.Change.FromString(each.SerializeToString())
        copy.revision = copy.restored_revision = 0
        for changed in copy.objects:
            changed.previous_revision = min(changed.previous_revision, 1)
        found.append(copy)
    return found


async def renewed(ours: Citadel, pair: Pair) -> None:
    """Another certificate by an older one, over mutual TLS."""
    again, _ = await ours.new_pair(pair=pair)
    assert again.chain != pair.chain


async def rolled_back(galley: RunningGalley, revision: int) -> None:
    async with grpc.aio.insecure_channel(f"unix:{galley.config.admin_socket}") as channel:
        stub = history_pb2_grpc.HistoryServiceStub(channel)
        await stub.Rollback(history_pb2.RollbackRequest(revision=revision), timeout=SECONDS)


async def test_another_etcd_goes_on_where_a_lost_one_ended(tmp_path: Path, short: Path) -> None:
    """The same root, certificates that count, configuration and the way back to what it was."""
    ca_key, secrets_key = short / "ca.key", short / "secrets.key"
    file, leaf = tmp_path / "b", Ca.root().leaf(dns=["a.test"])
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    async with etcd_server(tmp_path / "first") as lost:
        async with (
            connect(EtcdConfig(endpoints=(lost.endpoint,))) as store,
            citadel(lost.endpoint, short) as ours,
            galley_server(short / "1", lost.endpoint, secrets_key_file=secrets_key) as galley,
        ):
            pair, _ = await ours.new_pair(await ours.join_token())
            roots = await ours.roots()
            credential = secret_yaml("cred", "shop", tls_crt=leaf.chain, tls_key=leaf.key)
            for text in (rule("a.com"), rule("b.com"), credential):
                await galley.apply(text)
            told = await history(galley)
            for key in OTHERS:
                await store.put(key, b"x")
            await mastctl("backup", file, "--history", "--endpoints", lost.endpoint)
        await lost.kill()
    async with etcd_server(tmp_path / "second") as empty:
        keys = ("--ca-key-file", ca_key, "--secrets-key-file", secrets_key)
        await mastctl("restore", file, "--endpoints", empty.endpoint, *keys)
        async with (
            connect(EtcdConfig(endpoints=(empty.endpoint,))) as store,
            citadel(empty.endpoint, short, name="again") as again,
            galley_server(short / "2", empty.endpoint, secrets_key_file=secrets_key) as galley,
        ):
            assert await again.roots() == roots
            await renewed(again, pair)
            assert list(await stored(store, "secrets/")) == ["secrets/shop/cred"]
            assert not await stored(store, "quota/", "registry/", "status/proxies/", "leader/pilot")
            changes = await history(galley)
            assert unnumbered(changes) == unnumbered(told)
            assert (await galley.listed("DestinationRule"))["shop/a"].spec["host"] == "b.com"
            await rolled_back(galley, changes[-1].revision)
            assert (await galley.listed("DestinationRule"))["shop/a"].spec["host"] == "a.com"


def items(count: int = 250) -> list[Item]:
    """More than two batches hold, with a policy among them."""
    ca, _ = authority(SEAL, wall_clock())
    return [ca, *(config(f"s{n}") for n in range(count)), config("p", POLICIES)]


async def test_what_is_interrupted_goes_on(store: Store, tmp_path: Path) -> None:
    backup = written(tmp_path / "b", items())
    other = replace(backup, checksum="other")
    seen: list[int] = []

    def die(done: int, total: int) -> None:
        seen.append(total)
        if done == 2:
            raise Killed

    with pytest.raises(Killed):
        await restore(store, backup, progress=die)
    half = await stored(store, *ALWAYS)
    assert 0 < len(half) < len(backup.items)
    # What guards is there before what it guards.
    assert {AUTHORITY_KEY, config("p", POLICIES).key} < half.keys()
    with pytest.raises(CommandError, match="not finished"):
        await take(store, tmp_path / "half", wall_clock())
    with pytest.raises(CommandError, match="another backup was interrupted"):
        await restore(store, other)

    assert await restore(store, backup, progress=lambda done, _: seen.append(done)) == 0
    assert seen == [3, 3, 3]
    assert await stored(store, *ALWAYS) == {item.key: item.value for item in backup.items}
    assert await store.get(CA_RESTORING) is None


async def test_history_is_numbered_alike_whenever_it_is_interrupted(
    store: Store, tmp_path: Path
) -> None:
    """What a change says that it replaced is what the change before wrote."""
    header = replace(HEADER, prefixes=(*ALWAYS, HISTORY))
    first, second, third = (config("a", revision=n) for n in (100, 200, 300))
    changes = [
        Item(
            f"history/changes/{n}",
            history_pb2.Change(
                objects=[history_pb2.ObjectChange(previous_revision=before)]
            ).SerializeToString(),
            n,
        )
        for n, before in ((100, 50), (200, 100), (300, 200))
    ]
    assert first.value == second.value == third.value
    backup = written(tmp_path / "b", [third, *changes], header)
    for _ in range(10):
        done = []

        def die(now: int, total: int, done: list[int] = done) -> None:
            done.append(now)
            raise Killed

        try:
            await restore(store, backup, progress=die)
        except Killed:
            continue
        break
    entries = (await store.list("history/changes/")).entries
    replaced = [
        history_pb2.Change.FromString(each.value).objects[0].previous_revision for each in entries
    ]
    assert replaced == [1, entries[0].mod_revision, entries[1].mod_revision]
    current = await store.get(third.key)
    assert current is not None
    assert current.mod_revision == entries[2].mod_revision


async def test_nobody_makes_a_ca_meanwhile(store: Store) -> None:
    """Whichever comes first: the CA of the backup is the one in the end."""

    async def new_slot() -> Slot:
        return self_signed(
            "cluster.local",
            new_private_key("P256"),
            now=wall_clock(),
            ttl=timedelta(days=1),
            serial=1,
        )

    kept = StoredAuthority(
        store=store,
        key=SEAL,
        trust_domain="cluster.local",
        new_slot=new_slot,
        entropy=secrets.token_bytes,
        random=lambda: 0.0,
    )
    await store.put(CA_RESTORING, b"{}")
    with pytest.raises(BeingRestored):
        await kept.load_or_create()
    assert await store.get(AUTHORITY_KEY) is None
    item, roots = authority(SEAL, wall_clock())
    await store.txn([], [Put(AUTHORITY_KEY, item.value), Delete(CA_RESTORING)])
    assert (await kept.load_or_create())[0].roots_pem == roots


async def test_only_force_replaces_and_only_what_a_backup_holds(
    store: Store, tmp_path: Path
) -> None:
    backup = written(tmp_path / "b", items(3))
    await store.put(config("gone").key, b"x")
    for key in (*OTHERS, "ca/join-tokens/a", "history/changes/1"):
        await store.put(key, b"x")
    before = await stored(store, "")
    with pytest.raises(CommandError, match="not empty: 1 keys"):
        await restore(store, backup)
    assert await stored(store, "") == before

    assert await restore(store, backup, force=True) == 1
    others = dict.fromkeys((*OTHERS, "ca/join-tokens/a", "history/changes/1"), b"x")
    assert await stored(store, "") == others | {item.key: item.value for item in backup.items}


async def test_a_backup_is_of_one_moment(store: Store, tmp_path: Path) -> None:
    """Keys that are written together are the same in it, however far apart they are read."""
    await store.txn([], [Put(each.key, each.value) for each in items(90)])
    stop = asyncio.Event()

    async def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            both = (published("https://a.test/keys", f"{number}"), config("z", revision=number))
            await store.txn([], [Put(item.key, item.value) for item in both])

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(write())
        for number in range(5):
            await take(store, tmp_path / f"{number}", wall_clock())
        stop.set()
    for number in range(5):
        backup = read(tmp_path / f"{number}")
        revisions = {item.key: item.revision for item in backup.items}
        keys, entry = published("https://a.test/keys").key, config("z").key
        assert revisions.get(keys) == revisions.get(entry)
        assert all(each <= backup.header.revision for each in revisions.values())


async def test_what_could_not_be_put_back_is_told_when_it_is_taken(
    store: Store, tmp_path: Path
) -> None:
    await store.put("config/istio/x/shop/a", b"x")
    with pytest.raises(CommandError, match="config/istio/x/shop/a"):
        await take(store, tmp_path / "b", wall_clock())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        pytest.param(["--ca-key-file", "other.key"], "nothing was written", id="wrong-key"),
        pytest.param(["--force", "--ca-key-file", "other.key"], "nothing was", id="nor-by-force"),
        pytest.param(["--cert", "x.pem"], "give both or none", id="half-a-pair"),
        pytest.param(["--dry-run"], "", id="dry-run"),
    ],
)
async def test_nothing_is_written(
    flags: list[str], said: str, etcd: EtcdServer, store: Store, root: str, tmp_path: Path
) -> None:
    written(tmp_path / "b", [authority(SEAL, wall_clock())[0], secret(b"s" * 32)])
    (tmp_path / "other.key").write_bytes(b"o" * 32)
    where = ["--endpoints", etcd.endpoint, "--root", root]
    files = [str(tmp_path / each) if each.endswith(".key") else each for each in flags]
    line = ["restore", str(tmp_path / "b"), *where, *files]
    ended = await asyncio.to_thread(CliRunner().invoke, app, line)
    assert said in str(ended.exception)
    assert (ended.exit_code != 0) == bool(said)
    assert not await stored(store, "")


async def test_files_of_a_directory_are_dated_and_kept(
    etcd: EtcdServer, store: Store, root: str, tmp_path: Path
) -> None:
    """As the chart's CronJob calls it."""
    item, _ = authority(SEAL, wall_clock())
    await store.put(item.key, item.value)
    old = [tmp_path / f"mast-20200101T00000{n}Z.backup" for n in range(3)]
    for each in old:
        each.write_text("")
    await mastctl("backup", tmp_path, "--keep", 2, "--endpoints", etcd.endpoint, "--root", root)
    *others, new = sorted(tmp_path.glob("*"))
    assert others == old[-1:]
    assert read(new).header.revision > 0
    await mastctl("backup", "--check", new)
