"""The Unix socket on which the plugin asks the agent of the node (C6).

One line of JSON asks, one answers: `{"command", "namespace", "name", "netns"}`, `{"error"}`.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog

log = structlog.get_logger()

_LONGEST = 1 << 16
_SECONDS = 10


@dataclass(frozen=True)
class Call:
    """What the plugin was called for: ADD or CHECK of a pod, or STATUS."""

    command: str
    namespace: str = ""
    name: str = ""
    netns: str = ""


Answer = Callable[[Call], Awaitable[str]]
"""Does it; "" or why it could not be done."""


@asynccontextmanager
async def plugin_socket(path: Path, answer: Answer) -> AsyncIterator[None]:
    """Serve the plugin, which runs as root, and nobody else."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_SECONDS):
                line = await reader.readline()
            error = await _answered(line, answer)
            writer.write(json.dumps({"error": error}).encode() + b"\n")
            await writer.drain()
        except (OSError, TimeoutError, ValueError) as failure:
            log.warning("cni.call_lost", error=str(failure))
        finally:
            writer.close()

    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    server = await asyncio.start_unix_server(serve, path, limit=_LONGEST)
    os.chmod(path, 0o600)
    try:
        yield
    finally:
        server.close()
        path.unlink(missing_ok=True)


async def _answered(line: bytes, answer: Answer) -> str:
    try:
        asked = json.loads(line)
        call = Call(**{name: str(value) for name, value in asked.items()})
    except (ValueError, TypeError, AttributeError) as error:
        return f"not understood: {error}"
    return await answer(call)
