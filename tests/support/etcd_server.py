"""A real etcd of one member for tests: killed, paused and restarted on the same ports."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from functools import cache
from itertools import cycle
from pathlib import Path

import grpc
import grpc.aio
from etcd.api.etcdserverpb import rpc_pb2, rpc_pb2_grpc

from mast.cli.local import etcd

STARTUP_SECONDS = 30
START_ATTEMPTS = 5
# Below the ephemeral range, so that no outgoing connection takes a port while etcd is down, and of
# each worker of pytest its own, so that none takes what another has chosen but not bound yet.
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_PORTS = range(20_000, 32_000)[_WORKER :: int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))]
_FIRST = random.randrange(len(_PORTS))  # noqa: S311
_in_turn = cycle((*_PORTS[_FIRST:], *_PORTS[:_FIRST]))
# A lone member waits as long before it takes the lead of itself; by default a second or two. Leases
# may be shorter than otherwise, too: they last for one and a half times as long at least.
_ELECTION = ("--heartbeat-interval=50", "--election-timeout=250")
_RETRY_FAST = (
    ("grpc.initial_reconnect_backoff_ms", 20),
    ("grpc.max_reconnect_backoff_ms", 100),
    ("grpc.use_local_subchannel_pool", 1),
)


_binary = cache(etcd.binary)


@cache
def _no_fsync(program: str) -> Sequence[str]:
    text = subprocess.run([program, "--help"], capture_output=True, text=True)
    return ["--unsafe-no-fsync"] if "--unsafe-no-fsync" in text.stdout + text.stderr else []


def free_port() -> int:
    """A port nobody listens on at the moment; another one each time, for a long time."""
    while True:
        port = next(_in_turn)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class EtcdServer:
    """``endpoint`` is ``host:port`` of the client API; it stays the same over restarts."""

    def __init__(self, data_dir: Path, flags: Sequence[str], scheme: str) -> None:
        self.data_dir = data_dir
        self._flags = flags
        self._scheme = scheme
        self._client, self._peer = free_port(), free_port()
        self._ports_known = False
        self._process: asyncio.subprocess.Process | None = None

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self._client}"

    @property
    def stored(self) -> Path:
        """Directory of etcd's own files."""
        return self.data_dir / "data"

    @property
    def pid(self) -> int:
        """Process id; RuntimeError if it does not run."""
        if self._process is None:
            raise RuntimeError("etcd does not run")
        return self._process.pid

    async def start(self) -> None:
        """Start and wait until it serves; on other ports if somebody took these meanwhile."""
        for _ in range(START_ATTEMPTS):
            process = await self._spawn()
            if self._scheme != "http" or await self._serves(process):
                self._ports_known = True
                return
            self._process = None
            if not self._ports_known:
                self._client, self._peer = free_port(), free_port()
        log = (self.data_dir / "etcd.log").read_text()[-2000:]
        raise RuntimeError(f"etcd ended instead of serving {self.endpoint}: {log}")

    async def _spawn(self) -> asyncio.subprocess.Process:
        client, peer = f"{self._scheme}://{self.endpoint}", f"http://127.0.0.1:{self._peer}"
        program = _binary()
        self._process = await asyncio.create_subprocess_exec(
            program,
            *("--name", "test", "--data-dir", self.stored),
            *("--listen-client-urls", client, "--advertise-client-urls", client),
            *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
            *("--initial-cluster", f"test={peer}"),
            *("--logger", "zap", "--log-level", "error"),
            *("--log-outputs", self.data_dir / "etcd.log"),
            *_ELECTION,
            *_no_fsync(program),
            *self._flags,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        return self._process

    async def _serves(self, process: asyncio.subprocess.Process) -> bool:
        """Return when it serves (True) or has ended (False)."""
        async with asyncio.TaskGroup() as tasks:
            ended = tasks.create_task(process.wait())
            serving = tasks.create_task(self._answers())
            await asyncio.wait((ended, serving), return_when=asyncio.FIRST_COMPLETED)
            ended.cancel()
            serving.cancel()
        return process.returncode is None

    async def _answers(self) -> None:
        async with grpc.aio.insecure_channel(self.endpoint, options=_RETRY_FAST) as channel:
            async with asyncio.timeout(STARTUP_SECONDS):
                await channel.channel_ready()
            kv = rpc_pb2_grpc.KVStub(channel)
            with suppress(grpc.aio.AioRpcError):  # with auth on it answers, but not to us
                await kv.Range(rpc_pb2.RangeRequest(key=b"/"), timeout=STARTUP_SECONDS)

    async def kill(self) -> None:
        """End it with SIGKILL, as a crash would."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
            self._process = None

    async def restart(self) -> None:
        """Start it again with the data it had; kills it first if it still runs."""
        await self.kill()
        await self.start()

    async def pause(self) -> None:
        """Freeze the process: connections stay open, nothing is answered from now on."""
        self._signal(signal.SIGSTOP)
        async with asyncio.timeout(STARTUP_SECONDS):
            while not _is_frozen(self.pid):  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.005)

    def resume(self) -> None:
        """Let a frozen process continue."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)


def _is_frozen(pid: int) -> bool:
    """Whether every thread of a process is stopped."""
    threads = Path(f"/proc/{pid}/task").glob("*/stat")
    return all(each.read_text().rpartition(") ")[2].startswith("T") for each in threads)


@asynccontextmanager
async def etcd_server(
    data_dir: Path, *, flags: Sequence[str] = (), scheme: str = "http"
) -> AsyncIterator[EtcdServer]:
    """A running etcd that keeps its data in ``data_dir``; killed at the end, the data removed.

    (etcd reserves 128 MB at its start; kept for hundreds of tests they fill a disk.)

    ``flags`` are more command-line flags. With scheme ``https`` (certificates among the flags) it
    may not serve yet.
    """
    server = EtcdServer(data_dir, flags, scheme)
    try:
        await server.start()
        yield server
    finally:
        await server.kill()
        shutil.rmtree(server.stored, ignore_errors=True)
