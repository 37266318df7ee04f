"""What became of configuration, by whom, and the way back: in a real etcd, over real gRPC."""

from __future__ import annotations

import asyncio
import re
import secrets
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc.aio
import pytest
from typer.testing import CliRunner

from mast.cli.main import app
from mast.common.etcd import EtcdConfig, Store, connect
from mast.galley.store.history import Histories
from mastapi.galley.v1 import config_pb2 as api
from mastapi.galley.v1 import history_pb2, history_pb2_grpc
from tests.support.credentials import secret_yaml
from tests.support.etcd_server import EtcdServer
from tests.support.galley_server import SECONDS, RunningGalley, galley_server
from tests.support.pki import Ca

# Galley runs in this process and logs to the same place.
LOGGED = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \[")
Change = history_pb2.Change
Action = history_pb2.ObjectChange


def rule(name: str = "a", host: str = "a.com", meta: str = "") -> str:
    return (
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\n"
        f"metadata: {{name: {name}{meta}}}\nspec: {{host: {host}}}\n"
    )


def ref(name: str) -> api.ObjectRef:
    return api.ObjectRef(kind="DestinationRule", name=name)


@pytest.fixture
async def history(galley: RunningGalley) -> AsyncIterator[history_pb2_grpc.HistoryServiceStub]:
    async with grpc.aio.insecure_channel(f"unix:{galley.config.admin_socket}") as channel:
        yield history_pb2_grpc.HistoryServiceStub(channel)


@asynccontextmanager
async def store_of(galley: RunningGalley) -> AsyncIterator[Store]:
    config = galley.config
    where = EtcdConfig(endpoints=config.etcd_endpoints, root=config.etcd_root)
    async with connect(where) as store:
        yield store


async def applied(galley: RunningGalley, text: str) -> int:
    return (await galley.apply(text)).revision


async def hosts(galley: RunningGalley) -> dict[str, str]:
    return {name: str(each.spec["host"]) for name, each in (await galley.listed("dr")).items()}


async def refusal(call: Callable[[], object]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call()  # type: ignore[misc]
    return error.value.code(), error.value.details() or ""


async def test_every_change_is_told(
    galley: RunningGalley, history: history_pb2_grpc.HistoryServiceStub
) -> None:
    first = await applied(galley, rule("a") + "---\n" + rule("b"))
    assert await applied(galley, rule("a")) == 0, "nothing changed: no change is told"
    second = await applied(galley, rule("a", "new.com"))
    await galley.apply(rule("a", "dry.com"), dry_run=True)
    third = (await galley.stub.Delete(api.DeleteRequest(objects=[ref("b")]))).revision
    answer = await history.History(history_pb2.HistoryRequest(), timeout=SECONDS)
    told = [
        (
            each.revision,
            each.operation,
            [(one.object.name, one.action, one.previous_revision) for one in each.objects],
        )
        for each in answer.changes
    ]
    assert told == [
        (third, Change.DELETE, [("b", Action.DELETED, first)]),
        (second, Change.APPLY, [("a", Action.UPDATED, first)]),
        (first, Change.APPLY, [("a", Action.CREATED, 0), ("b", Action.CREATED, 0)]),
    ]
    assert {each.author for each in answer.changes} == {"admin socket"}
    assert all(each.HasField("time") for each in answer.changes)
    assert answer.oldest == first - 1
    only_b = history_pb2.HistoryRequest(scope=history_pb2.Scope(kinds=["dr"], name="b"), limit=9)
    found = (await history.History(only_b)).changes
    assert [(each.revision, each.others) for each in found] == [(third, 0), (first, 1)]


async def test_differences(
    galley: RunningGalley, history: history_pb2_grpc.HistoryServiceStub
) -> None:
    first = await applied(galley, rule("a") + "---\n" + rule("b"))
    second = await applied(galley, rule("a", "b.com"))
    await applied(galley, rule("a", "c.com") + "---\n" + rule("n", "n.com"))
    await galley.stub.Delete(api.DeleteRequest(objects=[ref("b")]))

    async def diff(start: int, end: int = 0) -> dict[str, tuple[str, str]]:
        request = history_pb2.DiffRequest(from_revision=start, to_revision=end)
        found = (await history.Diff(request, timeout=SECONDS)).differences
        return {
            each.object.name: (
                str(each.before.spec["host"]) if each.HasField("before") else "-",
                str(each.after.spec["host"]) if each.HasField("after") else "-",
            )
            for each in found
        }

    assert await diff(first, second) == {"a": ("a.com", "b.com")}
    everything = {"a": ("a.com", "c.com"), "b": ("a.com", "-"), "n": ("-", "n.com")}
    assert await diff(first) == everything
    assert await diff(second, second) == {}
    assert await diff(first - 1, first) == {"a": ("-", "a.com"), "b": ("-", "a.com")}


@pytest.mark.parametrize(
    ("request_", "code", "words"),
    [
        pytest.param({"from_revision": 1}, grpc.StatusCode.NOT_FOUND, "is forgotten", id="old"),
        pytest.param(
            {"from_revision": 1 << 40}, grpc.StatusCode.INVALID_ARGUMENT, "to come", id="future"
        ),
    ],
)
async def test_revisions_that_are_not_known(
    galley: RunningGalley,
    history: history_pb2_grpc.HistoryServiceStub,
    request_: dict[str, int],
    code: grpc.StatusCode,
    words: str,
) -> None:
    for name in "abc":
        await galley.apply(rule(name))
    found = await refusal(lambda: history.Diff(history_pb2.DiffRequest(**request_)))
    assert found[0] is code
    assert words in found[1]
    rollback = history_pb2.RollbackRequest(revision=request_["from_revision"])
    assert (await refusal(lambda: history.Rollback(rollback)))[0] is code


async def test_rollback_puts_everything_back_in_one_transaction(
    galley: RunningGalley, history: history_pb2_grpc.HistoryServiceStub
) -> None:
    good = await applied(
        galley, rule("a", meta=", labels: {x: y}") + "---\n" + rule("b") + "---\n" + rule("same")
    )
    before = await galley.listed("dr")
    await galley.apply(rule("a", "bad.com") + "---\n" + rule("new"))
    await galley.stub.Delete(api.DeleteRequest(objects=[ref("b")]))
    wrong = await hosts(galley)
    request = history_pb2.RollbackRequest(revision=good, dry_run=True)
    tried = await history.Rollback(request, timeout=SECONDS)
    results = {each.object.name: each.action for each in tried.results}
    assert results == {"a": Action.UPDATED, "b": Action.CREATED, "new": Action.DELETED}
    assert tried.revision == 0
    assert await hosts(galley) == wrong, "a dry run stores nothing"

    request = history_pb2.RollbackRequest(revision=good, seen_revision=tried.compared_revision)
    done = await history.Rollback(request, timeout=SECONDS)
    assert {each.object.name: each.action for each in done.results} == results
    after = await galley.listed("dr")
    assert {name: (o.spec, o.metadata.labels) for name, o in after.items()} == {
        name: (o.spec, o.metadata.labels) for name, o in before.items()
    }
    assert after["default/a"].metadata.generation == 3, "to go back is a change as well"
    newest = (await history.History(history_pb2.HistoryRequest(limit=1))).changes[0]
    assert (newest.revision, newest.operation) == (done.revision, Change.ROLLBACK)
    assert (newest.restored_revision, len(newest.objects)) == (good, 3)
    again = await history.Rollback(history_pb2.RollbackRequest(revision=good))
    assert (list(again.results), again.revision) == ([], 0)
    undone = await history.Rollback(history_pb2.RollbackRequest(revision=done.revision, undo=True))
    assert undone.revision > 0
    assert await hosts(galley) == wrong, "a rollback can be undone"


async def test_a_scope_and_undo_leave_the_rest_alone(
    galley: RunningGalley, history: history_pb2_grpc.HistoryServiceStub
) -> None:
    first = await applied(galley, rule("a") + "---\n" + rule("b"))
    await applied(galley, rule("a", "b.com"))
    third = await applied(galley, rule("b", "b.com"))
    await history.Rollback(
        history_pb2.RollbackRequest(revision=first, scope=history_pb2.Scope(name="a"))
    )
    assert await hosts(galley) == {"default/a": "a.com", "default/b": "b.com"}
    await history.Rollback(history_pb2.RollbackRequest(revision=third, undo=True))
    assert await hosts(galley) == {"default/a": "a.com", "default/b": "a.com"}


async def test_newer_changes_are_in_the_way(
    galley: RunningGalley, history: history_pb2_grpc.HistoryServiceStub
) -> None:
    first = await applied(galley, rule("a"))
    second = await applied(galley, rule("a", "b.com"))
    third = await applied(galley, rule("a", "theirs.com"))
    told = f"DestinationRule default/a at revision {third} by admin socket"
    for request in (
        history_pb2.RollbackRequest(revision=second, undo=True),
        history_pb2.RollbackRequest(revision=first, seen_revision=second),
    ):
        code, details = await refusal(lambda request=request: history.Rollback(request))
        assert code is grpc.StatusCode.ABORTED
        assert told in details
    assert await hosts(galley) == {"default/a": "theirs.com"}


async def test_what_is_valid_no_more_does_not_come_back(
    galley: RunningGalley, history: history_pb2_grpc.HistoryServiceStub
) -> None:
    """As if the rules had become stricter: an object of before is not valid today."""
    await applied(galley, rule("other"))
    async with store_of(galley) as store:
        first = await applied(galley, rule("a"))
        entry = next(
            each for each in (await store.list("config/")).entries if each.key.endswith("/a")
        )
        second = await applied(galley, rule("a", "b.com"))
        (kept,) = [
            each
            for each in (await store.list("history/replaced/")).entries
            if each.mod_revision == second
        ]
        stale = history_pb2.Replaced(resources={entry.key: entry.value.replace(b"a.com", b"a com")})
        await store.put(kept.key, zlib.compress(stale.SerializeToString()))
    code, details = await refusal(
        lambda: history.Rollback(history_pb2.RollbackRequest(revision=first))
    )
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "spec.host" in details
    assert await hosts(galley) == {"default/a": "b.com", "default/other": "a.com"}


async def test_old_changes_are_forgotten(galley: RunningGalley) -> None:
    for host in ("a.com", "b.com", "c.com", "d.com"):
        await galley.apply(rule("a", host))
    async with store_of(galley) as store:
        now = datetime.now(tz=UTC)  # noqa: TID251 - Galley's clock

        def keeping(keep: int, age: timedelta, later: timedelta = timedelta(0)) -> Histories:
            return Histories(store, lambda: now + later, keep, age, transaction_limit=3)

        assert await keeping(9, timedelta(days=1)).forget() == 0
        few = keeping(3, timedelta(days=1))
        assert await few.forget() == 1
        assert len((await few.read()).changes) == 3
        assert len((await store.list("history/")).entries) == 6
        old = keeping(9, timedelta(days=1), later=timedelta(days=2))
        assert await old.forget() == 3, "in several transactions"
        assert (await store.list("history/")).entries == ()
    assert await hosts(galley) == {"default/a": "d.com"}


async def test_racing_writers_leave_a_whole_history(
    galley: RunningGalley, history: history_pb2_grpc.HistoryServiceStub
) -> None:
    async with asyncio.TaskGroup() as tasks:
        for n in range(8):
            tasks.create_task(galley.apply(rule("a", f"h{n}.com")))
    changes = (await history.History(history_pb2.HistoryRequest())).changes
    assert len(changes) == 8
    befores = [each.objects[0].previous_revision for each in changes]
    assert befores == [*(each.revision for each in changes[1:]), 0], "each replaced the one before"


async def test_secrets_change_in_public_but_their_values_are_gone(
    tmp_path: Path, shared_etcd: EtcdServer
) -> None:
    ca = Ca.root()
    texts = [
        secret_yaml("web", "edge", tls_crt=pair.chain, tls_key=pair.key)
        for pair in (ca.leaf(dns=["a.test"]), ca.leaf(dns=["a.test"]))
    ]
    key = tmp_path / "keys" / "secrets.key"
    root = f"/{secrets.token_hex(8)}"
    async with galley_server(
        tmp_path, shared_etcd.endpoint, etcd_root=root, secrets_key_file=key
    ) as galley:
        first = await applied(galley, texts[0])
        await applied(galley, texts[1])
        async with (
            store_of(galley) as store,
            grpc.aio.insecure_channel(f"unix:{galley.config.admin_socket}") as channel,
        ):
            stub = history_pb2_grpc.HistoryServiceStub(channel)
            kept = {e.key: e.value for e in (await store.list("")).entries}
            found = await stub.Diff(history_pb2.DiffRequest(from_revision=first))
            done = await stub.Rollback(history_pb2.RollbackRequest(revision=first))
            after = {e.key: e.value for e in (await store.list("")).entries}
    (difference,) = found.differences
    assert difference.sealed
    assert not difference.HasField("before")
    assert not difference.HasField("after")
    assert [each.name for each in done.skipped] == ["web"]
    assert (done.revision, after) == (0, kept)
    replaced = [value for key, value in kept.items() if key.startswith("history/replaced/")]
    assert len(replaced) == 2
    assert max(map(len, replaced)) < 20, "they hold nothing"


async def test_mastctl(galley: RunningGalley) -> None:
    server = f"unix:{galley.config.admin_socket}"
    first = await applied(galley, rule("a") + "---\n" + rule("b"))
    second = await applied(galley, rule("a", "b.com"))

    async def mastctl(*arguments: str) -> tuple[int, str]:
        run = CliRunner().invoke
        ended = await asyncio.to_thread(run, app, [*arguments, "--server", server])
        lines = ended.output.splitlines(keepends=True)
        return ended.exit_code, "".join(line for line in lines if not LOGGED.match(line))

    status, text = await mastctl("history", "dr", "a")
    assert status == 0
    lines = [line.split() for line in text.splitlines()]
    assert lines[0] == ["REVISION", "TIME", "BY", "CHANGE", "ACTION", "NAMESPACE", "OBJECT"]
    assert [line[0] for line in lines[1:]] == [str(second), str(first)]
    named = "destinationrule.networking.istio.io/a"
    assert [line[-3:] for line in lines[1:]] == [
        ["updated", "default", named],
        ["created", "default", named],
    ]
    status, text = await mastctl("diff", "--revision", f"{first}..{second}", "dr/a")
    assert status == 1
    assert f"--- {named} of default at {first}" in text
    assert "-  host: a.com" in text
    assert "+  host: b.com" in text
    assert await mastctl("diff", "--revision", f"{second}..") == (0, "")
    status, text = await mastctl("rollback", str(first), "--dry-run")
    assert status == 0
    assert f"{named}   updated (dry run)" in text
    status, text = await mastctl("rollback", str(second), "--undo", "-o", "json")
    assert status == 0
    assert '"action": "UPDATED"' in text
    assert await hosts(galley) == {"default/a": "a.com", "default/b": "a.com"}
    status, text = await mastctl("rollback", str(first))
    assert (status, "Nothing is to be put back" in text) == (0, True)
