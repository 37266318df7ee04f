"""Capture in the network namespace of somebody else, by our own command (C1, C6)."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from mast.agent.core.cni.repair import owns

_SECONDS = 60
# What the command may take from our environment: pods say everything else.
_ENVIRONMENT = ("PATH", "FORCE_IPTABLES_BINARY", "PYTHONPYCACHEPREFIX", "PYTHONDONTWRITEBYTECODE")


class CaptureFailed(Exception):
    """Rules could not be programmed, or differ; has what the command said."""


async def program(netns: str, arguments: Sequence[str]) -> None:
    """Run `istio-iptables` in a network namespace, given by a path. Raises CaptureFailed."""
    command = ["nsenter", f"--net={netns}", "--", sys.executable, "-m", "mast.agent"]
    env = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            "istio-iptables",
            *arguments,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
    except OSError as error:
        raise CaptureFailed(f"nsenter: {error}") from error
    try:
        async with asyncio.timeout(_SECONDS):
            output, _ = await process.communicate()
    except TimeoutError as error:
        raise CaptureFailed(f"{netns}: not done in {_SECONDS} s") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        told = output.decode(errors="replace").strip().rpartition("\n")[2]
        raise CaptureFailed(f"{netns}: status {process.returncode}: {told}")


def of_pod(uid: str, proc: Path) -> str:
    """The path of a pod's network namespace, by one of its processes; "" if none runs here.

    ``proc`` has the processes of the node.
    """
    for directory in proc.iterdir():
        if directory.name.isdecimal() and owns(_cgroup(directory), uid):
            return str(directory / "ns" / "net")
    return ""


def _cgroup(directory: Path) -> str:
    """Empty for a process that has just ended."""
    try:
        return (directory / "cgroup").read_text()
    except OSError:
        return ""
