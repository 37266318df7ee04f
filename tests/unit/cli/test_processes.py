"""Processes are told apart by start time, ended politely, then firmly."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta

import pytest

from mast.cli.local.processes import Process, end, gone

STUBBORN = "import signal,sys; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True)"
WAIT = "; import time; time.sleep(60)"


@pytest.fixture
def child(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[bytes]]:
    line = [sys.executable, "-c", request.param + WAIT]
    with subprocess.Popen(line, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def process_of(child: subprocess.Popen[bytes]) -> Process:
    process = Process.of(child.pid)
    assert process is not None
    return process


def test_a_pid_with_another_start_time_is_somebody_else() -> None:
    me = Process.of(os.getpid())
    assert me is not None
    assert me.alive()
    assert not Process(me.pid, me.started + 1).alive()


def test_nobody_has_this_pid() -> None:
    assert Process.of(2**22 + 1) is None


@pytest.mark.parametrize("child", ["print(1, flush=True)", STUBBORN], indirect=True)
async def test_end_is_polite_then_firm(child: subprocess.Popen[bytes]) -> None:
    process = process_of(child)
    await end([process], timedelta(milliseconds=500))
    assert not process.alive()


@pytest.mark.parametrize("child", ["print(1, flush=True)"], indirect=True)
async def test_gone_waits(child: subprocess.Popen[bytes]) -> None:
    process = process_of(child)
    child.kill()
    await gone([process])
    assert not process.alive()
