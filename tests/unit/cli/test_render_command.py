"""mastctl render: five lists for a proxy, the same bytes every time, nothing for wrong input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from mast.cli.envoy.static import left_out
from mast.cli.errors import CommandError
from mast.cli.main import app
from tests.support.envoy_dumps import configuration

MESH = Path(__file__).with_name("mesh.yaml")
NODE = "sidecar~10.0.0.5~reviews-v1.default~default.svc.cluster.local"
KINDS = ["listeners", "routes", "clusters", "endpoints", "secrets"]


def render(*arguments: str, input: str | None = None) -> str:
    ended = CliRunner().invoke(app, ["render", *arguments], input=input)
    if isinstance(ended.exception, CommandError):
        raise ended.exception
    assert ended.exit_code == 0, ended.output
    return ended.stdout


def resources(*arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(render("-f", str(MESH), "-o", "json", *arguments))
    return found


def test_public_samples_render() -> None:
    """What Istio's samples say, of all versions, together with what is Kubernetes' among it."""
    samples = Path(__file__).parents[2] / "data" / "public_samples"
    found = json.loads(render("-f", str(samples), "--node", NODE, "-o", "json"))
    routes = {host["name"] for route in found["routes"] for host in route["virtualHosts"]}
    assert {"edition.cnn.com:80", "www.googleapis.com:80"} <= routes
    assert "shop-front.default.svc.cluster.local:9080" in routes


def test_one_proxy_gets_five_lists() -> None:
    found = resources("--node", NODE)
    assert list(found) == KINDS
    names = {
        kind: [each.get("name", each.get("clusterName")) for each in found[kind]] for kind in KINDS
    }
    assert names["listeners"] == ["0.0.0.0_9080", "virtualInbound", "virtualOutbound"]
    assert names["routes"] == ["9080"]
    assert "inbound|9080||" in names["clusters"]
    assert names["endpoints"] == [
        f"outbound|9080|{subset}|reviews.default.svc.cluster.local" for subset in ("v1", "v2", "")
    ]
    assert names["secrets"] == ["ROOTCA", "default"]


def test_yaml_says_the_same() -> None:
    assert yaml.safe_load(render("-f", str(MESH), "--node", NODE)) == resources("--node", NODE)


def test_a_workload_may_be_named() -> None:
    assert resources("--node", "reviews-v1") == resources("--node", NODE)


def test_all_proxies_by_node_id() -> None:
    found = resources("--all")
    assert list(found) == [
        NODE,
        "sidecar~10.0.0.6~reviews-v2.default~default.svc.cluster.local",
        "sidecar~192.0.2.1~productpage.default~default.svc.cluster.local",
    ]
    assert all(list(each) == KINDS for each in found.values())
    assert found[NODE] == resources("--node", NODE)


def test_metadata_counts() -> None:
    found = resources("--node", NODE, "--metadata", '{"INTERCEPTION_MODE": "TPROXY"}')
    assert any(each.get("transparent") for each in found["listeners"])


def test_mesh_settings_count(tmp_path: Path) -> None:
    settings = tmp_path / "settings.yaml"
    settings.write_text("outboundTrafficPolicy: {mode: REGISTRY_ONLY}\n")
    found = resources("--node", NODE, "--mesh-config", str(settings))
    assert "block_all" in json.dumps(found["routes"])


def test_a_pipe_is_read() -> None:
    piped = render("-f", "-", "--node", NODE, "-o", "json", input=MESH.read_text())
    assert json.loads(piped) == resources("--node", NODE)


def test_a_bootstrap_asks_no_control_plane() -> None:
    text = render("-f", str(MESH), "--node", NODE, "-o", "bootstrap")
    assert text == render("-f", str(MESH), "--node", NODE, "-o", "bootstrap")
    assert '"ads"' not in text
    assert '"rds"' not in text
    found = json.loads(text)
    clusters = {each["name"]: each for each in found["static_resources"]["clusters"]}
    cluster = clusters["outbound|9080|v1|reviews.default.svc.cluster.local"]
    assert cluster["load_assignment"]["endpoints"]
    assert found["node"]["id"] == NODE
    assert "sds-grpc" in clusters


def test_modules_that_the_agent_provides_are_left_out(tmp_path: Path) -> None:
    plugin = tmp_path / "plugin.yaml"
    plugin.write_text("""
{apiVersion: extensions.istio.io/v1alpha1, kind: WasmPlugin, metadata: {name: callers},
 spec: {url: file:///callers.wasm}}
""")
    line = ["render", "-f", str(MESH), "-f", str(plugin), "--node", NODE, "-o", "bootstrap"]
    ended = CliRunner().invoke(app, line)
    assert "callers.wasm" not in ended.stdout
    assert json.loads(ended.stdout)
    assert left_out(configuration(NODE, plugin.read_text()))


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        pytest.param([], 2, ["--node", "--all"], id="no-proxy"),
        pytest.param(["--all", "--node", NODE], 2, ["--all"], id="two-ways"),
        pytest.param(["--all", "-o", "bootstrap"], 2, ["--node"], id="bootstrap-of-all"),
        pytest.param(["--node", "nobody"], 2, ["nobody", "reviews-v1.default"], id="unknown"),
        pytest.param(["--node", "reviews"], 2, ["not clear", "reviews-v2"], id="ambiguous"),
        pytest.param(["--node", "car~1~2~3"], 2, ["type 'car'"], id="bad-id"),
        pytest.param(["--node", NODE, "--metadata", "{"], 2, ["--metadata"], id="bad-json"),
        pytest.param(["--node", NODE, "--metadata", "[]"], 2, ["object"], id="not-an-object"),
        pytest.param(["--node", NODE, "--metadata", '{"A": NaN}'], 2, ["--metadata"], id="nan"),
        pytest.param(["--node", NODE, "--metadata", "[" * 100_000], 2, ["--metadata"], id="deep"),
        pytest.param(
            ["--node", NODE, "--metadata", '{"A": 1e999}'], 2, ["--metadata"], id="infinite"
        ),
        pytest.param(
            ["--node", NODE, "--metadata", '{"A": "\\ud800"}'], 2, ["--metadata"], id="surrogate"
        ),
        pytest.param(["--node", f"{NODE}\udcff"], 2, ["--node", "UTF-8"], id="not-utf-8"),
    ],
)
def test_wrong_usage(arguments: list[str], status: int, words: list[str]) -> None:
    with pytest.raises(CommandError) as failed:
        resources(*arguments)
    assert failed.value.status == status
    assert all(word in str(failed.value) for word in words), str(failed.value)


def test_a_directory_without_files_is_a_mesh_without_configuration(tmp_path: Path) -> None:
    ended = CliRunner().invoke(
        app, ["render", "-f", str(tmp_path), "--node", NODE, "-o", "json"], catch_exceptions=False
    )
    found = json.loads(ended.stdout)
    assert list(found) == KINDS
    assert [each["name"] for each in found["listeners"]] == ["virtualInbound", "virtualOutbound"]
    assert f"warning: {tmp_path} holds no YAML or JSON file" in ended.stderr


def test_windows_lines_say_the_same() -> None:
    text = MESH.read_text().replace("\n", "\r\n")
    piped = render("-f", "-", "--node", NODE, "-o", "json", input=text)
    assert json.loads(piped) == resources("--node", NODE)


def test_a_pipe_that_is_no_text_is_refused() -> None:
    ended = CliRunner().invoke(app, ["render", "-f", "-", "--node", NODE], input=b"\xff\xfe")
    assert isinstance(ended.exception, CommandError)
    assert str(ended.exception).startswith("cannot read -: ")


def test_an_object_given_twice_is_refused_with_both_places(tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text(MESH.read_text())
    with pytest.raises(CommandError, match=r"b\.yaml:1: error: .* first at .*a\.yaml:1"):
        render("-f", str(tmp_path), "--node", NODE)


def test_mesh_settings_are_nothing_else() -> None:
    with pytest.raises(CommandError, match=r"mesh\.yaml:\d+: error: .* kind: mesh settings are"):
        resources("--node", NODE, "--mesh-config", str(MESH))


def test_all_mistakes_of_all_files_are_told(tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text(MESH.read_text().replace("resolution:", "\n  resolve:"))
    with pytest.raises(CommandError) as failed:
        render("-f", str(tmp_path), "--all")
    text = str(failed.value)
    assert f"{tmp_path}/a.yaml:9: error: ServiceEntry default/reviews spec.resolve" in text
    assert f"{tmp_path}/b.yaml:9: error: ServiceEntry default/reviews spec.resolve" in text


def test_unknown_kinds_say_how_to_skip_them(tmp_path: Path) -> None:
    file = tmp_path / "pod.yaml"
    file.write_text("{apiVersion: mesh.istio.io/v1, kind: Widget, metadata: {name: a}}")
    with pytest.raises(CommandError) as failed:
        render("-f", str(file), "--node", NODE)
    assert "--ignore-unknown" in failed.value.hint
    assert render("-f", str(file), "--ignore-unknown", "--node", NODE)


def test_files_without_workloads(tmp_path: Path) -> None:
    file = tmp_path / "empty.yaml"
    file.write_text("{kind: List, items: []}")
    with pytest.raises(CommandError, match="no workload"):
        render("-f", str(file), "--all")
