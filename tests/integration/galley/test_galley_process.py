"""Galley as a process: flags, log, exit status."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path

import pytest

from tests.support.etcd_server import EtcdServer
from tests.support.galley_server import SECONDS


async def start(*flags: object) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "mast.galley"),
        *("--monitoring-listen", "127.0.0.1:0"),
        *map(str, flags),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def test_sigterm_ends_it_with_status_0(tmp_path: Path, etcd: EtcdServer) -> None:
    socket = tmp_path / "g" / "admin.sock"
    process = await start("--admin-socket", socket, "--etcd-endpoints", etcd.endpoint)
    assert process.stdout is not None
    try:
        seen: list[str] = []
        async with asyncio.timeout(SECONDS):
            while seen.count("service.listening") < 2 or "etcd.connected" not in seen:
                line = json.loads(await process.stdout.readline())
                assert line["service"] == "galley"
                seen.append(line["event"])
            process.send_signal(signal.SIGTERM)
            _, errors = await process.communicate()
        assert (process.returncode, errors) == (0, b"")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        pytest.param(["--max-txn-ops", "many"], b"--max-txn-ops", id="wrong-type"),
        pytest.param(["--no-such-flag"], b"unrecognized arguments", id="unknown-flag"),
    ],
)
async def test_wrong_flags_end_it_with_usage(flags: list[str], said: bytes) -> None:
    process = await start(*flags)
    async with asyncio.timeout(SECONDS):
        _, errors = await process.communicate()
    assert process.returncode == 2
    assert said in errors
