"""mastctl analyze: Istio's formats and exit statuses, of files."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from mast.cli.analyze_command import line
from mast.cli.main import main
from mast.galley.core.analysis.analyzers import ANALYZERS, VERBOSE
from mast.galley.core.analysis.codes import CODES, DOCUMENTATION
from mast.galley.core.analysis.snapshot import Item, Message
from mast.galley.core.problem import Position

ROUTE = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web, namespace: %s}
spec:
  hosts: [web]
  http:
  - route:
    - destination: {host: ghost}
"""
NAMESPACE = "apiVersion: v1\nkind: Namespace\nmetadata: {name: default}\n"
TEXT = "host not found: 'ghost' (in full: ghost.default.svc.cluster.local)"


@dataclass(frozen=True)
class Ended:
    status: int
    out: str
    err: str


Analyze = Callable[..., Ended]


@pytest.fixture
def analyze(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Analyze:
    """Runs the command among files, where no mesh is."""
    monkeypatch.setenv("MAST_HOME", str(tmp_path / "none"))
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Ended:
        with pytest.raises(SystemExit) as ended:
            main(["analyze", *arguments])
        assert isinstance(ended.value.code, int)
        return Ended(ended.value.code, *capsys.readouterr())

    return run


@pytest.fixture
def mesh(tmp_path: Path) -> Path:
    (tmp_path / "mesh" / "deep").mkdir(parents=True)
    (tmp_path / "mesh" / "deep" / "web.yaml").write_text(ROUTE % "default")
    (tmp_path / "mesh" / "ns.yml").write_text(NAMESPACE)
    (tmp_path / "mesh" / "other.json").write_text(json.dumps(yaml.safe_load(ROUTE % "shop")))
    (tmp_path / "mesh" / "note.txt").write_text("[")
    return tmp_path / "mesh"


def test_log(analyze: Analyze, mesh: Path) -> None:
    ended = analyze("mesh")
    assert ended.status == 79
    assert ended.out.splitlines() == [
        f"Error [IST0101] (VirtualService default/web mesh/deep/web.yaml:8) {TEXT}",
        "Info [IST0102] (Namespace default mesh/ns.yml:3) pods get no sidecar; label the namespace "
        "istio-injection=enabled, or =disabled if that is meant",
    ]
    assert ended.err.splitlines() == [
        "1 message(s) about other namespaces; see them with -A",
        "Error: there is something wrong in namespace default",
        "docs/analysis.md says of each code what to do",
    ]


def test_json_and_yaml_never_fail(analyze: Analyze, mesh: Path) -> None:
    ended = analyze("mesh/deep", "--use-kube=false", "-o", "json")
    assert ended.status == 0
    found = json.loads(ended.out)
    assert found == [
        {
            "code": "IST0101",
            "documentationUrl": f"{DOCUMENTATION}#ist0101",
            "level": "Error",
            "message": TEXT,
            "origin": "VirtualService default/web",
            "reference": "mesh/deep/web.yaml:8",
        }
    ]
    assert yaml.safe_load(analyze("mesh/deep", "-o", "yaml").out) == found
    assert analyze("mesh/ns.yml", "-o", "json", "-n", "other").out == "[]\n"


@pytest.mark.parametrize(
    ("arguments", "status", "shown"),
    [
        pytest.param((), 79, ["IST0101", "IST0102"], id="namespace-default"),
        pytest.param(("-A",), 79, ["IST0101", "IST0101", "IST0102"], id="all"),
        pytest.param(("-n", "shop"), 79, ["IST0101"], id="namespace"),
        pytest.param(("-n", "empty"), 0, [], id="nothing"),
        pytest.param(
            ("-S", "IST0101=VirtualService default/*"), 0, ["IST0102"], id="suppressed"
        ),
        pytest.param(
            ("-S", "IST0101=*", "--failure-threshold", "Info"), 79, ["IST0102"], id="strict"
        ),
        pytest.param(
            ("-S", "IST0101=*", "--failure-threshold=warning"), 0, ["IST0102"], id="less-strict"
        ),
        pytest.param(("--output-threshold", "Warning"), 79, ["IST0101"], id="only-bad"),
        pytest.param(("-R=true", "--color=false", "-k=false"), 79, ["IST0101", "IST0102"],
                     id="as-istioctl-writes-it"),
    ],
)  # fmt: skip
def test_what_is_told(
    analyze: Analyze, mesh: Path, arguments: tuple[str, ...], status: int, shown: list[str]
) -> None:
    ended = analyze("mesh", *arguments)
    assert (ended.status, re.findall(r"^\w+ \[(IST\d+)\]", ended.out, re.MULTILINE)) == (
        status,
        shown,
    )
    assert ("Nothing to report" in ended.err) is (not shown)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(("--nope",), "No such option", id="option"),
        pytest.param(("-o", "xml", "mesh"), "'xml'", id="format"),
        pytest.param(("--failure-threshold", "Bad", "mesh"), "'Bad'", id="level"),
        pytest.param(("-S", "IST0101", "mesh"), "no suppression", id="suppression"),
        pytest.param(("-S", "IST9999=*", "mesh"), "no code", id="code"),
        pytest.param(("--use-kube=false",), "name files", id="nothing"),
        pytest.param(("absent.yaml",), "absent.yaml", id="file"),
        pytest.param(("--recursive=maybe", "mesh"), "--recursive", id="switch"),
    ],
)
def test_wrong_usage(analyze: Analyze, mesh: Path, arguments: tuple[str, ...], said: str) -> None:
    ended = analyze(*arguments)
    assert (ended.status, ended.out) == (64, "")
    assert said in ended.err


