"""A front on a Unix socket: the kernel says which user calls (citadel-and-agent.md A5)."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from mast.common.identity.tls_front import Peer, PeerTable, socket_front
from tests.support.until import until


@asynccontextmanager
async def who_server(path: Path, table: PeerTable) -> AsyncIterator[None]:
    """Tells a caller what is known of it."""

    async def who(_: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
        return repr(table.find(context.peer())).encode()

    server = grpc.aio.server()
    handlers = {"AmI": grpc.unary_unary_rpc_method_handler(who)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Who", handlers),))
    server.add_insecure_port(f"unix:{path}")
    await server.start()
    try:
        yield
    finally:
        await server.stop(None)


@pytest.fixture
def directory() -> Any:
    with tempfile.TemporaryDirectory(prefix="sf-") as name:
        yield Path(name)


async def ask(path: Path) -> bytes:
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(f"unix:{path}", options) as channel:
        answer: bytes = await channel.unary_unary("/test.Who/AmI")(b"", timeout=20)
        return answer


async def test_the_user_that_connected_is_known(directory: Path) -> None:
    door, upstream = directory / "door.sock", directory / "grpc.sock"
    async with socket_front(door, upstream) as peers, who_server(upstream, peers):
        assert stat.S_IMODE(door.stat().st_mode) == 0o666
        assert await ask(door) == repr(Peer(uid=os.getuid())).encode()
        # Whoever gets to the server itself is nobody.
        assert await ask(upstream) == b"None"
        await until(lambda: len(peers) == 0)


async def test_a_socket_left_behind_is_replaced(directory: Path) -> None:
    door, upstream = directory / "door.sock", directory / "grpc.sock"
    door.write_text("left behind")
    async with socket_front(door, upstream, mode=0o600) as peers, who_server(upstream, peers):
        assert stat.S_IMODE(door.stat().st_mode) == 0o600
        await ask(door)


async def test_an_address_that_cannot_be_had(directory: Path) -> None:
    with pytest.raises(OSError, match="cannot listen on"):
        async with socket_front(directory / "no" / "door.sock", directory / "grpc.sock"):
            pass
