"""Services forked from a process that has loaded their modules already.

To import them takes most of the processor time of a start, and tests start hundreds. A template has
neither threads nor channels nor an event loop; its children have arguments, variables, output and
chance of their own and run the very ``main`` of the service. That services also start by themselves
is seen where whole meshes run.
"""

from __future__ import annotations

import asyncio
import atexit
import json
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

NUMBER = struct.Struct("q")
ORDER_BYTES = 1 << 18
_ROOT = Path(__file__).parents[2]


class Forked:
    """A running child; used like `asyncio.subprocess.Process`."""

    def __init__(self, pid: int, stdout: asyncio.StreamReader, report: socket.socket) -> None:
        self.pid = pid
        self.stdout = stdout
        self.returncode: int | None = None
        self._report = report
        self._ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(report, self._hear)

    def send_signal(self, number: int) -> None:
        """Signal it; ProcessLookupError if it has ended."""
        if self.returncode is not None:
            raise ProcessLookupError(self.pid)
        os.kill(self.pid, number)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)

    async def wait(self) -> int:
        """Its exit status, or the negative number of the signal that ended it."""
        await self._ended.wait()
        assert self.returncode is not None
        return self.returncode

    def _hear(self) -> None:
        told = self._report.recv(NUMBER.size)
        asyncio.get_running_loop().remove_reader(self._report)
        self._report.close()
        # Nothing is told if the template itself was killed.
        status = NUMBER.unpack(told)[0] if told else signal.SIGKILL
        self.returncode = os.waitstatus_to_exitcode(status)
        self._ended.set()


async def fork(service: str, flags: Sequence[str], environment: Mapping[str, str]) -> Forked:
    """Begin a service by its name."""
    loop = asyncio.get_running_loop()
    order = json.dumps({"flags": [*flags], "environment": {**environment}}).encode()
    reading, writing = os.pipe()
    ours, theirs = socket.socketpair()
    socket.send_fds(_template(service), [order], [writing, theirs.fileno()])
    os.close(writing)
    theirs.close()
    ours.setblocking(False)
    (pid,) = NUMBER.unpack(await loop.sock_recv(ours, NUMBER.size))
    stdout = asyncio.StreamReader()
    await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(stdout), os.fdopen(reading, "rb", 0)
    )
    return Forked(pid, stdout, ours)


@cache
def _template(service: str) -> socket.socket:
    """Where the template of a service takes orders; it ends with this process."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.template_program", service],
            cwd=_ROOT,
            stdin=theirs,
            stdout=subprocess.DEVNULL,
        )

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ours
