"""Which pods began without capture, and whose process is whose (C6)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mast.agent.core.cni.repair import is_broken, is_labelled, owns
from mast.agent.store.cni.netns import of_pod

UID = "0a1b-2c"


def pod(phase: str = "Pending", name: str = "istio-validation", **states: Any) -> dict[str, Any]:
    status = {"name": name, **states}
    return {"metadata": {}, "status": {"phase": phase, "initContainerStatuses": [status]}}


def ended(status: int) -> dict[str, Any]:
    return {"terminated": {"exitCode": status}}


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        pytest.param(pod(state=ended(126)), True, id="just-failed"),
        pytest.param(
            pod(state={"waiting": {"reason": "CrashLoopBackOff"}}, lastState=ended(126)),
            True,
            id="waits-for-another-try",
        ),
        pytest.param(pod(state=ended(0), lastState=ended(126)), False, id="repaired"),
        pytest.param(pod(state=ended(1)), False, id="something-else"),
        pytest.param(pod(name="other", state=ended(126)), False, id="another-container"),
        pytest.param(pod(state={"running": {}}), False, id="runs"),
        pytest.param(pod("Failed", state=ended(126)), False, id="over"),
        pytest.param(
            {**pod(state=ended(126)), "metadata": {"deletionTimestamp": "now"}}, False, id="goes"
        ),
        pytest.param({"metadata": {}}, False, id="new"),
    ],
)
def test_broken(found: dict[str, Any], expected: bool) -> None:
    assert is_broken(found) is expected


def test_labelled() -> None:
    found = {"metadata": {"labels": {"a": "b"}}}
    assert is_labelled(found, "a", "b")
    assert not is_labelled(found, "a", "c")
    assert not is_labelled({"metadata": {}}, "a", "b")


@pytest.mark.parametrize(
    ("cgroup", "expected"),
    [
        (f"0::/kubepods/burstable/pod{UID}/4711", True),
        ("0::/kubepods.slice/kubepods-pod0a1b_2c.slice/cri-1.scope", True),
        ("0::/kubepods/pod0a1b", False),
    ],
)
def test_processes_of_a_pod(tmp_path: Path, cgroup: str, expected: bool) -> None:
    assert owns(cgroup, UID) is expected
    assert not owns(cgroup, "")
    for name in ("self", "1", "4711", "4712"):
        (tmp_path / name).mkdir()
    (tmp_path / "1" / "cgroup").write_text("0::/init.scope")
    (tmp_path / "4711" / "cgroup").write_text(cgroup)
    found = str(tmp_path / "4711" / "ns" / "net") if expected else ""
    assert of_pod(UID, tmp_path) == found
