"""Two network namespaces with a link between them: a workload's, and that of its peers."""

from __future__ import annotations

import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PROXY = 1337
APPLICATION = 2000


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


@contextmanager
def linked() -> Iterator[Link]:
    """Two fresh namespaces; gone, with everything in them, when the block is left."""
    name = f"mt-{secrets.token_hex(3)}"
    net = secrets.randbelow(250) + 1
    link = Link(
        workload=Namespace(f"{name}-w", f"10.199.{net}.2", f"fd99:199:{net}::2"),
        peer=Namespace(f"{name}-p", f"10.199.{net}.1", f"fd99:199:{net}::1"),
        vip=f"10.199.{net}.100",
        directory=Path(tempfile.mkdtemp(prefix=f"{name}-")),
    )
    link.directory.chmod(0o755)
    settings = Path("/etc/netns") / link.workload.name
    ends = {link.workload.name: f"{name}-a", link.peer.name: f"{name}-b"}
    try:
        for each in (link.workload, link.peer):
            run("ip", "netns", "add", each.name)
            run("ip", "-n", each.name, "link", "set", "lo", "up")
        settings.mkdir(parents=True)
        (settings / "resolv.conf").write_text(f"nameserver {link.peer.ipv4}\n")
        first, second = ends.values()
        run("ip", "link", "add", first, "type", "veth", "peer", "name", second)
        for each in (link.workload, link.peer):
            end = ends[each.name]
            run("ip", "link", "set", end, "netns", each.name)
            run("ip", "-n", each.name, "addr", "add", f"{each.ipv4}/24", "dev", end)
            run("ip", "-n", each.name, "-6", "addr", "add", f"{each.ipv6}/64", "dev", end, "nodad")
            run("ip", "-n", each.name, "link", "set", end, "up")
        run("ip", "-n", link.workload.name, "route", "add", "default", "via", link.peer.ipv4)
        yield link
    finally:
        for each in (link.workload, link.peer):
            for pid in run("ip", "netns", "pids", each.name, check=False).split():
                run("kill", "-9", pid, check=False)
            run("ip", "netns", "del", each.name, check=False)
        shutil.rmtree(settings, ignore_errors=True)
        shutil.rmtree(link.directory, ignore_errors=True)


def words(text: str) -> Sequence[str]:
    """A command line written as text."""
    return text.split()
