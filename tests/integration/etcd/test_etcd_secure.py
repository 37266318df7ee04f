"""TLS and users: what an etcd in production asks for."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path

import grpc.aio
import pytest
from etcd.api.authpb import auth_pb2
from etcd.api.etcdserverpb import rpc_pb2 as api
from etcd.api.etcdserverpb import rpc_pb2_grpc

from mast.common.etcd import EtcdConfig, Rejected, Unavailable, connect
from tests.support.etcd_server import EtcdServer, etcd_server
from tests.support.following import SECONDS, Folded
from tests.support.pki import Ca

PASSWORD = "sesame"  # noqa: S105


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


async def test_mutual_tls(tmp_path: Path) -> None:
    ca, stranger = Ca.root(), Ca.root("stranger")
    server, client = ca.leaf(dns=["localhost"]), ca.leaf(dns=["galley"])
    trusted = write(tmp_path / "ca.pem", ca.pem)
    flags = (
        *("--cert-file", str(write(tmp_path / "server.pem", server.chain))),
        *("--key-file", str(write(tmp_path / "server.key", server.key))),
        *("--client-cert-auth", "--trusted-ca-file", str(trusted)),
    )
    cert = write(tmp_path / "client.pem", client.chain)
    key = write(tmp_path / "client.key", client.key)
    wrong = write(tmp_path / "wrong.pem", stranger.pem)
    async with etcd_server(tmp_path, flags=flags, scheme="https") as running:
        endpoints = (running.endpoint.replace("127.0.0.1", "localhost"),)
        timeout = timedelta(seconds=20)
        good = EtcdConfig(endpoints=endpoints, ca=trusted, cert=cert, key=key, timeout=timeout)
        async with connect(good) as store, aclosing(store.follow("")) as batches:
            await store.put("a", b"1")
            await Folded().until(batches, lambda f: "a" in f.state)
        short = timedelta(seconds=1)
        for refused in (
            EtcdConfig(endpoints=endpoints, timeout=short),
            EtcdConfig(endpoints=endpoints, ca=wrong, cert=cert, key=key, timeout=short),
            EtcdConfig(endpoints=endpoints, ca=trusted, timeout=short),
        ):
            async with connect(refused) as store:
                with pytest.raises(Unavailable, match=endpoints[0]):
                    await store.get("a")


async def enable_users(server: EtcdServer) -> None:
    """User galley may use what is under config/; user root everything."""
    async with grpc.aio.insecure_channel(server.endpoint) as channel:
        auth = rpc_pb2_grpc.AuthStub(channel)
        await auth.UserAdd(api.AuthUserAddRequest(name="root", password=PASSWORD))
        await auth.UserGrantRole(api.AuthUserGrantRoleRequest(user="root", role="root"))
        await auth.RoleAdd(api.AuthRoleAddRequest(name="config"))
        permission = auth_pb2.Permission(
            permType=auth_pb2.Permission.READWRITE,
            key=b"/mast/config/",
            range_end=b"/mast/config0",
        )
        await auth.RoleGrantPermission(
            api.AuthRoleGrantPermissionRequest(name="config", perm=permission)
        )
        await auth.UserAdd(api.AuthUserAddRequest(name="galley", password=PASSWORD))
        await auth.UserGrantRole(api.AuthUserGrantRoleRequest(user="galley", role="config"))
        await auth.AuthEnable(api.AuthEnableRequest())


async def test_users_and_expiring_tokens(tmp_path: Path) -> None:
    async with etcd_server(tmp_path, flags=("--auth-token-ttl", "1")) as server:
        await enable_users(server)
        config = EtcdConfig(endpoints=(server.endpoint,), user="galley", password=PASSWORD)
        async with (
            connect(config) as store,
            aclosing(store.follow("config/")) as batches,
            asyncio.timeout(SECONDS),
        ):
            await store.put("config/a", b"1")
            with pytest.raises(Rejected, match="permission denied") as refused:
                await store.put("ca/key", b"")
            assert refused.value.code == "PERMISSION_DENIED"
            # Past the token's life: etcd has forgotten it, the next call asks for another.
            await asyncio.sleep(3)
            await store.put("config/a", b"2")
            folded = Folded()
            await folded.until(batches, lambda f: f.state.get("config/a") == b"2")
            await server.restart()
            await store.put("config/a", b"3")
            await folded.until(batches, lambda f: f.state.get("config/a") == b"3")
            async with store.lease(timedelta(seconds=5)) as lease:
                await store.put("config/leased", b"", lease=lease.id)


@pytest.mark.parametrize(
    ("user", "password", "message"),
    [
        pytest.param("galley", "wrong", "authentication failed", id="wrong-password"),
        pytest.param(None, None, "user name is empty", id="no-user"),
    ],
)
async def test_without_credentials_a_call_is_rejected(
    tmp_path: Path, user: str | None, password: str | None, message: str
) -> None:
    async with etcd_server(tmp_path) as server:
        await enable_users(server)
        config = EtcdConfig(endpoints=(server.endpoint,), user=user, password=password)
        async with connect(config) as store:
            with pytest.raises(Rejected, match=message):
                await store.get("config/a")
            assert PASSWORD not in str(store.health)


async def test_a_missing_certificate_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        async with connect(EtcdConfig(ca=tmp_path / "missing.pem")):
            pytest.fail("connected without its CA")
