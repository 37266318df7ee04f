"""Users and roles of an etcd: each service is let to its own prefixes, and no further."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Final

import grpc
import grpc.aio

from mast.common.etcd.roles import ADMINISTRATOR, ROLES, Grant, Role, grants
from mast.common.etcd.stubs import auth_pb2, rpc_pb2, rpc_pb2_grpc

_SECONDS: Final = 10
_THERE: Final = "already exists"


async def keep_users(auth: rpc_pb2_grpc.AuthStub, root: str = "/mast") -> None:
    """Make users and roles what they are to be, and have etcd ask for them from now on.

    Users have no passwords: the common name of a client certificate says who calls. The caller has
    to be the administrator once etcd asks. Another call mends what differs, so it may be repeated
    after a failure, and after an upgrade. Raises grpc.aio.AioRpcError if etcd does not answer.
    """
    await _keep_user(auth, ADMINISTRATOR)
    for name, role in ROLES.items():
        await _keep_role(auth, name, role, root)
        await _keep_user(auth, name)
    status = await auth.AuthStatus(rpc_pb2.AuthStatusRequest(), timeout=_SECONDS)
    if not status.enabled:
        await auth.AuthEnable(rpc_pb2.AuthEnableRequest(), timeout=_SECONDS)


async def _keep_role(auth: rpc_pb2_grpc.AuthStub, name: str, role: Role, root: str) -> None:
    await _made(auth.RoleAdd(rpc_pb2.AuthRoleAddRequest(name=name), timeout=_SECONDS))
    found = await auth.RoleGet(rpc_pb2.AuthRoleGetRequest(role=name), timeout=_SECONDS)
    has = {_grant(each) for each in found.perm}
    wanted = set(grants(role, root))
    kept = {(each.start, each.end) for each in wanted}
    for each in has - wanted:
        if (each.start, each.end) not in kept:
            revoking = rpc_pb2.AuthRoleRevokePermissionRequest(
                role=name, key=each.start, range_end=each.end
            )
            await auth.RoleRevokePermission(revoking, timeout=_SECONDS)
    for each in wanted - has:  # a range that has another permission gets this one instead
        kind = auth_pb2.Permission.READWRITE if each.write else auth_pb2.Permission.READ
        permission = auth_pb2.Permission(permType=kind, key=each.start, range_end=each.end)
        granting = rpc_pb2.AuthRoleGrantPermissionRequest(name=name, perm=permission)
        await auth.RoleGrantPermission(granting, timeout=_SECONDS)


def _grant(permission: auth_pb2.Permission) -> Grant:
    write = permission.permType != auth_pb2.Permission.READ
    return Grant(permission.key, permission.range_end, write)


async def _keep_user(auth: rpc_pb2_grpc.AuthStub, name: str) -> None:
    """A user with the role of the same name; that of the administrator etcd has itself."""
    options = auth_pb2.UserAddOptions(no_password=True)
    request = rpc_pb2.AuthUserAddRequest(name=name, options=options)
    await _made(auth.UserAdd(request, timeout=_SECONDS))
    found = await auth.UserGet(rpc_pb2.AuthUserGetRequest(name=name), timeout=_SECONDS)
    if name not in found.roles:
        granted = rpc_pb2.AuthUserGrantRoleRequest(user=name, role=name)
        await auth.UserGrantRole(granted, timeout=_SECONDS)


async def _made(call: Awaitable[Any]) -> None:
    """What is there already is as good as new."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        if _THERE not in (error.details() or ""):
            raise
