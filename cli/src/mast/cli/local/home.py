"""Where a laptop mesh keeps its state: one private directory, described by one JSON file."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

from mast.cli.errors import CommandError
from mast.cli.local.processes import Process

NAMESPACES = "namespaces"
LOOPBACK = "loopback"

_FOLDERS = ("logs", "tokens", "sockets", "data", "tmp")
_CONTENTS = (*_FOLDERS, "workloads", "scratch", "mesh.json", "services.json", "root-cert.pem")


@dataclass(frozen=True, slots=True)
class Mesh:
    """A running mesh, as ``mesh.json`` records it.

    ``addresses`` maps what is served to ``host:port`` (or ``unix:/path``); ``bridge``,
    ``subnet`` and ``proxy_user`` are set in namespaces mode only. ``policy`` and ``telemetry`` are
    how many Mixers answer checks and take reports apart; without both of them one does everything.
    """

    mode: str
    supervisor: Process
    addresses: Mapping[str, str]
    bridge: str = ""
    subnet: str = ""
    proxy_user: int = -1
    trust_domain: str = "cluster.local"
    policy: int = 0
    telemetry: int = 0

    @property
    def mixers(self) -> Mapping[str, str]:
        """The Mixers by name, and the role of each: policy, telemetry or all."""
        counts = {"policy": self.policy, "telemetry": self.telemetry}
        apart = {
            f"{role}-{number}": role
            for role, count in counts.items()
            for number in range(1, count + 1)
        }
        return apart or {"mixer": "all"}

    def mixers_for(self, role: str) -> Sequence[str]:
        """The names of those that answer what Mixers of a role do."""
        return [name for name, own in self.mixers.items() if own in {role, "all"}]


@dataclass(frozen=True, slots=True)
class Workload:
    """A program that ``mastctl run`` started, as ``workloads/NAME.json`` records it."""

    name: str
    service: str
    version: str
    namespace: str
    address: str
    ports: tuple[int, ...]
    runner: Process
    namespace_path: str = ""
    link: str = ""
    outbound: str = ""
    processes: Mapping[str, Process] = field(default_factory=dict)


class Home:
    """The state directory of one mesh (mode 0700; sockets, keys, logs and records live in it)."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def default(cls) -> Home:
        """``$MAST_HOME``, else a runtime directory of this user."""
        if chosen := os.environ.get("MAST_HOME"):
            return cls(Path(chosen).absolute())
        if os.geteuid() == 0:
            return cls(Path("/run/mast"))
        if runtime := os.environ.get("XDG_RUNTIME_DIR"):
            return cls(Path(runtime) / "mast")
        return cls(Path(tempfile.gettempdir()) / f"mast-{os.getuid()}")

    def clear(self, *, keep_lock: bool = False) -> None:
        """Remove what a mesh keeps here, and the directory if nothing else is in it."""
        for name in _CONTENTS:
            path = self.path(name)
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        if not keep_lock:
            self.path("lock").unlink(missing_ok=True)
            with suppress(OSError):
                self.root.rmdir()

    @property
    def tag(self) -> str:
        """Four hex digits that keep names of different meshes on one machine apart."""
        return blake2b(str(self.root).encode(), digest_size=2).hexdigest()

    def path(self, *parts: str) -> Path:
        """A path below the directory."""
        return self.root.joinpath(*parts)

    def create(self) -> None:
        """Make the directory and those every mesh has, private to this user.

        In namespaces mode agents run as another user below ``workloads``; they may pass through,
        not list.
        """
        passable = 0o711 if os.geteuid() == 0 else 0o700
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self.root.stat().st_uid != os.geteuid():
            raise CommandError(
                f"{self.root} belongs to somebody else", hint="choose another place with MAST_HOME"
            )
        for folder in (self.root, self.path("workloads")):
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(passable)
        for name in _FOLDERS:
            self.path(name).mkdir(exist_ok=True, mode=0o700)

    def mesh(self) -> Mesh | None:
        """The recorded mesh, or None."""
        record = self._read(self.path("mesh.json"))
        if record is None:
            return None
        return Mesh(**{**record, "supervisor": Process(**record["supervisor"])})

    def running(self) -> Mesh:
        """The recorded mesh if its supervisor runs; CommandError tells the user to start it."""
        mesh = self.mesh()
        if mesh is None or not mesh.supervisor.alive():
            raise CommandError("no mesh is running here", hint="start one with: mastctl up")
        return mesh

    def record_mesh(self, mesh: Mesh) -> None:
        """Write ``mesh.json``."""
        self._write(self.path("mesh.json"), asdict(mesh))

    def services(self) -> dict[str, Process]:
        """Control plane processes by name, as the supervisor recorded them last."""
        record = self._read(self.path("services.json")) or {}
        return {name: Process(**process) for name, process in record.items()}

    def record_services(self, services: Mapping[str, Process]) -> None:
        """Write ``services.json``."""
        self._write(self.path("services.json"), {k: asdict(v) for k, v in services.items()})

    def workloads(self) -> list[Workload]:
        """All recorded workloads, also those whose runner died."""
        found = []
        for path in sorted(self.path("workloads").glob("*.json")):
            record = self._read(path)
            if record is not None:
                found.append(_workload(record))
        return found

    def record_workload(self, workload: Workload) -> None:
        """Write ``workloads/NAME.json``."""
        self._write(self.path("workloads", f"{workload.name}.json"), asdict(workload))

    def forget_workload(self, name: str) -> None:
        """Remove ``workloads/NAME.json``."""
        self.path("workloads", f"{name}.json").unlink(missing_ok=True)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Exclude other commands while names and addresses are given out."""
        self.root.mkdir(parents=True, exist_ok=True)
        with self.path("lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    @staticmethod
    def _read(path: Path) -> dict[str, Any] | None:
        try:
            return dict(json.loads(path.read_text()))
        except FileNotFoundError:
            return None

    @staticmethod
    def _write(path: Path, record: Mapping[str, Any]) -> None:
        aside = path.with_name(f".{path.name}.{os.getpid()}")
        aside.write_text(json.dumps(record, indent=1))
        aside.replace(path)


def _workload(record: dict[str, Any]) -> Workload:
    return Workload(
        **{
            **record,
            "ports": tuple(record["ports"]),
            "runner": Process(**record["runner"]),
            "processes": {k: Process(**v) for k, v in record["processes"].items()},
        }
    )
