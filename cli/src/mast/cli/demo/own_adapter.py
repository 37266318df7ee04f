"""The sample of an adapter out of process, made and run as its README says."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import yaml

from mast.cli.demo.stage import Stage
from mast.cli.errors import CommandError
from mast.cli.local.supervisor import die_with_parent

MATCH = 'destination.labels["app"] == "details" || destination.labels["app"] == "ratings"'
SECONDS = 30


@asynccontextmanager
async def own_adapter(stage: Stage) -> AsyncIterator[Sequence[str]]:
    """Run the sample beside Mixer; gives the files with the objects that make Mixer call it.

    Its rule is for details and ratings only. CommandError if it cannot be made.
    """
    sample = stage.samples.parent / "mixer-adapter"
    made = stage.scratch / "own-adapter"
    await _output(made, sample / "compile.py", made)
    async with _serving(made, sample / "adapter.py") as address:
        objects, policy = made / "objects.yaml", made / "policy.yaml"
        objects.write_text(await _output(made, sample / "objects.py", "entitlements"))
        policy.write_text(_policy(sample / "policy.yaml", address))
        yield str(objects), str(policy)


def _policy(path: Path, address: str) -> str:
    """The sample's handler, instance and rule, for an adapter at an address."""
    documents = list(yaml.safe_load_all(path.read_text()))
    for each in documents:
        if each["kind"] == "handler":
            each["spec"]["connection"] = {"address": address, "timeout": "5s"}
        if each["kind"] == "rule":
            each["spec"]["match"] = MATCH
    return yaml.safe_dump_all(documents)


async def _output(made: Path, *command: object) -> str:
    """What a program of the sample prints."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, *map(str, command)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(made)},
        preexec_fn=die_with_parent,
    )
    told, complaint = await process.communicate()
    if process.returncode != 0:
        raise CommandError(f"{command[0]} failed: {complaint.decode().strip()[-400:]}")
    return told.decode()


@asynccontextmanager
async def _serving(made: Path, program: Path) -> AsyncIterator[str]:
    """A server of the sample on a free port; gives its address."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(program), "--listen", "127.0.0.1:0"),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(made)},
        preexec_fn=die_with_parent,
    )
    assert process.stdout is not None  # noqa: S101 - it is a pipe
    try:
        async with asyncio.timeout(SECONDS):
            line = (await process.stdout.readline()).decode()
        yield line.removeprefix("listening on ").strip()
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
