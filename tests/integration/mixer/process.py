"""Mixer as a process on a real etcd: started with flags, observed by its log and its ports."""

from __future__ import annotations

import asyncio
import json
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import grpc.aio

from istio.mixer.v1 import mixer_pb2, mixer_pb2_grpc
from mast.mixer.core.dictionary import WORDS
from mast.mixer.core.values import Attributes
from mast.mixer.core.wire import encode

SECONDS = 30


@dataclass
class Mixer:
    """A process and what it said so far."""

    process: asyncio.subprocess.Process
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

    @asynccontextmanager
    async def stub(self) -> AsyncIterator[mixer_pb2_grpc.MixerStub]:
        """A client of the plaintext port."""
        async with grpc.aio.insecure_channel(await self.address("grpc")) as channel:
            yield mixer_pb2_grpc.MixerStub(channel)

    async def stop(self) -> int:
        """End it with SIGTERM; its exit status."""
        with suppress(ProcessLookupError):
            self.process.terminate()
        async with asyncio.timeout(SECONDS):
            return await self.process.wait()


def _get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def check_request(
    attributes: Attributes, known: int = len(WORDS), id: str = "", **quotas: int
) -> mixer_pb2.CheckRequest:
    """A check as a proxy that knows so many words sends it; quotas by name and amount."""
    asked = {name: mixer_pb2.CheckRequest.QuotaParams(amount=each) for name, each in quotas.items()}
    return mixer_pb2.CheckRequest(
        attributes=encode(attributes, known),
        global_word_count=known,
        deduplication_id=id,
        quotas=asked,
    )


@asynccontextmanager
async def mixer(etcd: str, flags: Sequence[object] = ()) -> AsyncIterator[Mixer]:
    """A running Mixer."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "from mast.mixer.main import main; main()"),
        *("--listen", "127.0.0.1:0", "--secure-listen", "127.0.0.1:0"),
        *("--monitoring-listen", "127.0.0.1:0", "--prometheus-listen", "127.0.0.1:0"),
        *("--etcd-endpoints", etcd, "--config-gather", "20ms"),
        *map(str, flags),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    running = Mixer(process)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(running.read(), name="mixer log")
        try:
            yield running
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
