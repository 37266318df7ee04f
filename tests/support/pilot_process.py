"""A real Pilot in a process of its own, on ports of its own choice."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from tests.support.ads_server import until

NAMES = {"grpc": "ads", "http": "http", "monitoring": "metrics"}


@dataclass
class PilotProcess:
    """`ads`, `http` and `metrics` are its addresses; `events` what it logged."""

    process: asyncio.subprocess.Process
    ads: str = ""
    http: str = ""
    metrics: str = ""
    events: list[dict[str, Any]] = field(default_factory=list)

    async def page(self, path: str) -> Any:
        """A debug page."""
        async with (
            aiohttp.ClientSession() as client,
            client.get(f"http://{self.http}{path}") as response,
        ):
            return await response.json()

    async def ready(self) -> bool:
        """Whether it says that it is ready."""
        async with (
            aiohttp.ClientSession() as client,
            client.get(f"http://{self.metrics}/ready") as response,
        ):
            return response.status == 200

    async def metric(self, name: str) -> float:
        """Sum of the samples whose line begins with a name and perhaps labels."""
        async with (
            aiohttp.ClientSession() as client,
            client.get(f"http://{self.metrics}/metrics") as response,
        ):
            lines = (await response.text()).splitlines()
        return sum(float(each.rsplit(" ", 1)[1]) for each in lines if each.startswith(name))

    @property
    def cpu_seconds(self) -> float:
        """Processor time it has used."""
        times = psutil.Process(self.process.pid).cpu_times()
        return times.user + times.system

    @property
    def resident_bytes(self) -> int:
        """Memory it occupies."""
        return psutil.Process(self.process.pid).memory_info().rss

    async def kill(self) -> None:
        """End it without warning."""
        self.process.kill()
        await self.process.wait()


@asynccontextmanager
async def pilot_process(
    etcd: str, directory: Path, *flags: str, ads: str = "127.0.0.1:0", synced: bool = True
) -> AsyncIterator[PilotProcess]:
    """Run Pilot on an etcd until the end of the block; it is ready when the block begins.

    Unless `synced`, it only listens then.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "mast.pilot"),
        *("--etcd-endpoints", etcd, "--listen", ads),
        *("--http-listen", "127.0.0.1:0", "--monitoring-listen", "127.0.0.1:0"),
        *flags,
        cwd=directory,
        stdout=asyncio.subprocess.PIPE,
    )
    running = PilotProcess(process)
    async with asyncio.TaskGroup() as tasks:
        reading = tasks.create_task(_read(running), name="pilot log")
        try:
            await until(lambda: running.ads and running.http and running.metrics, seconds=30)
            if synced:
                await until(running.ready, seconds=30)
            yield running
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
                async with asyncio.timeout(20):
                    await process.wait()
            await reading


async def _read(running: PilotProcess) -> None:
    if running.process.stdout is None:
        return
    async for line in running.process.stdout:
        event = json.loads(line)
        running.events.append(event)
        if event["event"] == "service.listening" and event["name"] in NAMES:
            setattr(running, NAMES[event["name"]], event["address"])
