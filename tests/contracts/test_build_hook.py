"""protos/hatch_build.py generates gen/ once per change, whole, and safely in parallel."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.contracts.conftest import HOOK

DEMO = """syntax = "proto3";
package demo.v1;
import "google/rpc/status.proto";
message Answer { google.rpc.Status status = 1; }
service Oracle { rpc Ask(Answer) returns (Answer); }
"""


@pytest.fixture
def src(tmp_path: Path) -> Path:
    proto = tmp_path / "proto" / "demo" / "v1" / "demo.proto"
    proto.parent.mkdir(parents=True)
    proto.write_text(DEMO)
    return tmp_path / "proto"


def test_everything_a_package_needs_is_generated(hook: ModuleType, src: Path) -> None:
    gen = src.with_name("gen")
    hook.generate(src, gen)
    assert {path.name for path in gen.iterdir()} == {
        "demo",
        "envoy-stubs",
        "google-stubs",
        "udpa-stubs",
        "validate-stubs",
        "xds-stubs",
    }
    assert {path.relative_to(gen / "demo").as_posix() for path in (gen / "demo").rglob("*.*")} == {
        "py.typed",
        "v1/demo_pb2.py",
        "v1/demo_pb2.pyi",
        "v1/demo_pb2_grpc.py",
        "v1/demo_pb2_grpc.pyi",
    }
    assert (gen / "envoy-stubs" / "py.typed").read_text() == "partial\n"
    assert (gen / "google-stubs" / "rpc" / "status_pb2.pyi").exists()
    assert not list((gen / "google-stubs").glob("*.*"))  # types-protobuf shares this directory


def test_only_a_change_regenerates(hook: ModuleType, src: Path) -> None:
    gen = src.with_name("gen")
    hook.generate(src, gen)
    generated = gen.stat().st_ino
    hook.generate(src, gen)
    assert gen.stat().st_ino == generated
    demo = src / "demo" / "v1" / "demo.proto"
    demo.write_text(DEMO.replace("Oracle", "Pythia"))
    hook.generate(src, gen)
    assert gen.stat().st_ino != generated
    assert "Pythia" in (gen / "demo" / "v1" / "demo_pb2_grpc.py").read_text()


def test_a_rejected_file_leaves_the_last_good_tree(hook: ModuleType, src: Path) -> None:
    gen = src.with_name("gen")
    hook.generate(src, gen)
    generated = gen.stat().st_ino
    (src / "demo" / "v1" / "demo.proto").write_text("message")
    with pytest.raises(SystemExit, match="protoc failed"):
        hook.generate(src, gen)
    assert gen.stat().st_ino == generated
    assert not list(gen.parent.glob(".gen-*"))


def test_parallel_builds_of_one_checkout_agree(src: Path) -> None:
    script = (
        "import importlib.util, pathlib, sys\n"
        "spec = importlib.util.spec_from_file_location('hatch_build', sys.argv[1])\n"
        "hook = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(hook)\n"
        "src = pathlib.Path(sys.argv[2])\n"
        "hook.generate(src, src.with_name('gen'))\n"
        "print(src.with_name('gen').stat().st_ino)\n"
    )
    command = [sys.executable, "-c", script, str(HOOK), str(src)]
    builds = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    trees = [build.communicate(timeout=120)[0] for build in builds]
    assert [build.returncode for build in builds] == [0, 0]
    assert trees[0] == trees[1]
    assert not list(src.parent.glob(".gen-*"))
