"""A large cluster into etcd: at first, after a restart, while it changes, and when it is slow.

    python -m tests.bench.bench_kubernetes_sync [SERVICES [PODS_PER_SERVICE [CONFIGS [PHASE ...]]]]

A real Galley and a real etcd; the API server (`load/kubernetes_api.py`) and Pilot's world
(`load/snapshots.py`) are processes of their own. Processor time and memory are those of the Galley
process alone. Lags are from the change in the API server's memory to the first snapshot of Pilot
that has it, debounce included.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from typing import Any, Final

import aiohttp
import psutil

from mast.common.etcd import EtcdConfig, connect
from mast.common.keys import CONFIG, LEADER, REGISTRY
from mast.common.process.telemetry import configure_logging
from tests.bench.load.kubernetes_objects import Size
from tests.support.etcd_server import EtcdServer, etcd_server
from tests.support.service_process import ServiceProcess, service_process

PHASES: Final = ("endpoints", "bad", "configs", "heartbeats", "slow")
LIMIT_SECONDS: Final = 300
ENDPOINTS_PER_SECOND, CONFIGS_PER_SECOND, HEARTBEATS_PER_SECOND = 1000, 100, 2000
BAD_PER_SECOND: Final = 1
CHANGE_SECONDS: Final = 20
SLOW_SECONDS: Final = 3
SETTLING_SECONDS: Final = 5
MEBIBYTE: Final = 1 << 20
WRITTEN: Final = "etcd_mvcc_put_total"
TRANSACTIONS: Final = 'grpc_server_handled_total{grpc_code="OK",grpc_method="Txn"'
RECEIVED_BYTES: Final = "etcd_network_client_grpc_received_bytes_total"


@asynccontextmanager
async def program(module: str, *arguments: object) -> AsyncIterator[asyncio.subprocess.Process]:
    """One of the programs of `load`, once it has written its first line."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", f"tests.bench.load.{module}", *map(str, arguments)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=1 << 28,
    )
    assert process.stdout is not None
    try:
        if not await process.stdout.readline():
            raise RuntimeError(f"{module} ended")
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@dataclass(frozen=True)
class Usage:
    """What a process has used up to a moment."""

    at: float
    cpu_seconds: float

    @classmethod
    def of(cls, process: psutil.Process) -> Usage:
        times = process.cpu_times()
        return cls(time.monotonic(), times.user + times.system)


