"""Citadel as a process on a real etcd, and its clients."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from istio.auth.v1 import ca_pb2_grpc
from mast.common.identity.ca_client import CaClient, Certificate, new_key_and_csr
from mastapi.citadel.v1 import citadel_pb2, citadel_pb2_grpc
from tests.support.pki import Pair, wall_clock
from tests.support.service_process import ServiceProcess, forked_service

SERVER_NAME = "istiod.istio-system.svc"


@dataclass
class Citadel:
    """A process and how it is administrated."""

    service: ServiceProcess
    admin_socket: Path

    @asynccontextmanager
    async def administrator(self) -> AsyncIterator[citadel_pb2_grpc.CitadelAdminStub]:
        """The administration API."""
        await self.service.address("admin")
        async with grpc.aio.insecure_channel(f"unix:{self.admin_socket}") as channel:
            yield citadel_pb2_grpc.CitadelAdminStub(channel)

    async def join_token(self, namespace: str = "shop", account: str = "reviews") -> str:
        """A fresh join token."""
        async with self.administrator() as stub:
            request = citadel_pb2.CreateJoinTokenRequest(
                namespace=namespace, service_account=account
            )
            return (await stub.CreateJoinToken(request, timeout=10)).token

    async def roots(self) -> bytes:
        """The trust bundle."""
        async with self.administrator() as stub:
            bundle = await stub.GetBundle(citadel_pb2.GetBundleRequest(), timeout=10)
            return bundle.roots_pem.encode()

    async def client(
        self,
        *,
        token: str | None = None,
        pair: Pair | None = None,
        roots: bytes | None = None,
        **changes: Any,
    ) -> CaClient:
        """A CA client with these credentials."""
        trusted = roots or await self.roots()
        return CaClient(
            address=changes.pop("address", await self.service.address("ca")),
            root_pem=lambda: trusted,
            token=lambda: token,
            client_cert=lambda: (pair.chain, pair.key) if pair else None,
            now=wall_clock,
            **changes,
        )

    async def new_pair(
        self, token: str | None = None, pair: Pair | None = None, *, uri: str = "spiffe://x/y"
    ) -> tuple[Pair, Certificate]:
        """A certificate for a new key, by token or by an older certificate."""
        key, csr = new_key_and_csr(uri)
        client = await self.client(token=token, pair=pair)
        certificate = await client.sign(csr, timedelta(hours=1))
        return Pair("".join(certificate.chain_pem).encode(), key), certificate

    @asynccontextmanager
    async def channel(
        self, roots: bytes, pair: Pair | None = None
    ) -> AsyncIterator[grpc.aio.Channel]:
        """A TLS channel to the CA port."""
        credentials = grpc.ssl_channel_credentials(
            roots, pair.key if pair else None, pair.chain if pair else None
        )
        options = [
            ("grpc.ssl_target_name_override", SERVER_NAME),
            ("grpc.use_local_subchannel_pool", 1),
        ]
        address = await self.service.address("ca")
        async with grpc.aio.secure_channel(address, credentials, options) as channel:
            yield channel

    @asynccontextmanager
    async def stub(
        self, pair: Pair | None = None
    ) -> AsyncIterator[ca_pb2_grpc.IstioCertificateServiceStub]:
        """The certificate service, without the client's retries."""
        async with self.channel(await self.roots(), pair) as channel:
            yield ca_pb2_grpc.IstioCertificateServiceStub(channel)


@asynccontextmanager
async def citadel(
    etcd: str, directory: Path, flags: Sequence[str] = (), *, name: str = "citadel"
) -> AsyncIterator[Citadel]:
    """A running Citadel; replicas in one directory share the sealing key file."""
    admin_socket = directory / name / "admin.sock"
    async with forked_service(
        "citadel",
        *("--listen", "127.0.0.1:0", "--monitoring-listen", "127.0.0.1:0"),
        *("--admin-socket", admin_socket, "--ca-key-file", directory / "ca.key"),
        *("--root-ca-dir", directory / "cacerts"),
        *("--etcd-endpoints", etcd),
        *flags,
    ) as service:
        yield Citadel(service, admin_socket)
