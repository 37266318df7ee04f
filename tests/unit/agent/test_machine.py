"""An agent on a machine of its own (citadel-and-agent.md B9)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mast.agent import machine_command
from mast.agent.core.machine import Machine, variables, with_hosts
from mast.agent.main import main


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        pytest.param(["A='1'\nB=two # why\n\n# C=3"], {"A": "1", "B": "two"}, id="quoted"),
        pytest.param(['A=\'{"x": "y z"}\''], {"A": '{"x": "y z"}'}, id="json"),
        pytest.param(["export A=1"], {"A": "1"}, id="exported"),
        pytest.param(["A=1\nB=1", "A=2"], {"A": "2", "B": "1"}, id="later-wins"),
        pytest.param(["A=''"], {"A": ""}, id="empty"),
    ],
)
def test_variables(texts: list[str], found: dict[str, str]) -> None:
    assert variables(texts) == found


@pytest.mark.parametrize("line", ["echo hello", "A='1", "1A=2"])
def test_other_lines_are_named(line: str) -> None:
    with pytest.raises(ValueError, match="line "):
        variables([line])


def test_who_and_how() -> None:
    plain = Machine({})
    assert (plain.user, plain.captured, plain.arguments) == (
        "istio-proxy",
        True,
        ["proxy", "sidecar"],
    )
    assert Machine({"EXEC_USER": "mesh"}).user == "mesh"
    assert Machine({"ISTIO_INBOUND_INTERCEPTION_MODE": "TPROXY", "EXEC_USER": "mesh"}).user == (
        "root"
    )
    assert not Machine({"ISTIO_CUSTOM_IP_TABLES": "true"}).captured
    flags = {"ISTIO_SERVICE": "web.shop", "ISTIO_AGENT_FLAGS": "--proxyLogLevel 'info,rbac:debug'"}
    assert Machine(flags).arguments == [
        *("proxy", "sidecar", "--serviceCluster", "web.shop"),
        *("--proxyLogLevel", "info,rbac:debug"),
    ]


def test_environment() -> None:
    found = Machine({"ISTIO_SVC_IP": "10.0.0.7", "ISTIO_NAMESPACE": "shop"}).environment()
    assert found["PROV_CERT"] == found["OUTPUT_CERTS"] == "./etc/certs"
    assert (found["INSTANCE_IP"], found["POD_NAMESPACE"]) == ("10.0.0.7", "shop")
    chosen = Machine({"OUTPUT_CERTS": "/c", "PROV_CERT": "", "INSTANCE_IP": "x"}).environment()
    assert (chosen["OUTPUT_CERTS"], chosen["PROV_CERT"], chosen["INSTANCE_IP"]) == ("/c", "", "x")


def test_whose_connections_are_not_captured() -> None:
    assert Machine({}).capture_environment(7, 8) == {"PROXY_UID": "7", "PROXY_GID": "8"}
    assert Machine({"PROXY_UID": "9"}).capture_environment(7, 8)["PROXY_UID"] == "9"


@pytest.mark.parametrize(
    ("present", "added", "result"),
    [
        ("", "10.0.0.1 istiod\n", "10.0.0.1 istiod\n"),
        ("127.0.0.1 localhost", "10.0.0.1 istiod\n", "127.0.0.1 localhost\n10.0.0.1 istiod\n"),
        ("10.0.0.1  istiod\n", "10.0.0.1 istiod\n", "10.0.0.1  istiod\n"),
        ("a b\n", "", "a b\n"),
    ],
)
def test_hosts(present: str, added: str, result: str) -> None:
    assert with_hosts(present, added) == result


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_files_are_installed(root: Path) -> None:
    source = root / "files"
    source.mkdir()
    names = ("cluster.env", "mesh.yaml", "root-cert.pem", "istio-token")
    for name in names:
        (source / name).write_text(name)
    (source / "hosts").write_text("10.0.0.1 istiod.istio-system.svc\n")
    for _ in range(2):
        assert machine_command.vm(["install", "--root", str(root), "--from", str(source)]) == 0
    assert (root / "var/lib/istio/envoy/cluster.env").read_text() == "cluster.env"
    assert (root / "etc/istio/config/mesh").read_text() == "mesh.yaml"
    assert (root / "etc/certs/root-cert.pem").read_text() == "root-cert.pem"
    token = root / "var/run/secrets/tokens/istio-token"
    assert token.read_text() == "istio-token"
    assert token.stat().st_mode & 0o777 == 0o600
    assert (root / "etc/hosts").read_text() == "10.0.0.1 istiod.istio-system.svc\n"


@pytest.mark.parametrize(
    ("arguments", "env", "problem"),
    [
        pytest.param(["install"], "", "want --from DIRECTORY", id="from-where"),
        pytest.param(["run"], "EXEC_USER=nobody-here", "'nobody-here' does not exist", id="user"),
        pytest.param(["run"], "not a setting", "want NAME=VALUE", id="settings"),
    ],
)
def test_problems_are_named(
    root: Path,
    arguments: list[str],
    env: str,
    problem: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    place = root / "var/lib/istio/envoy/sidecar.env"
    place.parent.mkdir(parents=True)
    place.write_text(env)
    with pytest.raises(SystemExit) as ended:
        main(["vm", *arguments, "--root", str(root)])
    assert ended.value.code == 1
    assert problem in capsys.readouterr().out


def test_capture_of_ones_own_is_left_alone(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``clean`` and ``init`` do nothing then, so they need no rights either."""
    monkeypatch.setitem(os.environ, "ISTIO_CUSTOM_IP_TABLES", "true")
    monkeypatch.setitem(os.environ, "EXEC_USER", str(os.getuid()))
    for action in ("init", "clean"):
        assert machine_command.vm([action, "--root", str(root)]) == 0