class Galley:
    """A running Galley, asked again and again whether it is ready."""

    def __init__(self, running: ServiceProcess) -> None:
        self._process = psutil.Process(running.process.pid)
        self._running = running
        self.slowest_seconds = 0.0

    @property
    def usage(self) -> Usage:
        return Usage.of(self._process)

    @property
    def resident(self) -> dict[str, float]:
        """MiB now and at most."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        peak = next(int(line.split()[1]) for line in status.splitlines() if "VmHWM" in line)
        now = self._process.memory_info().rss / MEBIBYTE
        return {"resident_mib": round(now, 1), "peak_mib": round(peak / 1024, 1)}

    async def ask(self, became_ready: asyncio.Event) -> None:
        """Ask for ever; note the longest time without an answer."""
        url = f"http://{await self._running.address('monitoring')}/ready"
        async with aiohttp.ClientSession() as session:
            while True:
                begun = time.monotonic()
                async with session.get(url) as answer:
                    await answer.read()
                    if answer.status == 200:
                        became_ready.set()
                self.slowest_seconds = max(self.slowest_seconds, time.monotonic() - begun)
                await asyncio.sleep(0.01)


class Bench:
    """An API server, an etcd, and what is measured with them."""

    def __init__(self, size: Size, etcd: EtcdServer, directory: Path) -> None:
        self._size = size
        self._etcd = etcd
        self._directory = directory
        self._url = (directory / "url").read_text()
        self._tls = ssl.create_default_context(cafile=directory / "root.pem")

    @asynccontextmanager
    async def galley(self, name: str) -> AsyncIterator[Galley]:
        """A Galley that is ready; says what it took to become so."""
        flags = {
            "etcd-endpoints": self._etcd.endpoint,
            "kubeconfig": self._directory / "kubeconfig",
            "monitoring-listen": "127.0.0.1:0",
            "root-maps": "false",
            "webhook-configurations": "false",
        }
        line = [part for flag, value in flags.items() for part in (f"--{flag}", value)]
        became_ready, revision = asyncio.Event(), await self._revision()
        before, begun = await self._counted(), time.monotonic()
        async with service_process("galley", *line) as running, asyncio.TaskGroup() as tasks:
            found = Galley(running)
            asking = tasks.create_task(found.ask(became_ready))
            async with asyncio.timeout(LIMIT_SECONDS):
                await became_ready.wait()
            seconds = time.monotonic() - begun
            cost = await self._spent(before)
            cpu = {"cpu_seconds": round(found.usage.cpu_seconds, 2)}
            slowest = {"slowest_ready_ms": round(found.slowest_seconds * 1000, 1)}
            written = {"written": await self._written(revision)}
            self._show(name, seconds, "s", **cpu, **found.resident, **slowest, **cost, **written)
            yield found
            asking.cancel()

    async def endpoints(self, galley: Galley) -> None:
        """One endpoint after the other becomes unready, or ready again."""
        await self._churn(galley, "endpoint")

    async def bad(self, galley: Galley) -> None:
        """The same while objects come that nobody can take."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._change("bad", BAD_PER_SECOND))
            await self._churn(galley, "endpoint beside bad objects")

    async def _churn(self, galley: Galley, name: str) -> None:
        async with program("snapshots", self._etcd.endpoint) as pilot:
            world = psutil.Process(pilot.pid)
            before, counted, galley.slowest_seconds = galley.usage, await self._counted(), 0.0
            world_before = Usage.of(world)
            sent = await self._change("endpoints", ENDPOINTS_PER_SECOND)
            after, world_after = galley.usage, Usage.of(world)
            await asyncio.sleep(SETTLING_SECONDS)
            cost = await self._spent(counted, len(sent))
            output = await _ended(pilot)
        waiting = dict(reversed(sent))
        stored, seen = [], []
        for address, _, read_at, seen_at in json.loads(output):
            if (at := waiting.pop(address, None)) is not None:
                stored.append(read_at - at)
                seen.append(seen_at - at)
        busy = {"cores": round(_cores(before, after), 3), "late": len(waiting)}
        busy["cores_of_world"] = round(_cores(world_before, world_after), 3)
        slowest = {"slowest_ready_ms": round(galley.slowest_seconds * 1000, 1)}
        self._show(f"{name}, to etcd", *_half(stored), **_late(stored))
        self._show(f"{name}, to snapshot", *_half(seen), **_late(seen), **slowest)
        spent = _milliseconds(before, after, len(sent))
        rate = {"a_second": round(len(sent) / CHANGE_SECONDS, 1)}
        self._show(f"{name}, CPU", spent, "ms", **rate, **busy, **cost)

    async def configs(self, galley: Galley) -> None:
        """One VirtualService after the other gets another timeout."""
        await self._cost(galley, "configs", CONFIGS_PER_SECOND)

    async def heartbeats(self, galley: Galley) -> None:
        """A flood of events that mean nothing to the mesh."""
        await self._cost(galley, "pods", HEARTBEATS_PER_SECOND)

    async def slow(self, galley: Galley) -> None:
        """An API server that takes seconds for every answer; only then may Galley be asked."""
        await self._post("slow", {"seconds": SLOW_SECONDS})
        galley.slowest_seconds = 0.0
        await asyncio.sleep(2 * SLOW_SECONDS)
        self._show("ready beside a slow API server", galley.slowest_seconds * 1000, "ms at most")
        await self._post("slow", {"seconds": 0})

    async def _cost(self, galley: Galley, what: str, rate: float) -> None:
        before, counted, galley.slowest_seconds = galley.usage, await self._counted(), 0.0
        sent = await self._change(what, rate)
        await asyncio.sleep(1)
        after, cost = galley.usage, await self._spent(counted, len(sent))
        more = {"cores": round(_cores(before, after), 3), **cost}
        slowest = {"slowest_ready_ms": round(galley.slowest_seconds * 1000, 1)}
        spent = _milliseconds(before, after, len(sent))
        self._show(f"CPU of each of {rate} {what} a second", spent, "ms", **more, **slowest)

    async def _change(self, what: str, rate: float) -> list[tuple[str, float]]:
        answer = await self._post(what, {"rate": rate, "seconds": CHANGE_SECONDS})
        return [tuple(each) for each in json.loads(answer)]

    async def _post(self, what: str, body: Mapping[str, Any]) -> bytes:
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{self._url}/bench/{what}", json=body, ssl=self._tls) as answer,
        ):
            return await answer.read()

    async def _revision(self) -> int:
        async with connect(EtcdConfig(endpoints=(self._etcd.endpoint,))) as store:
            return (await store.list(LEADER)).revision

    async def _written(self, revision: int) -> int:
        """How many keys of configuration and registry were written after a revision."""
        written = 0
        async with connect(EtcdConfig(endpoints=(self._etcd.endpoint,))) as store:
            for prefix in (CONFIG, REGISTRY):
                for entry in (await store.list(prefix)).entries:
                    written += entry.mod_revision > revision
        return written

    async def _counted(self) -> Mapping[str, float]:
        """What etcd has counted so far."""
        counted = dict.fromkeys((WRITTEN, TRANSACTIONS, RECEIVED_BYTES), 0.0)
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://{self._etcd.endpoint}/metrics") as answer,
        ):
            lines = (await answer.text()).splitlines()
        for line in lines:
            name, _, value = line.rpartition(" ")
            for each in counted:
                if name.startswith(each):
                    counted[each] += float(value)
        return counted

    async def _spent(self, before: Mapping[str, float], changes: int = 0) -> dict[str, float]:
        """What was written since: in all, or for each change."""
        now = await self._counted()
        names = {WRITTEN: "puts", TRANSACTIONS: "transactions", RECEIVED_BYTES: "sent_bytes"}
        divisor = changes or 1
        return {name: round((now[key] - before[key]) / divisor, 3) for key, name in names.items()}

    def _show(self, name: str, value: float, unit: str, **more: object) -> None:
        load = round(psutil.getloadavg()[0], 1)
        result = {"name": name, "value": round(value, 3), "unit": unit, **more, "load": load}
        sys.stdout.write(json.dumps(result) + "\n")
        sys.stdout.flush()


