"""The samples of adapters out of process as their README runs them."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import yaml

from mast.mixer.core.values import Attributes, Duration
from tests.support.mixer_config import TELEMETRY

SAMPLE = Path(__file__).parents[2] / "samples" / "mixer-adapter"
MANIFESTS = yaml.safe_dump_all(
    each for each in yaml.safe_load_all(TELEMETRY) if each and each["kind"] == "attributemanifest"
)
"""The attributes that the samples use."""


async def output(directory: Path, *command: object) -> str:
    """What a program of the samples writes."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, *map(str, command)),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(directory)},
    )
    async with asyncio.timeout(60):
        told, _ = await process.communicate()
    assert process.returncode == 0
    return told.decode()


@asynccontextmanager
async def sample_adapter(
    directory: Path, *flags: object, program: str = "adapter.py", **environment: str
) -> AsyncIterator[str]:
    """A server of the sample; gives its address. At the end it is told to end."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(SAMPLE / program), "--listen", "127.0.0.1:0"),
        *map(str, flags),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(directory), **environment},
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(30):
            line = (await process.stdout.readline()).decode()
        yield line.removeprefix("listening on ").strip()
        process.terminate()
        async with asyncio.timeout(30):
            assert await process.wait() == 0
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def record(code: int) -> Attributes:
    """A request that has ended."""
    return {
        "context.protocol": "http",
        "destination.service.host": "web",
        "response.code": code,
        "response.duration": Duration(1_500_000_000),
    }
