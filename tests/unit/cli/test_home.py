"""The state directory: records survive a round trip, removal takes only what is ours."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from mast.cli.errors import CommandError
from mast.cli.local.home import LOOPBACK, Home, Mesh, Workload
from mast.cli.local.processes import Process


def me() -> Process:
    process = Process.of(os.getpid())
    assert process is not None
    return process


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "mesh")
    home.create()
    return home


def test_records_survive_a_round_trip(home: Home) -> None:
    mesh = Mesh(LOOPBACK, me(), {"etcd": "127.0.0.1:1"})
    workload = Workload(
        name="a-v1-1",
        service="a",
        version="v1",
        namespace="default",
        address="127.0.0.2",
        ports=(1, 2),
        runner=me(),
        processes={"agent": me()},
    )
    home.record_mesh(mesh)
    home.record_workload(workload)
    home.record_services({"etcd": me()})
    again = Home(home.root)
    assert again.mesh() == mesh
    assert again.workloads() == [workload]
    assert again.services() == {"etcd": me()}
    again.forget_workload("a-v1-1")
    assert again.workloads() == []


def test_no_mesh_is_an_error_with_advice(home: Home) -> None:
    with pytest.raises(CommandError) as refused:
        home.running()
    assert refused.value.hint == "start one with: mastctl up"


def test_a_dead_supervisor_is_no_mesh(home: Home) -> None:
    home.record_mesh(Mesh(LOOPBACK, Process(me().pid, me().started - 1), {}))
    with pytest.raises(CommandError):
        home.running()


def test_private_directories(home: Home) -> None:
    for name in ("data", "tokens", "sockets", "logs"):
        assert stat.S_IMODE(home.path(name).stat().st_mode) == 0o700
    assert stat.S_IMODE(home.root.stat().st_mode) & 0o066 == 0


def test_clear_leaves_files_of_others_alone(home: Home) -> None:
    home.path("mine.txt").write_text("keep")
    home.clear()
    assert [path.name for path in home.root.iterdir()] == ["mine.txt"]


def test_clear_removes_the_directory_if_it_is_empty(home: Home) -> None:
    home.clear()
    assert not home.root.exists()


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        pytest.param({"MAST_HOME": "/somewhere"}, "/somewhere", id="chosen"),
        pytest.param({"XDG_RUNTIME_DIR": "/run/user/7"}, "/run/user/7/mast", id="runtime-dir"),
    ],
)
def test_default_place(
    environment: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MAST_HOME", raising=False)
    monkeypatch.setattr(os, "geteuid", lambda: 7)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert str(Home.default().root) == expected


def test_tags_tell_meshes_apart(tmp_path: Path) -> None:
    assert Home(tmp_path / "a").tag != Home(tmp_path / "b").tag
    assert len(Home(tmp_path).tag) == 4
