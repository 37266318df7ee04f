"""mastctl workload: what it writes without a mesh, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from mast.cli.main import main


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a group, a token and roots; no mesh runs on this machine."""
    monkeypatch.setenv("MAST_HOME", str(tmp_path / "home"))
    group = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "WorkloadGroup",
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"template": {"serviceAccount": "web"}},
    }
    (tmp_path / "group.yaml").write_text(yaml.safe_dump(group))
    (tmp_path / "token").write_text("TOKEN")
    (tmp_path / "root.pem").write_text("ROOTS")
    return tmp_path


def ended(*arguments: object) -> int:
    with pytest.raises(SystemExit) as end:
        main([str(each) for each in arguments])
    return int(end.value.code or 0)


@pytest.mark.parametrize("prefix", [(), ("x",), ("experimental",)], ids=["plain", "x", "long"])
def test_files_of_a_group_in_a_file(folder: Path, prefix: tuple[str, ...]) -> None:
    status = ended(
        *(*prefix, "workload", "entry", "configure", "-f", folder / "group.yaml"),
        *("-o", folder / "vm", "--token", folder / "token", "--root-cert", folder / "root.pem"),
        *("--autoregister", "--ingressIP", "10.0.0.1", "--clusterID", "c1"),
    )
    assert status == 0
    written = folder / "vm"
    assert sorted(each.name for each in written.iterdir()) == [
        *("cluster.env", "hosts", "istio-token", "mesh.yaml", "root-cert.pem"),
    ]
    assert (written / "istio-token").stat().st_mode & 0o777 == 0o600
    assert (written / "istio-token").read_text() == "TOKEN"
    assert "ISTIO_META_CLUSTER_ID='c1'" in (written / "cluster.env").read_text()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "hosts is empty: --ingressIP says where istiod.istio-system.svc is to lead"),
        (("--discovery", "127.0.0.9:15012"), "127.0.0.9 is this machine only"),
        (("--discovery", "10.0.0.9:15012"), ""),
    ],
)
def test_where_the_control_plane_is(
    folder: Path, arguments: tuple[str, ...], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("--token", folder / "token", "--root-cert", folder / "root.pem", *arguments)
    line = ("workload", "entry", "configure", "-f", folder / "group.yaml", "-o", folder / "vm")
    assert ended(*line, *given) == 0
    complaint = capsys.readouterr().err
    assert told in complaint
    assert bool(told) == ("--ingressIP" in complaint)


@pytest.mark.parametrize(
    ("arguments", "status", "problem"),
    [
        pytest.param((), 2, "either a file (-f) or a name", id="no-group"),
        pytest.param(("-f", "group.yaml", "--name", "x"), 2, "either a file", id="two-groups"),
        pytest.param(("-f", "group.yaml"), 1, "name its Citadel with --citadel", id="no-mesh"),
        pytest.param(("--name", "web"), 1, "name its Galley with --server", id="no-galley"),
        pytest.param(("-f", "token"), 1, "invalid configuration", id="no-group-in-it"),
        pytest.param(("-f", "none.yaml"), 1, "cannot read", id="no-file"),
        pytest.param(
            ("-f", "group.yaml", "--tokenDuration", "0"), 2, "want seconds above 0", id="duration"
        ),
        pytest.param(
            ("-f", "group.yaml", "--internalIP", "x"), 2, "--internalIP 'x'", id="address"
        ),
        pytest.param(
            ("-f", "group.yaml", "--ingressService", "gw"), 1, "--server", id="service-of-no-mesh"
        ),
    ],
)
def test_what_is_refused(
    folder: Path,
    arguments: tuple[str, ...],
    status: int,
    problem: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(folder)
    assert ended("workload", "entry", "configure", *arguments, "-o", "vm") == status
    assert problem in capsys.readouterr().err
    assert not (folder / "vm").exists()


def test_a_group_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    made = ("workload", "group", "create", "--name", "web", "-n", "shop", "-l", "app=web")
    assert ended(*made, "-p", "http=8080", "-s", "web") == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed["spec"]["template"] == {"ports": {"http": 8080}, "serviceAccount": "web"}
    assert ended("workload", "group", "create", "--name", "web", "-p", "http") == 2
    assert "--ports 'http': write NAME=VALUE" in capsys.readouterr().err
