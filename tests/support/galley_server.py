"""Galley in this process for tests: its settings, its stub, its readiness."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import grpc.aio

from mast.galley.config import Config
from mast.galley.main import serve
from mastapi.galley.v1 import config_pb2 as api
from mastapi.galley.v1 import config_pb2_grpc
from tests.support.etcd_server import free_port
from tests.support.until import until

SECONDS = 30


@dataclass(frozen=True)
class RunningGalley:
    """``stub`` speaks through the admin socket."""

    stub: config_pb2_grpc.ConfigServiceStub
    config: Config

    async def apply(self, text: str, **fields: Any) -> api.ApplyResponse:
        """Apply one text named ``test.yaml``."""
        request = api.ApplyRequest(sources=[api.Source(name="test.yaml", text=text)], **fields)
        return await self.stub.Apply(request, timeout=SECONDS)

    async def listed(self, *kinds: str, **fields: Any) -> dict[str, api.Object]:
        """Objects of some kinds by ``namespace/name``."""
        response = await self.stub.List(api.ListRequest(kinds=kinds, **fields), timeout=SECONDS)
        return {f"{o.metadata.namespace}/{o.metadata.name}": o for o in response.objects}

    async def has(self, hosts: dict[str, str]) -> None:
        """Return when the objects are these, by the host of each."""

        async def holds() -> bool:
            return {n: found.spec["host"] for n, found in (await self.listed()).items()} == hosts

        await until(holds)

    async def page_with(self, path: str, text: str) -> None:
        """Return when a page holds a text; HTTP gives no other way than asking again."""
        async with asyncio.timeout(SECONDS):
            while text not in (await self.page(path))[1]:  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    async def page(self, path: str) -> tuple[int, str]:
        """Status and text of a page of the monitoring port."""
        url = f"http://{self.config.monitoring_listen}{path}"
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            return response.status, await response.text()


@asynccontextmanager
async def galley_server(
    directory: Path, etcd: str, **settings: Any
) -> AsyncIterator[RunningGalley]:
    """A running Galley with its admin socket below ``directory``; stopped at the end."""
    settings.setdefault("monitoring_listen", f"127.0.0.1:{free_port()}")
    socket = directory / "galley" / "admin.sock"
    config = Config(admin_socket=socket, etcd_endpoints=(etcd,), **settings)
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(serve(config, stop), name="galley")
        try:
            async with grpc.aio.insecure_channel(f"unix:{socket}") as channel:
                async with asyncio.timeout(SECONDS):
                    await channel.channel_ready()
                yield RunningGalley(config_pb2_grpc.ConfigServiceStub(channel), config)
        finally:
            stop.set()
