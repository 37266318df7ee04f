"""Citadel as a process: started with flags, observed by its log, its ports and its exit status."""

from __future__ import annotations

import asyncio
import json
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from istio.auth.v1 import ca_pb2_grpc
from mast.common.ca_client import CaClient, Certificate, new_key_and_csr
from mastapi.citadel.v1 import citadel_pb2, citadel_pb2_grpc
from tests.support.pki import Pair, wall_clock

SERVER_NAME = "istiod.istio-system.svc"
SECONDS = 30


@dataclass
class Citadel:
    """A process and what it said so far."""

    process: asyncio.subprocess.Process
    admin_socket: Path
    log: list[Mapping[str, Any]] = field(default_factory=list)
    output: list[str] = field(default_factory=list)
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def read(self) -> None:
        """Take in the log until the process ends."""
        assert self.process.stdout is not None
        async for raw in self.process.stdout:
            async with self._news:
                self.output.append(raw.decode())
                with suppress(ValueError):
                    self.log.append(json.loads(raw))
                self._news.notify_all()

    async def logged(self, event: str, count: int = 1, **facts: Any) -> Mapping[str, Any]:
        """The ``count``-th line with this event and these facts, as soon as it is there."""

        def found() -> list[Mapping[str, Any]]:
            wanted = {"event": event, **facts}.items()
            return [line for line in self.log if wanted <= line.items()]

        async with asyncio.timeout(SECONDS), self._news:
            try:
                await self._news.wait_for(lambda: len(found()) >= count)
            except asyncio.CancelledError:
                sys.stdout.write("".join(self.output))
                raise
        return found()[count - 1]

    async def address(self, name: str) -> str:
        """Where a listener is bound."""
        line = await self.logged("service.listening", name=name)
        return str(line["address"])

    async def get(self, path: str) -> tuple[int, str]:
        """GET from the monitoring port: status and body."""
        address = await self.address("monitoring")
        return await asyncio.to_thread(_get, f"http://{address}{path}")

    @asynccontextmanager
    async def administrator(self) -> AsyncIterator[citadel_pb2_grpc.CitadelAdminStub]:
        """The administration API."""
        await self.address("admin")
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
            address=changes.pop("address", await self.address("ca")),
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
        address = await self.address("ca")
        async with grpc.aio.secure_channel(address, credentials, options) as channel:
            yield channel

    @asynccontextmanager
    async def stub(
        self, pair: Pair | None = None
    ) -> AsyncIterator[ca_pb2_grpc.IstioCertificateServiceStub]:
        """The certificate service, without the client's retries."""
        async with self.channel(await self.roots(), pair) as channel:
            yield ca_pb2_grpc.IstioCertificateServiceStub(channel)

    async def stop(self) -> int:
        """End it with SIGTERM; its exit status."""
        with suppress(ProcessLookupError):
            self.process.terminate()
        async with asyncio.timeout(SECONDS):
            return await self.process.wait()

    async def ended(self) -> int:
        """The exit status, once it ended by itself."""
        async with asyncio.timeout(SECONDS):
            return await self.process.wait()


def _get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


@asynccontextmanager
async def citadel(
    etcd: str, directory: Path, flags: Sequence[str] = (), *, name: str = "citadel"
) -> AsyncIterator[Citadel]:
    """A running Citadel; replicas in one directory share the sealing key file."""
    admin_socket = directory / name / "admin.sock"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "from mast.citadel.main import main; main()"),
        *("--listen", "127.0.0.1:0", "--monitoring-listen", "127.0.0.1:0"),
        *("--admin-socket", admin_socket, "--ca-key-file", directory / "ca.key"),
        *("--root-ca-dir", directory / "cacerts"),
        *("--etcd-endpoints", etcd),
        *flags,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    running = Citadel(process, admin_socket)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(running.read(), name="citadel log")
        try:
            yield running
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
