"""Which users a workload's processes run as in namespaces mode."""

from __future__ import annotations

import asyncio
import os
import sys

from mast.cli.local.home import Mesh

# An agent must be able to load the installation and to start programs of it.
_PROBE = (
    "import subprocess, sys, envoy, mast.agent, mast.common;"
    "subprocess.run([sys.executable, '-c', ''], check=True)"
)
PROXY_ID = 1337
"""User and group of proxies, as in a pod: what this group sends is not captured."""


async def proxy_user() -> int:
    """The user that proxies run as: 1337, if it can read this installation.

    An installation below somebody's private home cannot be read by user 1337. Proxies then run as
    the user behind ``sudo``, or as root without any capability; they keep group 1337.
    """
    probe = await asyncio.create_subprocess_exec(
        *_setpriv(PROXY_ID, PROXY_ID),
        *(sys.executable, "-c", _PROBE),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        cwd="/",
    )
    if await probe.wait() == 0:
        return PROXY_ID
    return int(os.environ.get("SUDO_UID", os.geteuid()))


def as_proxy(mesh: Mesh) -> tuple[str, ...]:
    """Command prefix of a workload's proxy."""
    return _setpriv(mesh.proxy_user, PROXY_ID)


def as_program() -> tuple[str, ...]:
    """Command prefix of a workload's program: the user who asked for it."""
    user = int(os.environ.get("SUDO_UID", os.geteuid()))
    group = int(os.environ.get("SUDO_GID", os.getegid()))
    line = ("setpriv", "--reuid", str(user), "--regid", str(group), "--clear-groups")
    return (*line, "--pdeathsig", "KILL", "--")


def _setpriv(user: int, group: int) -> tuple[str, ...]:
    identity = ("setpriv", "--reuid", str(user), "--regid", str(group), "--clear-groups")
    powers = ("--bounding-set=-all", "--inh-caps=-all", "--no-new-privs")
    return (*identity, *powers, "--pdeathsig", "KILL", "--")
