"""Envoy as a child process: started, watched, its output logged, never left behind (B6)."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

import structlog

from mast.agent.core.envoy_log import log_line
from mast.agent.store import launcher
from mast.common.backoff import Backoff

log = structlog.get_logger()
output = structlog.get_logger(program="envoy")

OWN_PROGRAM = "/proc/self/exe"
"""This interpreter, even where directories that lead to it are closed to the proxy's user."""

LONGEST_LINE = 1 << 20
STEADY = timedelta(seconds=30)
"""An Envoy that ran this long counts as started: the next crash restarts it quickly again."""

_EXIT = timedelta(seconds=2)
_VALIDATION = timedelta(seconds=20)
_SHOWN = 1000


def restart_backoff() -> Backoff:
    """Waits before restarts of a crashed Envoy: 100 ms doubling to 30 s (B6.1)."""
    return Backoff(timedelta(milliseconds=100), timedelta(seconds=30))


class Envoy:
    """One run of the program."""

    def __init__(self, process: Process) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        """The process ID."""
        return self._process.pid

    async def wait(self) -> int:
        """The exit status, once it has one; negative: the signal that ended it."""
        return await self._process.wait()

    async def stop(self) -> int:
        """End it now: SIGTERM, so that it flushes its logs, SIGKILL if it stays."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self._process.returncode is None:
                self._process.send_signal(number)
            try:
                async with asyncio.timeout(_EXIT.total_seconds()):
                    return await self._process.wait()
            except TimeoutError:
                log.warning("envoy.lingering", pid=self.pid, signal=number.name)
        return await self._process.wait()


@asynccontextmanager
async def running(
    command: Sequence[str], environment: Mapping[str, str] | None = None
) -> AsyncIterator[Envoy]:
    """Run Envoy in a session of its own: a terminal's Ctrl-C reaches it through us only.

    It is gone when the block is left, and the kernel kills it if this process dies before.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", launcher.__file__, str(os.getpid()), *command),
        executable=OWN_PROGRAM,
        stdout=PIPE,
        stderr=PIPE,
        limit=LONGEST_LINE,
        start_new_session=True,
        env=environment,
    )
    envoy = Envoy(process)
    log.info("envoy.started", pid=process.pid)
    async with asyncio.TaskGroup() as tasks:
        for name, stream in (("stdout", process.stdout), ("stderr", process.stderr)):
            tasks.create_task(_log_output(name, stream), name=f"envoy-{name}")
        try:
            yield envoy
        finally:
            if process.returncode is None:
                await envoy.stop()
            log.info("envoy.stopped", pid=process.pid, status=process.returncode)


async def _log_output(name: str, stream: asyncio.StreamReader | None) -> None:
    while stream is not None:
        try:
            line = await stream.readline()
        except ValueError:  # longer than the limit; the reader has thrown it away
            output.warning("envoy.line_dropped", stream=name, limit_bytes=LONGEST_LINE)
            continue
        if not line:
            return
        entry = log_line(line.decode(errors="replace").rstrip("\n"))
        output.log(_NUMBERS[entry.level], "envoy.output", stream=name, **entry.facts)


async def refusal(command: Sequence[str]) -> str:
    """Why Envoy does not take its configuration; empty if it does. Nothing is started."""
    process = await asyncio.create_subprocess_exec(
        *command, "--mode", "validate", stdout=DEVNULL, stderr=PIPE
    )
    try:
        async with asyncio.timeout(_VALIDATION.total_seconds()):
            _, said = await process.communicate()
    except TimeoutError:
        return f"not validated within {_VALIDATION.total_seconds():g} s"
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return "" if process.returncode == 0 else said.decode(errors="replace").strip()[-_SHOWN:]


_NUMBERS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


async def supervised(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    restart: bool,
    random: Callable[[], float],
) -> int:
    """Run Envoy until it ends; its exit status, or with ``restart`` never: start it again."""
    backoff = restart_backoff()
    clock = asyncio.get_running_loop().time
    while True:
        begun = clock()
        async with running(command, environment) as envoy:
            status = await envoy.wait()
        log.error("envoy.exited", status=status, restart=restart)
        if not restart:
            return status
        if clock() - begun > STEADY.total_seconds():
            backoff.reset()
        await asyncio.sleep(backoff.next(random()).total_seconds())
