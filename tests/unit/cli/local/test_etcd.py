"""Which etcd a mesh on one machine runs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mast.cli.local.etcd import binary, crash_consistent


@pytest.mark.parametrize(
    ("version", "good"),
    [
        pytest.param((0, 0, 0), False, id="unknown"),
        pytest.param((3, 3, 27), False, id="old"),
        pytest.param((3, 4, 0), True, id="3.4"),
        pytest.param((3, 5, 0), False, id="3.5.0"),
        pytest.param((3, 5, 2), False, id="3.5.2"),
        pytest.param((3, 5, 3), True, id="3.5.3"),
        pytest.param((4, 0, 0), True, id="next"),
    ],
)
def test_versions_that_lose_writes_are_not_run(version: tuple[int, ...], good: bool) -> None:
    assert crash_consistent(version) is good


def test_scripts_and_programs_of_no_version_are_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    bundled = binary()
    assert Path(bundled).parts[-2:] == ("etcdbin", "etcd")
    monkeypatch.setenv("PATH", str(tmp_path))
    program = tmp_path / "etcd"
    program.write_text("#!/bin/sh\necho 'etcd Version: 3.5.9'\n")
    program.chmod(0o755)
    assert binary() == bundled
    shutil.copy("/bin/true", program)
    assert binary() == bundled
