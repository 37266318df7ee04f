"""`mast-agent vm`: joins a machine of its own to the mesh (citadel-and-agent.md B9).

What Istio's package does in a shell script: read ``cluster.env``, program capture, run the agent
as a user of its own.
"""

import argparse
import os
import pwd
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from mast.agent.capture_command import istio_iptables
from mast.agent.core import machine
from mast.agent.core.machine import Machine
from mast.agent.store.files import text_if_there, write_atomically
from mast.common.process.telemetry import configure_logging

log = structlog.get_logger()

ACTIONS = {
    "start": "program capture and run the agent",
    "init": "program capture",
    "run": "run the agent",
    "clean": "take capture away",
    "install": "put the files of --from where the others look for them",
}


def vm(argv: Sequence[str]) -> int:
    """Run one action; ``start`` and ``run`` become the agent."""
    told = "; ".join(f"{name}: {what}" for name, what in ACTIONS.items())
    parser = argparse.ArgumentParser(prog="mast-agent vm", description=f"{vm.__doc__} {told}.")
    parser.add_argument("action", nargs="?", choices=ACTIONS, default="start")
    parser.add_argument("--root", type=Path, default=Path("/"), help="the machine's root directory")
    parser.add_argument("--from", dest="source", type=Path, help="what mastctl wrote, for install")
    flags = parser.parse_args(argv)
    configure_logging("agent", "info", os.environ.get("MAST_LOG_FORMAT", "json"))
    try:
        os.chdir(flags.root)
        if flags.action == "install":
            return install(flags.source)
        return act(flags.action, Machine({**os.environ, **variables()}))
    except (ValueError, OSError) as error:
        log.error("machine.failed", action=flags.action, error=str(error))
        return 1


def variables() -> dict[str, str]:
    """What the environment files say; those of the mesh win over the machine's own."""
    return machine.variables(
        [text_if_there(path) for path in (machine.SIDECAR_ENV, machine.CLUSTER_ENV)]
    )


def install(source: Path | None) -> int:
    """Copy files to their places and add the control plane to /etc/hosts."""
    if source is None:
        raise ValueError("install: want --from DIRECTORY")
    installed = []
    for name, (place, mode) in machine.INSTALLED.items():
        if (source / name).exists():
            write_atomically(Path(place), (source / name).read_bytes(), mode)
            installed.append(place)
    hosts = Path(machine.HOSTS)
    known = text_if_there(hosts)
    wanted = machine.with_hosts(known, text_if_there(source / "hosts"))
    if wanted != known:
        hosts.parent.mkdir(parents=True, exist_ok=True)
        hosts.write_text(wanted)  # in place: it may be mounted
    log.info("machine.installed", files=installed)
    return 0


def act(action: str, here: Machine) -> int:
    """Take capture away, set it up, become the agent: what the action wants of these."""
    if action == "clean":
        os.environ.update(here.env)
        return istio_iptables(["--cleanup-only"]) if here.captured else 0
    account = _account(here.user)
    if here.captured and action != "run":
        os.environ.update(here.capture_environment(account.uid, account.gid))
        for step in (["--cleanup-only"], []):
            if status := istio_iptables(step):
                return status
    if action != "init":
        become_agent(here, account)
    return 0


@dataclass(frozen=True)
class Account:
    """A user to run as."""

    uid: int
    gid: int
    groups: Sequence[int]


def _account(name: str) -> Account:
    """The user of a name or number. Raises ValueError for a name nobody has."""
    if name.isdecimal():
        return Account(int(name), int(name), [int(name)])
    try:
        found = pwd.getpwnam(name)
    except KeyError as error:
        raise ValueError(
            f"user {name!r} does not exist: make it (useradd --system {name}), or set EXEC_USER"
        ) from error
    return Account(found.pw_uid, found.pw_gid, os.getgrouplist(name, found.pw_gid))


def become_agent(here: Machine, account: Account) -> None:
    """Replace this process by the agent, as its user; it does not return."""
    environment = here.environment()
    owned = [*machine.WRITTEN, str(Path(machine.INSTALLED["istio-token"][0]).parent)]
    for place in owned:
        Path(place).mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:
            _give(Path(place), account)
    if os.geteuid() == 0:
        os.setgroups(account.groups)
        os.setgid(account.gid)
        os.setuid(account.uid)
    line = [sys.executable, "-m", "mast.agent", *here.arguments]
    os.execve(sys.executable, line, environment)  # noqa: S606 - our own program


def _give(place: Path, account: Account) -> None:
    """Make a user the owner of a directory and what is in it."""
    for each in (place, *place.iterdir()):
        os.chown(each, account.uid, account.gid, follow_symlinks=False)
