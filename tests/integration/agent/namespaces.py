"""Two network namespaces with a link between them: a workload's, and that of its peers."""

from __future__ import annotations

import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PROXY = 1337
APPLICATION = 2000
PYTHON = "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable
"""An interpreter that every user may run: that of the tests may be in somebody's home."""


def run(*command: str, text: str | None = None, check: bool = True) -> str:
    """Output of a command; its complaint is in the error if it fails."""
    result = subprocess.run(
        command, input=text, capture_output=True, text=True, timeout=60, check=False
    )
    if check and result.returncode:
        raise AssertionError(f"{' '.join(command)}: {result.stdout}{result.stderr}")
    return result.stdout


@dataclass(frozen=True)
class Namespace:
    """One network namespace with the addresses of its end of the link."""

    name: str
    ipv4: str
    ipv6: str

    def inside(self, *command: str, uid: int = 0, gid: int | None = None) -> list[str]:
        """A command line that runs here as a user; no supplementary groups."""
        prefix = ["ip", "netns", "exec", self.name]
        if uid or gid:
            group = uid if gid is None else gid
            prefix += ["setpriv", f"--reuid={uid}", f"--regid={group}", "--clear-groups"]
        return [*prefix, *command]

    def run(self, *command: str, uid: int = 0, gid: int | None = None, check: bool = True) -> str:
        """Run a command here to its end."""
        return run(*self.inside(*command, uid=uid, gid=gid), check=check)


@dataclass(frozen=True)
class Link:
    """A workload's namespace and its peer's; a directory that every user may read.

    ``vip`` is an address that is nobody's; the workload's default route leads to the peer.
    """

    workload: Namespace
    peer: Namespace
    vip: str
    directory: Path

    def program(self, source: str) -> str:
        """A copy of a program that every user may read: the checkout may be in a private home."""
        copy = self.directory / Path(source).name
        shutil.copyfile(source, copy)
        copy.chmod(0o644)
        return str(copy)


@contextmanager
def linked(*, to_host: bool = False) -> Iterator[Link]:
    """Fresh namespaces; gone, with everything in them, when the block is left.

    With ``to_host`` the peer is this machine itself.
    """
    name = f"mt-{secrets.token_hex(3)}"
    net = secrets.randbelow(250) + 1
    link = Link(
        workload=Namespace(f"{name}-w", f"10.199.{net}.2", f"fd99:199:{net}::2"),
        peer=Namespace("" if to_host else f"{name}-p", f"10.199.{net}.1", f"fd99:199:{net}::1"),
        vip=f"10.199.{net}.100",
        directory=Path(tempfile.mkdtemp(prefix=f"{name}-")),
    )
    link.directory.chmod(0o755)
    made = [each.name for each in (link.workload, link.peer) if each.name]
    settings = Path("/etc/netns") / link.workload.name
    settings.mkdir(parents=True)
    (settings / "resolv.conf").write_text(f"nameserver {link.peer.ipv4}\n")
    try:
        for each in made:
            run("ip", "netns", "add", each)
            run("ip", "-n", each, "link", "set", "lo", "up")
        run("ip", "link", "add", f"{name}-a", "type", "veth", "peer", "name", f"{name}-b")
        _furnish(link.workload, f"{name}-a")
        _furnish(link.peer, f"{name}-b")
        run("ip", "-n", link.workload.name, "route", "add", "default", "via", link.peer.ipv4)
        yield link
    finally:
        for each in made:
            for pid in run("ip", "netns", "pids", each, check=False).split():
                run("kill", "-9", pid, check=False)
            run("ip", "netns", "del", each, check=False)
        run("ip", "link", "del", f"{name}-b", check=False)
        shutil.rmtree(settings, ignore_errors=True)
        shutil.rmtree(link.directory, ignore_errors=True)


def _furnish(namespace: Namespace, interface: str) -> None:
    """Give one end of the link to a namespace, with addresses; no name means this machine."""
    here = ["-n", namespace.name] if namespace.name else []
    if namespace.name:
        run("ip", "link", "set", interface, "netns", namespace.name)
    run("ip", *here, "addr", "add", f"{namespace.ipv4}/24", "dev", interface)
    run("ip", *here, "-6", "addr", "add", f"{namespace.ipv6}/64", "dev", interface, "nodad")
    run("ip", *here, "link", "set", interface, "up")
