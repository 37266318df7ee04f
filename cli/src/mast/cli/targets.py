"""Which proxy a command is about: a workload of this machine, an admin port, or a saved dump."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mast.cli.errors import CommandError
from mast.cli.local.home import Home, Workload

if TYPE_CHECKING:
    from mast.cli.envoy.admin import Admin
    from mast.cli.inspect.dump import Dump

ADMIN_PORT = 15000
_NAMESPACES = Path("/var/run/netns")
"""Where ip-netns(8) keeps network namespaces by name."""

Name = Annotated[
    str, typer.Argument(metavar="[WORKLOAD]", help="Workload of this machine, NAME[.NAMESPACE].")
]
AdminAddress = Annotated[
    str, typer.Option("--admin", metavar="HOST:PORT", help="Envoy's admin port, instead.")
]
DumpFile = Annotated[
    Path | None, typer.Option("--file", help="A saved /config_dump (or - for a pipe), instead.")
]
Namespace = Annotated[str, typer.Option("-n", "--namespace", help="Namespace of the workload.")]


@dataclass(frozen=True)
class Target:
    """Where to read a proxy's configuration."""

    name: str = ""
    namespace: str = "default"
    admin: str = ""
    file: Path | None = None

    def port(self) -> Admin:
        """The admin port of a running proxy; CommandError if there is none."""
        from mast.cli.envoy.admin import Admin

        self._insist()
        if self.file:
            raise CommandError("--file is a saved dump: name a running proxy", status=2)
        if self.admin:
            return Admin(self.admin)
        record = workload(Home.default(), self.name, self.namespace)
        if not record.namespace_path:
            return Admin(f"{record.address}:{ADMIN_PORT}", record.name)
        network = str(_NAMESPACES / record.namespace_path)
        return Admin(f"127.0.0.1:{ADMIN_PORT}", record.name, network)

    def dump(self, *, hosts: bool = False, endpoints: bool = False) -> Dump:
        """What the proxy has; ``hosts`` and ``endpoints`` are read only if they are wanted."""
        from mast.cli.inspect.dump import NotADump, read

        self._insist()
        try:
            if self.file:
                return read(_text(self.file))
            port = self.port()
            text = port.get("/config_dump?include_eds" if endpoints else "/config_dump")
            return read(text, port.get("/clusters?format=json") if hosts else "")
        except NotADump as error:
            where = self.file or self.admin or self.name
            raise CommandError(
                f"{where}: {error}", hint="save one with: curl HOST:15000/config_dump?include_eds"
            ) from error

    def _insist(self) -> None:
        if sum(map(bool, (self.name, self.admin, self.file))) != 1:
            raise CommandError("name a workload, or give --admin or --file", status=2)


def workload(home: Home, name: str, namespace: str) -> Workload:
    """A workload of this machine: ``NAME``, ``NAME.NAMESPACE``, or what only one name begins with.

    CommandError names those there are.
    """
    home.running()
    records = home.workloads()
    named, _, own = name.partition(".")
    namespace = own or namespace
    inside = [each for each in records if each.namespace == namespace]
    exact = [each for each in inside if each.name == named]
    found = exact or [each for each in inside if each.name.startswith(f"{named}-")]
    if len(found) == 1:
        return found[0]
    raise CommandError(_unclear(name, found, records))


def _unclear(name: str, found: Sequence[Workload], all_of_them: Sequence[Workload]) -> str:
    if found:
        return f"workload {name!r} may be {' or '.join(each.name for each in found)}"
    known = ", ".join(f"{each.name}.{each.namespace}" for each in all_of_them) or "none"
    return f"no workload {name!r}; there are: {known}"


def _text(file: Path) -> str:
    if str(file) == "-":
        return typer.get_text_stream("stdin").read()
    try:
        return file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"cannot read {file}: {error}") from error
