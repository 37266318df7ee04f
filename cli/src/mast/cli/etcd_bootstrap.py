"""What a control plane in Kubernetes needs before its services can start: keys, and users of etcd.

The chart's Job runs this (decision 53). Everything is made only if it is not there: an operator may
bring any of it, and a Job that was interrupted goes on.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import cycle
from typing import Final

import grpc
import grpc.aio

from mast.cli.errors import CommandError
from mast.cli.etcd_pki import Authority, KeyPair
from mast.cli.etcd_users import keep_users
from mast.common.etcd.roles import ADMINISTRATOR, ROLES
from mast.common.etcd.stubs import rpc_pb2_grpc
from mast.common.kubernetes import AlreadyExists, Api, NotFound, Object
from mast.common.kubernetes.objects import SECRETS
from mast.common.sealing import KEY_BYTES

SEALING_KEYS: Final = ("ca-key", "secrets-key")
"""Secrets with 32 bytes under ``key``: Citadel's, and the one that Galley and Pilot share."""

USERS: Final = (ADMINISTRATOR, *ROLES)

_LABELS: Final = {"app.kubernetes.io/part-of": "mast", "app.kubernetes.io/managed-by": "mastctl"}
_AGAIN: Final = timedelta(seconds=1)


@dataclass(frozen=True, kw_only=True)
class Secrets:
    """Secrets ``PREFIX-…`` in a namespace; those that are there are never changed."""

    api: Api
    namespace: str
    prefix: str
    now: Callable[[], datetime]
    entropy: Callable[[int], bytes]
    progress: Callable[[str], None]

    async def keep_sealing_keys(self) -> None:
        """Make the keys that seal what is in etcd."""
        for name in SEALING_KEYS:
            await self._kept(name, lambda: {"key": self.entropy(KEY_BYTES)}, "Opaque")

    async def keep_etcd(self, hosts: Sequence[str]) -> tuple[bytes, KeyPair]:
        """Make the certificates of etcd, whose members are at ``hosts``.

        Returns the CA's certificate and the administrator's pair. The CA's own key is in a Secret
        that no pod mounts: a later release may have another service.
        """
        kept = await self._kept("etcd-ca", lambda: _files(Authority.new(self.now()).pair))
        authority = Authority.of(KeyPair(kept["tls.crt"], kept["tls.key"]))
        roots = {"ca.crt": kept["tls.crt"]}
        server = authority.member
        await self._kept("etcd-server", lambda: roots | _files(server(hosts, self.now())))
        users = {name: await self._user(authority, name, roots) for name in USERS}
        own = users[ADMINISTRATOR]
        return own["ca.crt"], KeyPair(own["tls.crt"], own["tls.key"])

    async def _user(
        self, authority: Authority, name: str, roots: Mapping[str, bytes]
    ) -> Mapping[str, bytes]:
        return await self._kept(
            f"etcd-{name}", lambda: {**roots, **_files(authority.user(name, self.now()))}
        )

    async def _kept(
        self, name: str, make: Callable[[], Mapping[str, bytes]], kind: str = "kubernetes.io/tls"
    ) -> Mapping[str, bytes]:
        """What the Secret holds, which is made if it is absent; of two that make it one wins."""
        name = f"{self.prefix}-{name}"
        try:
            return _content(await self.api.get(SECRETS, name, self.namespace))
        except NotFound:
            pass
        content = make()
        body: Object = {
            "metadata": {"name": name, "namespace": self.namespace, "labels": dict(_LABELS)},
            "type": kind,
            "data": {key: base64.b64encode(value).decode() for key, value in content.items()},
        }
        try:
            await self.api.create(SECRETS, body)
        except AlreadyExists:
            return _content(await self.api.get(SECRETS, name, self.namespace))
        self.progress(f"made Secret {self.namespace}/{name}")
        return content


async def keep_users_of(
    endpoints: str, roots: bytes, own: KeyPair, root: str, timeout: timedelta
) -> None:
    """Make users and roles as soon as etcd answers; CommandError if it does not in time.

    ``endpoints`` are ``host:port,…``. ``own`` is the administrator's.
    """
    last = "no answer"
    try:
        async with asyncio.timeout(timeout.total_seconds()):
            for endpoint in cycle(endpoints.split(",")):
                credentials = grpc.ssl_channel_credentials(roots, own.key, own.certificate)
                async with grpc.aio.secure_channel(endpoint, credentials) as channel:
                    try:
                        return await keep_users(rpc_pb2_grpc.AuthStub(channel), root)
                    except grpc.aio.AioRpcError as error:
                        last = f"{endpoint}: {error.code().name}: {error.details()}"
                await asyncio.sleep(_AGAIN.total_seconds())
    except TimeoutError:
        raise CommandError(
            f"users of etcd are not made after {timeout.total_seconds():g} s: {last}"
        ) from None


def _files(pair: KeyPair) -> dict[str, bytes]:
    return {"tls.crt": pair.certificate, "tls.key": pair.key}


def _content(secret: Object) -> Mapping[str, bytes]:
    return {key: base64.b64decode(value) for key, value in (secret.get("data") or {}).items()}
