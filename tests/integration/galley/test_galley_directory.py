"""The directory source with real files and a real etcd: edits, renames, mistakes, leaders."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from mast.common.etcd import EtcdConfig, Store, connect
from mast.galley.core.objects import Defaults
from mast.galley.core.selection import selection
from mast.galley.core.tree import Tree, read_tree
from mast.galley.store.configs import Configs
from mast.galley.store.trees import TreeKeeper
from mastapi.galley.v1 import config_pb2 as api
from mastapi.galley.v1 import history_pb2, history_pb2_grpc
from tests.support.etcd_server import EtcdServer
from tests.support.galley_server import SECONDS, RunningGalley, galley_server
from tests.support.until import until


def rule(name: str, host: str = "a.com") -> str:
    return (
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\n"
        f"metadata: {{name: {name}}}\nspec: {{host: '{host}'}}\n"
    )


class Watching:
    """What the store holds, by object name, as it changes."""

    def __init__(self, watch: Any) -> None:
        self.hosts: dict[str, str] = {}
        self.events = 0
        self._watch = watch

    async def until(self, reached: Callable[[dict[str, str]], bool]) -> None:
        async with asyncio.timeout(SECONDS):
            while not reached(self.hosts):
                event = await self._watch.read()
                name = event.object.metadata.name
                self.events += 1
                if event.type == api.WatchEvent.DELETED:
                    del self.hosts[name]
                elif event.type != api.WatchEvent.SYNCED:
                    self.hosts[name] = event.object.spec["host"]


@asynccontextmanager
async def running(
    tmp_path: Path, etcd: EtcdServer, **settings: Any
) -> AsyncIterator[tuple[RunningGalley, Watching]]:
    settings.setdefault("config_dir", tmp_path / "config")
    async with galley_server(tmp_path, etcd.endpoint, **settings) as galley:
        watch = galley.stub.Watch(api.WatchRequest())
        yield galley, Watching(watch)
        watch.cancel()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    directory = tmp_path / "config"
    directory.mkdir()
    return directory


async def test_the_life_of_files(tmp_path: Path, config: Path, etcd: EtcdServer) -> None:
    (config / "a.yaml").write_text(rule("x") + "---\n" + rule("y"))
    (config / "sub").mkdir()
    (config / "sub" / "b.yml").write_text(rule("z"))
    (config / "notes.txt").write_text("not configuration")
    (config / ".hidden.yaml").write_text(rule("hidden"))
    async with running(tmp_path, etcd) as (galley, state):
        await state.until(lambda hosts: set(hosts) == {"x", "y", "z"})
        (config / "a.yaml").write_text(rule("x", "b.com"))
        await state.until(lambda hosts: hosts == {"x": "b.com", "z": "a.com"})
        (config / "a.yaml").rename(config / "renamed.yaml")
        (config / "c.json").write_text(
            '{"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule",'
            ' "metadata": {"name": "j"}, "spec": {"host": "a.com"}}'
        )
        await state.until(lambda hosts: set(hosts) == {"j", "x", "z"})
        found = (await galley.listed())["default/x"]
        assert found.metadata.annotations == {
            "mast.io/source": "files",
            "mast.io/source-path": "renamed.yaml",
        }
        assert found.metadata.generation == 2, "a renamed file changes no specification"
        (config / "sub" / "b.yml").unlink()
        await state.until(lambda hosts: set(hosts) == {"j", "x"})


async def test_a_broken_file_keeps_its_last_good_objects(
    tmp_path: Path, config: Path, etcd: EtcdServer, capsys: pytest.CaptureFixture[str]
) -> None:
    (config / "a.yaml").write_text(rule("x") + "---\n" + rule("y"))
    async with running(tmp_path, etcd) as (galley, state):
        await state.until(lambda hosts: set(hosts) == {"x", "y"})
        (config / "a.yaml").write_bytes(
            f"{rule('x', 'a b')}---\na: [\n---\n# ÿ\n{rule('y', 'bad.com')}---\n".encode("latin-1")
            + rule("z", "good.com").encode()
        )
        await state.until(lambda hosts: hosts == {"x": "a.com", "y": "a.com", "z": "good.com"})
        await galley.page_with("/metrics", 'galley_source_problems{source="files"} 3')
        status, detail = await galley.page("/ready")
        assert status == 200
        assert '"source_errors": "3"' in detail
        (config / "a.yaml").write_text("a: [")
        (config / "b.yaml").write_text(rule("b"))
        await state.until(lambda hosts: "b" in hosts)
        assert state.hosts == {"x": "a.com", "y": "a.com", "z": "good.com", "b": "a.com"}
    said = capsys.readouterr().out
    assert "a.yaml:4:8: error: DestinationRule default/x: spec.host" in said
    assert "a.yaml:7:1: error: not YAML" in said
    assert "a.yaml:8:3: error: DestinationRule default/y: byte 0xff is not UTF-8" in said
    assert "a.yaml:2:1: error: not YAML" in said


async def test_a_commit_is_told_with_what_it_changed(
    tmp_path: Path, config: Path, etcd: EtcdServer
) -> None:
    """As git-sync does it: a directory for each commit, a link to the one of now."""
    commits = ("a" * 40, "b" * 40)
    for commit in commits:
        (config / commit).mkdir()
        (config / commit / "x.yaml").write_text(rule("x", f"{commit[0]}.com"))
        (config / commit / "y.yaml").write_text(rule("y", f"{commit[0]}.com"))
    link = config / "current"
    link.symlink_to(commits[0])
    async with running(tmp_path, etcd, config_dir=link) as (galley, state):
        await state.until(lambda hosts: hosts == {"x": "a.com", "y": "a.com"})
        (config / "next").symlink_to(commits[1])
        (config / "next").rename(link)
        await state.until(lambda hosts: hosts == {"x": "b.com", "y": "b.com"})
        async with grpc.aio.insecure_channel(f"unix:{galley.config.admin_socket}") as channel:
            history = history_pb2_grpc.HistoryServiceStub(channel)
            changes = (await history.History(history_pb2.HistoryRequest())).changes
    assert [(each.commit, len(each.objects)) for each in changes] == [
        (commits[1], 2),
        (commits[0], 2),
    ]


async def test_last_good_objects_outlive_galley(
    tmp_path: Path, config: Path, etcd: EtcdServer
) -> None:
    (config / "a.yaml").write_text(rule("x"))
    async with running(tmp_path, etcd) as (_, state):
        await state.until(lambda hosts: "x" in hosts)
    (config / "a.yaml").write_text("a: [")
    newer = rule("newer").replace("}\nspec: {", "}\nspec: {exportTo: [b], ")
    (config / "b.yaml").write_text(f"{newer}---\n{rule('y')}")
    async with running(tmp_path, etcd, compat="1.4") as (_, state):
        await state.until(lambda hosts: "y" in hosts)
        assert set(state.hosts) == {"x", "y"}, "1.4 exports to '.' and '*' only"


async def test_a_swapped_symlink_is_one_change(
    tmp_path: Path, config: Path, etcd: EtcdServer
) -> None:
    """As the kubelet mounts a ConfigMap: files are links into a directory that is swapped."""
    for version in ("1", "2"):
        (config / f"..{version}").mkdir()
        for name in ("x", "y"):
            (config / f"..{version}" / f"{name}.yaml").write_text(rule(name, f"v{version}.com"))
    (config / "..data").symlink_to("..1")
    for name in ("x", "y"):
        (config / f"{name}.yaml").symlink_to(f"..data/{name}.yaml")
    async with running(tmp_path, etcd) as (galley, state):
        await state.until(lambda hosts: hosts == {"x": "v1.com", "y": "v1.com"})
        (config / "..next").symlink_to("..2")
        os.replace(config / "..next", config / "..data")
        await state.until(lambda hosts: hosts == {"x": "v2.com", "y": "v2.com"})
        found = await galley.listed()
        assert len({obj.metadata.resource_version for obj in found.values()}) == 1


async def test_only_its_own_objects_are_deleted(
    tmp_path: Path, config: Path, etcd: EtcdServer
) -> None:
    (config / "a.yaml").write_text(rule("x"))
    async with running(tmp_path, etcd) as (galley, state):
        await state.until(lambda hosts: "x" in hosts)
        await galley.apply(rule("by-hand"))
        (config / "a.yaml").unlink()
        await state.until(lambda hosts: "x" not in hosts)
        await state.until(lambda hosts: "by-hand" in hosts)


async def test_a_directory_that_vanishes_deletes_nothing(
    tmp_path: Path, config: Path, etcd: EtcdServer
) -> None:
    (config / "a.yaml").write_text(rule("x"))
    async with running(tmp_path, etcd) as (_, state):
        await state.until(lambda hosts: "x" in hosts)
        config.rename(tmp_path / "unmounted")
        config.mkdir()
        (config / "b.yaml").write_text(rule("y"))
        await state.until(lambda hosts: "y" in hosts)


async def test_a_directory_may_come_later(tmp_path: Path, etcd: EtcdServer) -> None:
    async with running(tmp_path, etcd) as (galley, state):
        status, detail = await galley.page("/ready")
        assert status == 503
        assert "not stored yet" in detail
        (tmp_path / "config").mkdir()
        (tmp_path / "config" / "a.yaml").write_text(rule("x"))
        await state.until(lambda hosts: "x" in hosts)
        await galley.page_with("/ready", '"ready": true')


async def test_what_does_not_fit_one_transaction_is_stored_in_several(
    tmp_path: Path, config: Path, etcd: EtcdServer
) -> None:
    for n in range(25):
        (config / f"{n}.yaml").write_text("---\n".join(rule(f"r{n}-{m}") for m in range(10)))
    async with running(tmp_path, etcd, max_txn_ops=100) as (galley, state):
        await state.until(lambda hosts: len(hosts) == 250)
        revisions = {o.metadata.resource_version for o in (await galley.listed()).values()}
        assert len(revisions) == 3
        for n in range(25):
            (config / f"{n}.yaml").unlink()
        await state.until(lambda hosts: not hosts)


async def test_etcd_away_is_waited_for(tmp_path: Path, config: Path, etcd: EtcdServer) -> None:
    (config / "a.yaml").write_text(rule("x"))
    async with running(tmp_path, etcd) as (_, state):
        await state.until(lambda hosts: "x" in hosts)
        await etcd.kill()
        (config / "a.yaml").write_text(rule("x", "b.com"))
        await etcd.restart()
        await state.until(lambda hosts: hosts == {"x": "b.com"})


async def test_one_of_several_replicas_writes_and_another_takes_over(
    tmp_path: Path, config: Path, etcd: EtcdServer
) -> None:
    (config / "a.yaml").write_text(rule("x"))
    async with AsyncExitStack() as replicas:
        first = AsyncExitStack()
        for name, stack in (("one", first), ("two", replicas)):
            (tmp_path / name).mkdir()
            galley = await stack.enter_async_context(
                galley_server(tmp_path / name, etcd.endpoint, config_dir=config)
            )
        await replicas.enter_async_context(first)
        state = Watching(galley.stub.Watch(api.WatchRequest()))
        await state.until(lambda hosts: "x" in hosts)
        (config / "a.yaml").write_text(rule("x", "b.com"))
        await state.until(lambda hosts: hosts["x"] == "b.com")
        assert (await galley.listed())["default/x"].metadata.generation == 2
        await first.aclose()
        (config / "a.yaml").write_text(rule("x", "c.com"))
        await state.until(lambda hosts: hosts["x"] == "c.com")


async def test_ready_is_what_was_stored(etcd: EtcdServer) -> None:
    """A7: by the one that leads; not what was merely read."""
    async with connect(EtcdConfig(endpoints=(etcd.endpoint,))) as store, asyncio.TaskGroup() as on:
        configs = Configs(store, lambda: datetime(2026, 1, 1, tzinfo=UTC), 300)
        tree = read_tree(Tree(), {"a.yaml": rule("x").encode()}, Defaults())
        first, second = (
            TreeKeeper(configs, name="files", identity=name, report=lambda *_: None)
            for name in ("one", "two")
        )
        running = []
        for keeper in (first, second):
            keeper.take(tree)
            assert not keeper.synced
            running.append(on.create_task(keeper.run()))
            await until(lambda each=keeper: each.synced)  # type: ignore[misc]
            found, _ = await configs.list(selection((), "", ""))
            assert [item.key.name for item in found] == ["x"]
        for task in running:
            task.cancel()


async def test_a_former_leader_cannot_write(
    tmp_path: Path, config: Path, etcd: EtcdServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """The key of leadership is taken away: the next write is fenced off, then led anew."""
    (config / "a.yaml").write_text(rule("x"))
    async with (
        running(tmp_path, etcd) as (_, state),
        connect(EtcdConfig(endpoints=(etcd.endpoint,))) as store,
    ):
        await state.until(lambda hosts: "x" in hosts)
        await _take_leadership(store)
        (config / "a.yaml").write_text(rule("x", "b.com"))
        await state.until(lambda hosts: hosts["x"] == "b.com")
    said = capsys.readouterr().out.splitlines()
    elected = [line for line in said if "leader.elected" in line and "source-files" in line]
    assert len(elected) == 2


async def _take_leadership(store: Store) -> None:
    assert await store.delete("leader/galley-source-files")