async def _ended(process: asyncio.subprocess.Process) -> bytes:
    """The line that a program writes when its input ends."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()
    async with asyncio.timeout(LIMIT_SECONDS):
        return await process.stdout.readline()


def _half(lags: Sequence[float]) -> tuple[float, str]:
    return quantiles(lags, n=100)[49] * 1000, "ms"


def _late(lags: Sequence[float]) -> dict[str, float]:
    return {"p99_ms": round(quantiles(lags, n=100)[98] * 1000, 1), "count": len(lags)}


def _cores(before: Usage, after: Usage) -> float:
    return (after.cpu_seconds - before.cpu_seconds) / (after.at - before.at)


def _milliseconds(before: Usage, after: Usage, changes: int) -> float:
    return (after.cpu_seconds - before.cpu_seconds) / changes * 1000


async def main(size: Size, phases: Sequence[str]) -> None:
    """Sync, restart, change."""
    configure_logging("bench", "error", "json")
    with tempfile.TemporaryDirectory(prefix="bks-") as name:
        directory = Path(name)
        arguments = (directory, size.services, size.pods_per_service, size.configs)
        async with program("kubernetes_api", *arguments), etcd_server(directory) as etcd:
            bench = Bench(size, etcd, directory)
            async with bench.galley("first sync"):
                pass
            async with bench.galley("restart") as galley:
                for phase in phases:
                    await getattr(bench, phase)(galley)


if __name__ == "__main__":
    numbers = [int(each) for each in sys.argv[1:] if each.isdigit()]
    named = [each for each in sys.argv[1:] if not each.isdigit()]
    asyncio.run(main(Size(*numbers), named or PHASES))
