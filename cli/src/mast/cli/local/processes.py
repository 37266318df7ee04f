"""Processes told apart for certain: a pid alone may have been given to somebody else."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Process:
    """One process of this machine: its pid and its start in clock ticks since boot."""

    pid: int
    started: int

    @classmethod
    def of(cls, pid: int) -> Process | None:
        """The process that has this pid now, or None."""
        stat = _stat(pid)
        return None if stat is None else cls(pid, stat[1])

    def alive(self) -> bool:
        """True while this very process runs (a zombie does not)."""
        stat = _stat(self.pid)
        return stat is not None and stat[1] == self.started and stat[0] != "Z"

    def send(self, number: signal.Signals) -> bool:
        """Signal it if it still runs; False if it is gone."""
        if not self.alive():
            return False
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            return False
        return True


def _stat(pid: int) -> tuple[str, int] | None:
    """State and start time (proc(5), fields 3 and 22)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rpartition(")")[2].split()
    return fields[0], int(fields[19])


def detached(command: tuple[str, ...], log: Path) -> Process | None:
    """Start a program in a session of its own that outlives us; None if it ended at once."""
    pid = os.posix_spawn(
        command[0],
        command,
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )
    return Process.of(pid)


async def end(processes: Iterable[Process], patience: timedelta) -> None:
    """End processes: SIGTERM, and SIGKILL for those that still run when patience is over."""
    asked = [process for process in processes if process.send(signal.SIGTERM)]
    try:
        async with asyncio.timeout(patience.total_seconds()):
            await gone(asked)
    except TimeoutError:
        for process in asked:
            process.send(signal.SIGKILL)
        await gone(asked)


async def gone(processes: Iterable[Process]) -> None:
    """Return once none of the processes runs. They need not be our children."""
    left = [process for process in processes if process.alive()]
    while left:
        await asyncio.sleep(0.02)
        left = [process for process in left if process.alive()]
