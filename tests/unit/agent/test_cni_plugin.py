"""The program that the runtime calls, alone: what it answers without an agent (CNI 1.0)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mast.agent import cni_plugin

PREVIOUS = {"interfaces": [{"name": "eth0"}], "ips": []}
CONFIG = {"cniVersion": "1.0.0", "type": "mast-cni", "prevResult": PREVIOUS}
POD = "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web"


def called(config: Any, **env: str) -> tuple[int, Any]:
    """Exit status and answer; started as a runtime does, without anything of ours installed."""
    text = config if isinstance(config, str) else json.dumps(config)
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(cni_plugin.__file__)],
        input=text,
        env={"CNI_NETNS": "/var/run/netns/x", "CNI_CONTAINERID": "c", **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    return done.returncode, json.loads(done.stdout) if done.stdout else None


def test_versions() -> None:
    status, answer = called("", CNI_COMMAND="VERSION")
    assert status == 0
    assert {"0.3.1", "0.4.0", "1.0.0"} < set(answer["supportedVersions"])


@pytest.mark.parametrize(
    ("config", "env"),
    [
        pytest.param(
            {**CONFIG, "exclude_namespaces": ["shop"]},
            {"CNI_COMMAND": "ADD", "CNI_ARGS": POD},
            id="excluded-namespace",
        ),
        pytest.param(CONFIG, {"CNI_COMMAND": "ADD"}, id="no-pod-of-kubernetes"),
    ],
)
def test_what_passes_without_an_agent(config: Any, env: dict[str, str]) -> None:
    assert called(config, **env) == (0, {**PREVIOUS, "cniVersion": "1.0.0"})


@pytest.mark.parametrize(
    ("config", "env", "code", "words"),
    [
        pytest.param("{", {"CNI_COMMAND": "ADD"}, 6, "configuration", id="no-json"),
        pytest.param("[]", {"CNI_COMMAND": "ADD"}, 6, "not an object", id="no-object"),
        pytest.param({"cniVersion": "9"}, {"CNI_COMMAND": "ADD"}, 1, "'9'", id="version"),
        pytest.param(CONFIG, {"CNI_COMMAND": "DANCE"}, 4, "'DANCE'", id="command"),
        pytest.param({"cniVersion": "1.0.0"}, {"CNI_COMMAND": "ADD"}, 7, "prevResult", id="first"),
        pytest.param(
            CONFIG, {"CNI_COMMAND": "ADD", "CNI_ARGS": POD, "CNI_NETNS": ""}, 4, "CNI_NETNS",
            id="no-netns",
        ),
    ],
)  # fmt: skip
def test_refused(config: Any, env: dict[str, str], code: int, words: str) -> None:
    status, answer = called(config, **env)
    assert (status, answer["code"]) == (1, code)
    assert words in answer["msg"]


@pytest.mark.parametrize(("command", "code"), [("ADD", 11), ("CHECK", 11), ("STATUS", 50)])
def test_a_pod_waits_for_the_agent(tmp_path: Path, command: str, code: int) -> None:
    config = {**CONFIG, "socket": str(tmp_path / "nobody")}
    status, answer = called(config, CNI_COMMAND=command, CNI_ARGS=POD)
    assert (status, answer["code"], answer["cniVersion"]) == (1, code, "1.0.0")
    assert "nobody" in answer["msg"]


def test_what_goes_needs_nobody() -> None:
    assert called(CONFIG, CNI_COMMAND="DEL", CNI_ARGS=POD) == (0, None)
