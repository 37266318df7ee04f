"""Users and roles of the laptop's etcd: each service is let to its own prefixes, and no further."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import grpc
import grpc.aio

from mast.cli.local.etcd import certificate
from mast.common.etcd.roles import ADMINISTRATOR, ROLES, Role, grants
from mast.common.etcd.stubs import auth_pb2, rpc_pb2, rpc_pb2_grpc

_SECONDS: Final = 10
_THERE: Final = "already exists"


async def enable_users(endpoint: str, pki: Path) -> None:
    """Make users and roles, and have etcd ask for them from now on; only the first time.

    Users have no passwords: the common name of a client certificate says who calls. The
    administrator's key is thrown away in the end, so that roles stay what they are. Raises
    grpc.aio.AioRpcError if etcd does not answer.
    """
    _, key = certificate(pki, ADMINISTRATOR)
    if not key.exists():
        return
    async with _auth(endpoint, pki) as auth:
        status = await auth.AuthStatus(rpc_pb2.AuthStatusRequest(), timeout=_SECONDS)
        if not status.enabled:
            await _add_user(auth, ADMINISTRATOR)
            for name, role in ROLES.items():
                await _add_role(auth, name, role)
                await _add_user(auth, name)
            await auth.AuthEnable(rpc_pb2.AuthEnableRequest(), timeout=_SECONDS)
    key.unlink()


async def _add_role(auth: rpc_pb2_grpc.AuthStub, name: str, role: Role) -> None:
    await _made(auth.RoleAdd(rpc_pb2.AuthRoleAddRequest(name=name), timeout=_SECONDS))
    for each in grants(role):
        kind = auth_pb2.Permission.READWRITE if each.write else auth_pb2.Permission.READ
        permission = auth_pb2.Permission(permType=kind, key=each.start, range_end=each.end)
        request = rpc_pb2.AuthRoleGrantPermissionRequest(name=name, perm=permission)
        await auth.RoleGrantPermission(request, timeout=_SECONDS)


async def _add_user(auth: rpc_pb2_grpc.AuthStub, name: str) -> None:
    """A user with the role of the same name."""
    options = auth_pb2.UserAddOptions(no_password=True)
    request = rpc_pb2.AuthUserAddRequest(name=name, options=options)
    await _made(auth.UserAdd(request, timeout=_SECONDS))
    granted = rpc_pb2.AuthUserGrantRoleRequest(user=name, role=name)
    await auth.UserGrantRole(granted, timeout=_SECONDS)


async def _made(call: Awaitable[Any]) -> None:
    """What is there from an earlier attempt, which was interrupted, is as good as new."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        if _THERE not in (error.details() or ""):
            raise


@asynccontextmanager
async def _auth(endpoint: str, pki: Path) -> AsyncIterator[rpc_pb2_grpc.AuthStub]:
    chain, key = certificate(pki, ADMINISTRATOR)
    credentials = grpc.ssl_channel_credentials(
        (pki / "ca.pem").read_bytes(), key.read_bytes(), chain.read_bytes()
    )
    async with grpc.aio.secure_channel(endpoint, credentials) as channel:
        yield rpc_pb2_grpc.AuthStub(channel)
