"""Secrets in a real etcd: sealed there, shown by no call, refused without a key (0017)."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import grpc.aio
import pytest

from mast.common.etcd import EtcdConfig, connect
from mastapi.galley.v1 import config_pb2 as api
from tests.support.credentials import config_map_yaml, secret_yaml
from tests.support.etcd_server import EtcdServer
from tests.support.galley_server import SECONDS, RunningGalley, galley_server
from tests.support.pki import Ca

CA = Ca.root()
PAIR, NEXT = CA.leaf(dns=["a.test"]), CA.leaf(dns=["a.test"])
SECRET = secret_yaml("web", "edge", tls_crt=PAIR.chain, tls_key=PAIR.key)
RENEWED = secret_yaml("web", "edge", tls_crt=NEXT.chain, tls_key=NEXT.key)
REFERENCE = api.ObjectRef(kind="Secret", namespace="edge", name="web")
Action = api.ApplyResponse


@pytest.fixture
async def keeper(tmp_path: Path, etcd: EtcdServer) -> AsyncIterator[RunningGalley]:
    """A Galley that has a key."""
    key = tmp_path / "keys" / "secrets.key"
    async with galley_server(tmp_path, etcd.endpoint, secrets_key_file=key) as running:
        yield running


async def stored(etcd: EtcdServer) -> dict[str, bytes]:
    async with connect(EtcdConfig(endpoints=(etcd.endpoint,))) as store:
        listing = await store.list("")
        return {entry.key: entry.value for entry in listing.entries}


async def test_secrets_are_sealed(keeper: RunningGalley, etcd: EtcdServer) -> None:
    created = await keeper.apply(SECRET)
    assert [each.action for each in created.results] == [Action.CREATED]
    found = await stored(etcd)
    value = found["secrets/edge/web"]
    assert b"PRIVATE" not in value
    assert PAIR.key[40:80] not in value
    key_file = keeper.config.secrets_key_file
    assert key_file is not None
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600

    again = await keeper.apply(SECRET)
    assert [each.action for each in again.results] == [Action.UNCHANGED]
    renewed = await keeper.apply(RENEWED)
    assert [each.action for each in renewed.results] == [Action.UPDATED]
    assert (await stored(etcd))["secrets/edge/web"] != value


async def test_no_call_shows_values(keeper: RunningGalley) -> None:
    await keeper.apply(SECRET)
    request = api.GetRequest(object=REFERENCE)
    got = (await keeper.stub.Get(request, timeout=SECONDS)).object
    assert dict(got.spec) == {
        "type": "Opaque",
        "data": {"tls.crt": "[redacted]", "tls.key": "[redacted]"},
    }
    assert await keeper.listed("Secret") == {"edge/web": got}
    assert await keeper.listed() == {}
    watched = keeper.stub.Watch(api.WatchRequest(kinds=["Secret"]), timeout=SECONDS)
    async for event in watched:
        assert event.object == got
        break
    watched.cancel()


async def test_secrets_are_deleted_like_anything_else(
    keeper: RunningGalley, etcd: EtcdServer
) -> None:
    await keeper.apply(SECRET)
    source = api.Source(name="test.yaml", text=SECRET)
    deleted = await keeper.stub.Delete(api.DeleteRequest(sources=[source]), timeout=SECONDS)
    assert [each.name for each in deleted.deleted] == ["web"]
    assert "secrets/edge/web" not in await stored(etcd)


async def test_without_a_key_secrets_are_refused_and_roots_are_not(
    lone_galley: RunningGalley, etcd: EtcdServer
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await lone_galley.apply(SECRET)
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "--secrets-key-file" in (error.value.details() or "")
    assert "BEGIN" not in (error.value.details() or "")
    await lone_galley.apply(config_map_yaml("roots", "edge", ca_crt=CA.pem))
    objects = [key for key in await stored(etcd) if key.startswith(("config/", "secrets/"))]
    assert objects == ["config/k8s/core/v1/configmaps/edge/roots"]


async def test_a_directory_may_hold_secrets(tmp_path: Path, etcd: EtcdServer) -> None:
    folder = tmp_path / "config"
    folder.mkdir()
    folder.joinpath("secret.yaml").write_text(SECRET)
    key = tmp_path / "secrets.key"
    async with galley_server(
        tmp_path, etcd.endpoint, secrets_key_file=key, config_dir=folder
    ) as running:
        await running.page_with("/ready", '"sources": "in sync"')
        assert "secrets/edge/web" in await stored(etcd)
        folder.joinpath("secret.yaml").unlink()
        async with (
            asyncio.timeout(SECONDS),
            connect(EtcdConfig(endpoints=(etcd.endpoint,))) as store,
            aclosing(store.follow_key("secrets/edge/web")) as batches,
        ):
            async for batch in batches:
                if batch.synced and not (await store.list("secrets/")).entries:
                    break
