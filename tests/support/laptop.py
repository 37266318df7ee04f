"""A laptop mesh for tests: mastctl as a user runs it, on a state directory of its own."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from mast.cli.local import network
from mast.cli.local.home import LOOPBACK, NAMESPACES, Home

ROOT = Path(__file__).parents[2]
BOOKINFO = ROOT / "samples" / "bookinfo"
MODES = [NAMESPACES, LOOPBACK] if os.geteuid() == 0 and shutil.which("iptables") else [LOOPBACK]


@dataclass(frozen=True)
class Ended:
    """A command that ended."""

    status: int
    out: str
    err: str


class Laptop:
    """Runs mastctl against one state directory."""

    def __init__(self, root: Path, mode: str) -> None:
        self.home = Home(root)
        self.mode = mode
        self.temporary = root.parent / "tmp"
        self.temporary.mkdir(exist_ok=True)

    @property
    def environment(self) -> Mapping[str, str]:
        """What a user would export."""
        return {
            **os.environ,
            "MAST_HOME": str(self.home.root),
            "TMPDIR": str(self.temporary),
            "COLUMNS": "200",
        }

    async def mastctl(self, *arguments: str, seconds: float = 120) -> Ended:
        """Run a command to its end."""
        async with asyncio.timeout(seconds):
            process = await self.start(*arguments)
            out, err = await process.communicate()
        return Ended(process.returncode or 0, out.decode(), err.decode())

    async def start(self, *arguments: str) -> asyncio.subprocess.Process:
        """Start a command and return."""
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "mast.cli.main", *arguments),
            env=self.environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def run(self, service: str, program: str, *flags: str) -> asyncio.subprocess.Process:
        """``mastctl run`` a program of the bookinfo sample; return when it serves."""
        path = BOOKINFO / "apps" / f"{program}.py"
        line = ("run", "--service", service, *flags, "--", sys.executable, "-u", str(path))
        return await self.serving(await self.start(*line))

    async def serving(self, process: asyncio.subprocess.Process) -> asyncio.subprocess.Process:
        """Wait until a ``mastctl run`` says that its workload runs."""
        assert process.stderr is not None
        said = b""
        async with asyncio.timeout(90):
            while b"Ctrl-C ends it" not in said:
                line = await process.stderr.readline()
                assert line, f"mastctl run ended: {said.decode()}"
                said += line
        return process

    async def leftovers(self) -> list[str]:
        """Everything of this mesh that still exists: processes, namespaces, links, files."""
        found = [f"process {text}" for text in processes_mentioning(str(self.home.root))]
        if os.geteuid() == 0 and shutil.which("ip"):
            names = network.Names(self.home.tag)
            ours = (*names.prefixes, names.bridge)
            existing = [*await network.namespaces(), *await network.links()]
            found += [name for name in existing if name.startswith(ours)]
            found += [str(p) for p in Path("/etc/netns").glob(f"{names.prefixes[0]}*")]
        if self.home.root.exists():
            found += [str(path) for path in self.home.root.iterdir()]
        return found + [str(path) for path in self.temporary.iterdir()]


def processes_mentioning(text: str) -> list[str]:
    """Command lines of processes that have ``text`` in arguments, directory or environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        if int(folder.name) == os.getpid():
            continue
        try:
            line = (folder / "cmdline").read_bytes()
            told = line + (folder / "environ").read_bytes() + bytes((folder / "cwd").readlink())
        except OSError:
            continue
        if text.encode() in told:
            found.append(f"{folder.name}: {line.replace(bytes(1), b' ').decode()[:160]}")
    return found


@asynccontextmanager
async def laptop(mode: str) -> AsyncIterator[Laptop]:
    """A state directory; whatever a test leaves behind is removed."""
    # Unix sockets have short names only: not below pytest's own directory.
    root = Path(tempfile.mkdtemp(prefix="mast-t-"))
    machine = Laptop(root / "m", mode)
    try:
        yield machine
    finally:
        await machine.mastctl("down")
        shutil.rmtree(root)


@asynccontextmanager
async def mesh(mode: str, *flags: str) -> AsyncIterator[Laptop]:
    """A laptop whose mesh is up."""
    async with laptop(mode) as machine:
        ended = await machine.mastctl("up", "--mode", mode, *flags)
        assert ended.status == 0, ended.err
        yield machine