def test_what_cannot_be_read(analyze: Analyze, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("a: [")
    ended = analyze("bad.yaml")
    assert ended.status == 65
    assert "bad.yaml:2" in ended.err
    assert "Nothing to report" not in ended.err
    assert analyze("bad.yaml", "--ignore-unknown").status == 0
    assert analyze("bad.yaml", "-o", "json").status == 0
    (tmp_path / "web.yaml").write_text(ROUTE % "default")
    assert analyze("bad.yaml", "web.yaml").status == 79


def test_foreign_kinds_are_left_out(analyze: Analyze, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("apiVersion: a.example/v1\nkind: Thing\nmetadata: {name: x}\n")
    ended = analyze("x.yaml")
    assert (ended.status, ended.out) == (0, "")
    assert "1 document(s) are not looked at: Thing" in ended.err
    assert "x.yaml:2" in analyze("x.yaml", "-v").err
    (tmp_path / "empty").mkdir()
    assert "holds no YAML" in analyze("empty").err


def test_a_pipe(analyze: Analyze, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stdin:
        class buffer:
            @staticmethod
            def read() -> bytes:
                return (ROUTE % "default").encode()

    monkeypatch.setattr("sys.stdin", Stdin)
    ended = analyze("-")
    assert ended.status == 79
    assert "(VirtualService default/web -:8)" in ended.out


def test_without_files_the_mesh_is_asked(analyze: Analyze) -> None:
    ended = analyze()
    assert (ended.status, ended.out) == (1, "")
    assert "mastctl up" in ended.err


TELEMETRY = """\
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: t, namespace: default}
spec: {tracing: [{randomSamplingPercentage: 5}]}
---
apiVersion: mesh.istio.io/v1alpha1
kind: MeshConfig
metadata: {name: default}
spec: {rootNamespace: elsewhere}
"""
PROVIDERS = (
    "{extensionProviders: [{name: z, zipkin: {service: z.example, port: 9411}}],"
    " defaultProviders: {tracing: [z]}}"
)


@pytest.mark.parametrize(
    ("settings", "status", "shown"),
    [
        pytest.param(PROVIDERS, 0, [], id="plain"),
        pytest.param(f"meshConfig: {PROVIDERS}", 0, [], id="values"),
        pytest.param("enableTracing: true", 0, ["IST0157"], id="says-nothing-of-it"),
        pytest.param("enableTracin: true", 79, ["IST0106", "IST0157"], id="invalid"),
        pytest.param("a: [", 65, ["IST0157"], id="no-yaml"),
    ],
)
def test_mesh_settings_of_a_file(
    analyze: Analyze, tmp_path: Path, settings: str, status: int, shown: list[str]
) -> None:
    (tmp_path / "t.yaml").write_text(TELEMETRY)
    (tmp_path / "mesh.yaml").write_text(settings)
    assert "[IST0157]" in analyze("-A", "t.yaml").out
    ended = analyze("-A", "--meshConfigFile", "mesh.yaml", "t.yaml")
    assert (ended.status, sorted(re.findall(r"IST\d+", ended.out))) == (status, shown)
    assert analyze("--meshConfigFile", "absent.yaml", "t.yaml").status == 64
    assert analyze("--meshConfigFile", "-", "-").status == 64


def test_one_revision(analyze: Analyze, tmp_path: Path) -> None:
    ours, all_ = (ROUTE % "default"), (ROUTE % "default").replace("name: web", "name: all")
    other = ours.replace("name: web", "name: other, labels: {istio.io/rev: canary}")
    namespace = NAMESPACE.replace("default", "default, labels: {istio.io/rev: blue}")
    ours = ours.replace("name: web", "name: web, labels: {istio.io/rev: blue}")
    (tmp_path / "r.yaml").write_text("---\n".join((ours, all_, other, namespace)))
    lost = re.compile(r"IST0101\] \(VirtualService default/(\w+)")
    assert lost.findall(analyze("r.yaml", "--revision", "blue").out) == ["all", "web"]
    assert lost.findall(analyze("r.yaml").out) == ["all", "other", "web"]


def test_experiments_are_told_on_request(analyze: Analyze, tmp_path: Path) -> None:
    (tmp_path / "pod.yaml").write_text(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: p\n  annotations:\n"
        "    sidecar.istio.io/logLevel: debug\n"
    )
    assert analyze("pod.yaml").out == ""
    assert "Info [IST0136] (Pod default/p pod.yaml:6)" in analyze("pod.yaml", "-v").out


def test_analyzers_are_listed(analyze: Analyze) -> None:
    ended = analyze("-L")
    assert ended.status == 0
    lines = ended.out.splitlines()
    assert lines[::2] == [f"* {each.name}:" for each in (*ANALYZERS, *VERBOSE)]
    assert all(text.startswith("    ") and "IST" in text for text in lines[1::2])


@pytest.mark.parametrize(
    ("code", "begin"),
    [
        pytest.param("IST0101", "\x1b[1;31mError\x1b[0m [IST0101]", id="error"),
        pytest.param("IST0103", "\x1b[33mWarning\x1b[0m [IST0103]", id="warning"),
        pytest.param("IST0102", "Info [IST0102]", id="info"),
    ],
)
def test_colors(code: str, begin: str) -> None:
    item = Item("Pod", "shop", "p", source="a.yaml", position=Position(3, 1))
    message = Message(code, item, "text")
    assert line(message, colored=True) == f"{begin} (Pod shop/p a.yaml:3) text"
    assert line(Message(code, None, "text")) == f"{CODES[code].level.label} [{code}] text"
