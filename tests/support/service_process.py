"""One of our services as a process: observed by its log, its ports and its exit status."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from tests.support.template import Forked, fork

SECONDS = 30


@dataclass
class ServiceProcess:
    """A process and what it said so far: ``log`` are the lines of JSON, ``output`` all."""

    process: asyncio.subprocess.Process | Forked
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

    async def get(self, path: str, name: str = "monitoring") -> tuple[int, str]:
        """GET from an HTTP port: status and body."""
        address = await self.address(name)
        return await asyncio.to_thread(_get, f"http://{address}{path}")

    async def stop(self) -> int:
        """End it with SIGTERM; its exit status."""
        with suppress(ProcessLookupError):
            self.process.terminate()
        return await self.ended()

    async def ended(self) -> int:
        """The exit status, once it ended."""
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
async def service_process(service: str, *flags: object) -> AsyncIterator[ServiceProcess]:
    """A service by its name, run with flags; killed at the end of the block.

    What it would have cleaned up itself, its temporary files, goes with a directory of its own.
    """
    with tempfile.TemporaryDirectory(prefix="sp-") as scratch:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", f"mast.{service}"),
            *map(str, flags),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=os.environ | {"TMPDIR": scratch},
        )
        async with _watched(service, process) as running:
            yield running


@asynccontextmanager
async def forked_service(service: str, *flags: object) -> AsyncIterator[ServiceProcess]:
    """`service_process`, begun in a tenth of the time: its modules are loaded already."""
    with tempfile.TemporaryDirectory(prefix="sp-") as scratch:
        process = await fork(service, [*map(str, flags)], os.environ | {"TMPDIR": scratch})
        async with _watched(service, process) as running:
            yield running


@asynccontextmanager
async def _watched(
    service: str, process: asyncio.subprocess.Process | Forked
) -> AsyncIterator[ServiceProcess]:
    running = ServiceProcess(process)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(running.read(), name=f"{service} log")
        try:
            yield running
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
