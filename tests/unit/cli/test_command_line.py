"""mastctl as a user meets it: one line for every failure, an exit status, never a traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from mast.cli.config_commands import as_document, problem_line
from mast.cli.main import main
from mastapi.galley.v1 import config_pb2


@dataclass(frozen=True)
class Ended:
    """A command that ended."""

    status: int
    out: str
    err: str


@pytest.fixture
def mastctl(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Ended]:
    """Runs a command where no mesh is, in this process: what would be a traceback is raised."""
    monkeypatch.setenv("MAST_HOME", str(tmp_path / "none"))

    def run(*arguments: str) -> Ended:
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert isinstance(ended.value.code, int)
        return Ended(ended.value.code, *capsys.readouterr())

    return run


def test_a_failure_as_the_shell_sees_it(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "mast.cli.main", "get", "vs", "--server", "127.0.0.1:1"],
        env={**os.environ, "MAST_HOME": str(tmp_path / "none"), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "Traceback" not in ended.stderr
    assert len(ended.stderr.strip().splitlines()) <= 2
    assert "127.0.0.1:1" in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        pytest.param(["bogus"], 2, ["No such command", "bogus"], id="unknown-command"),
        pytest.param(["up", "--nope"], 2, ["--nope"], id="unknown-flag"),
        pytest.param(["up", "--mode", "cloud"], 2, ["cloud", "loopback"], id="bad-mode"),
        pytest.param(["status"], 1, ["no mesh is running", "mastctl up"], id="no-mesh"),
        pytest.param(["get", "zebra"], 2, ["zebra"], id="unknown-kind"),
        pytest.param(["get"], 2, ["'all'"], id="get-of-nothing"),
        pytest.param(["get", "vs"], 1, ["no mesh is running"], id="get-without-mesh"),
        pytest.param(["get", "gateway"], 1, ["no mesh is running"], id="get-of-two-groups"),
        pytest.param(
            ["delete", "gateway", "a"],
            2,
            ["networking.istio.io/Gateway", "gateway.networking.k8s.io/Gateway"],
            id="delete-of-two-groups",
        ),
        pytest.param(["apply", "-f", "/nonexistent.yaml"], 1, ["/nonexistent.yaml"], id="no-file"),
        pytest.param(["delete", "vs"], 2, ["names"], id="delete-without-names"),
        pytest.param(["run", "--service", "a"], 2, ["COMMAND"], id="run-without-command"),
        pytest.param(["run", "--", "true"], 2, ["--service", "--gateway"], id="run-nothing"),
        pytest.param(
            ["run", "--gateway", "a", "--", "true"], 2, ["'true'"], id="gateway-with-program"
        ),
        pytest.param(
            ["run", "--gateway", "a", "--port", "80:x"], 2, ["80:8080"], id="bad-gateway-port"
        ),
        pytest.param(
            ["run", "--service", "A_B", "--", "true"], 2, ["service 'A_B'"], id="bad-service-name"
        ),
        pytest.param(
            ["get", "vs", "--server", "127.0.0.1:1"], 1, ["127.0.0.1:1"], id="unreachable-server"
        ),
        pytest.param(["history"], 1, ["no mesh is running"], id="history-without-mesh"),
        pytest.param(["history", "zebra"], 2, ["zebra"], id="history-of-unknown-kind"),
        pytest.param(["rollback"], 2, ["'revision'"], id="rollback-to-nothing"),
        pytest.param(["rollback", "0"], 2, ["'revision'"], id="rollback-to-no-revision"),
        pytest.param(["diff", "--revision", "7"], 2, ["'7'", "A..B"], id="one-revision"),
        pytest.param(["diff", "--revision", "7..", "x/y"], 2, ["'x'"], id="diff-of-unknown-kind"),
        pytest.param(
            ["diff", "--revision", "7..9", "--admin", "127.0.0.1:1"],
            2,
            ["configuration, not what proxies have"],
            id="revisions-of-a-proxy",
        ),
        pytest.param(["proxy-status", "--pilot", "127.0.0.1:1"], 1, ["127.0.0.1:1"], id="no-pilot"),
    ],
)
def test_failures(
    mastctl: Callable[..., Ended], arguments: list[str], status: int, words: list[str]
) -> None:
    ended = mastctl(*arguments)
    assert ended.status == status, ended.err
    assert len(ended.err.strip().splitlines()) <= 2
    assert all(word in ended.err for word in words), ended.err


def test_version_as_json(mastctl: Callable[..., Ended]) -> None:
    assert json.loads(mastctl("version", "-o", "json").out)["mesh"] == "not running"


def test_completion_is_offered(mastctl: Callable[..., Ended]) -> None:
    assert "--install-completion" in mastctl("--help").out


def test_problem_line_names_place_object_path_and_rule() -> None:
    problem = config_pb2.Problem(
        severity=config_pb2.Problem.ERROR,
        source="vs.yaml",
        line=7,
        kind="VirtualService",
        namespace="default",
        name="reviews",
        path="spec.http[0].rute",
        rule="unknown-field",
        message="no such field",
    )
    assert problem_line(problem) == (
        "vs.yaml:7: error: VirtualService default/reviews spec.http[0].rute: "
        "no such field [unknown-field]"
    )


def test_problem_line_without_a_line_names_the_file() -> None:
    problem = config_pb2.Problem(
        severity=config_pb2.Problem.ERROR, source="vs.yaml", rule="malformed-yaml", message="is bad"
    )
    assert problem_line(problem) == "vs.yaml: error: is bad [malformed-yaml]"


def test_maps_are_shown_in_order() -> None:
    item = config_pb2.Object(api_version="networking.istio.io/v1", kind="VirtualService")
    names = [f"key-{number:02}" for number in range(30)]
    item.metadata.name = "reviews"
    for name in reversed(names):
        item.metadata.labels[name] = "x"
    item.spec.update({"http": [dict.fromkeys(reversed(names), "x")]})
    shown = as_document(item)
    assert list(shown["metadata"]["labels"]) == names
    assert list(shown["spec"]["http"][0]) == names
