"""mastctl kube-inject: pods in manifests get proxies, everything else stays as it was written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from mast.cli.errors import CommandError
from mast.cli.main import app
from tests.support.pods import container, environment, pods

POD = """\
# What it is for.
apiVersion: v1
kind: Pod
metadata: {name: web-1}
spec:
  containers:
  - {name: web, image: "example.com/web:1"}
"""
OTHERS = """\
# A note, an anchor and odd spaces: all of that stays.
apiVersion: v1
kind:   ConfigMap
metadata: &meta
    name: "settings"
data:
  script: |
    echo '---'   # no mark: it is indented
"""
NETWORKING = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web}
spec: {hosts: [web], http: [{route: [{destination: {host: web}}]}]}
"""


def run(*arguments: str, input: str | None = None) -> tuple[str, str]:
    ended = CliRunner().invoke(app, ["kube-inject", *arguments], input=input)
    if isinstance(ended.exception, CommandError):
        raise ended.exception
    assert ended.exit_code == 0, ended.output
    return ended.stdout, ended.stderr


def test_other_documents_stay_byte_for_byte() -> None:
    text = f"{OTHERS}---\n{POD}--- \n\n--- # mark\n{NETWORKING}"
    made, told = run("-f", "-", input=text)
    before, mark, after = text.partition(POD)
    assert mark
    assert made.startswith(f"{before}# What it is for.\napiVersion: v1\nkind: Pod\n")
    assert made.endswith(after)
    assert len(list(yaml.safe_load_all(made))) == 4
    assert told == ""


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        pytest.param(
            f"--- # mark\n{POD}---\n{NETWORKING}", ["Pod", "VirtualService"], id="comment"
        ),
        pytest.param(
            f"--- {json.dumps(yaml.safe_load(POD))}\n---\n{OTHERS}",
            ["Pod", "ConfigMap"],
            id="content-beside-the-mark",
        ),
        pytest.param(
            f"{POD}...\n---\n{OTHERS}...\n---\n{POD}", ["Pod", "ConfigMap", "Pod"], id="ends"
        ),
        pytest.param(f"%YAML 1.2\n---\n{POD}", ["Pod"], id="directive"),
        pytest.param(POD.replace("\n", "\r\n"), ["Pod"], id="windows"),
        pytest.param(POD.rstrip(), ["Pod"], id="no-last-newline"),
        pytest.param(f"\n\n# a\n---\n\n# b\n{POD}", ["Pod"], id="blank"),
    ],
)
def test_marks_stay(text: str, kinds: list[str]) -> None:
    made, _ = run("-f", "-", input=text)
    found = [each for each in yaml.safe_load_all(made) if each is not None]
    assert [each["kind"] for each in found] == kinds
    for each in found:
        if each["kind"] == "Pod":
            assert container(each)["args"][:2] == ["proxy", "sidecar"]


@pytest.mark.parametrize("text", ["", OTHERS, f"---\n{NETWORKING}...\n", "- a list\n", "text"])
def test_what_holds_no_pod_stays(text: str) -> None:
    made, _ = run("-f", "-", input=text)
    assert made == text + ("" if not text or text.endswith("\n") else "\n")


@pytest.mark.parametrize(
    ("api_version", "kind", "path"),
    [
        ("v1", "Pod", ""),
        ("v1", "ReplicationController", "spec.template"),
        ("apps/v1", "Deployment", "spec.template"),
        ("apps/v1", "StatefulSet", "spec.template"),
        ("apps/v1", "DaemonSet", "spec.template"),
        ("apps/v1", "ReplicaSet", "spec.template"),
        ("batch/v1", "Job", "spec.template"),
        ("batch/v1", "CronJob", "spec.jobTemplate.spec.template"),
        ("example.com/v1", "Deployment", None),
        ("apps/v1", "ControllerRevision", None),
    ],
)
def test_kinds(api_version: str, kind: str, path: str | None) -> None:
    pod: dict[str, Any] = {"spec": {"containers": [{"name": "web", "image": "i"}]}}
    for part in reversed(path.split(".") if path else []):
        pod = {part: pod}
    item = {"apiVersion": api_version, "kind": kind, "metadata": {"name": "web"}, **pod}
    made, _ = run("-f", "-", input=json.dumps(item))
    if path is None:
        assert json.loads(made) == item
        return
    (found,) = pods(made)
    env = environment(container(found))
    assert env["ISTIO_META_WORKLOAD_NAME"] == "web"
    assert env["ISTIO_META_OWNER"].endswith(f"/namespaces/default/{kind.lower()}s/web")
    assert json.loads(made)["metadata"].get("name") == "web"


def test_files_are_one_text(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(POD)
    (tmp_path / "b.yaml").write_text(OTHERS)
    target = tmp_path / "out.yaml"
    said, _ = run("-f", str(tmp_path), "-f", str(tmp_path / "b.yaml"), "-o", str(target))
    assert said == ""
    kinds = [each["kind"] for each in yaml.safe_load_all(target.read_text())]
    assert kinds == ["Pod", "ConfigMap", "ConfigMap"]


def test_settings_of_files(tmp_path: Path) -> None:
    mesh = tmp_path / "mesh.yaml"
    mesh.write_text("trustDomain: example.org\ndefaultConfig: {concurrency: 3}\n")
    values = tmp_path / "values.yaml"
    values.write_text("global: {hub: example.com/mesh, tag: 7}\n")
    injector = tmp_path / "injector.yaml"
    injector.write_text("policy: disabled\nalwaysInjectSelector: [{matchLabels: {a: b}}]\n")
    text = POD.replace("{name: web-1}", "{name: web-1, labels: {a: b}}")
    given = ["--meshConfigFile", str(mesh), "--valuesFile", str(values)]
    given += ["--injectConfigFile", str(injector), "--revision", "canary", "-n", "shop"]
    made, _ = run("-f", "-", *given, input=f"{text}---\n{POD}")
    first, second = pods(made)
    proxy = container(first)
    assert proxy["image"] == "example.com/mesh/agent:7"
    env = environment(proxy)
    assert env["TRUST_DOMAIN"] == "example.org"
    assert "/namespaces/shop/" in env["ISTIO_META_OWNER"]
    assert json.loads(env["PROXY_CONFIG"])["concurrency"] == 3
    assert first["metadata"]["annotations"]["istio.io/rev"] == "canary"
    assert second == yaml.safe_load(POD)


PLAIN_MESH = "trustDomain: example.org\n"
INDENTED = "  trustDomain: example.org\n"


@pytest.mark.parametrize(
    ("flag", "text"),
    [
        pytest.param("--meshConfigFile", PLAIN_MESH, id="plain"),
        pytest.param("--meshConfigFile", f"meshConfig:\n{INDENTED}", id="values"),
        pytest.param("--meshConfigFile", f"spec:\n meshConfig:\n{INDENTED}", id="operator"),
        pytest.param("--meshConfigFile", f"apiVersion: a/v1\nspec:\n{INDENTED}", id="object"),
        pytest.param("--meshConfigFile", f"data:\n mesh: |\n{INDENTED}", id="config-map"),
        pytest.param("--valuesFile", f"meshConfig:\n{INDENTED}", id="beside-other-values"),
    ],
)
def test_places_of_mesh_settings(tmp_path: Path, flag: str, text: str) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(text)
    made, _ = run("-f", "-", flag, str(path), input=POD)
    assert environment(container(yaml.safe_load(made)))["TRUST_DOMAIN"] == "example.org"


def test_why_a_pod_stays_is_told() -> None:
    text = POD.replace("spec:\n", "spec:\n  hostNetwork: true\n")
    made, told = run("-f", "-", input=f"{OTHERS}---\n{text}")
    assert made == f"{OTHERS}---\n{text}"
    assert told.splitlines() == [
        "-:11: Pod default/web-1 stays as it is: the pod uses the network of its node (hostNetwork)"
    ]


def test_all_mistakes_are_told_and_nothing_is_written(tmp_path: Path) -> None:
    bad = POD.replace(
        "{name: web-1}",
        "{name: bad, annotations: {sidecar.istio.io/proxyCPU: much, "
        "sidecar.istio.io/interceptionMode: some}}",
    )
    deployment = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: none}\nspec: {}\n"
    target = tmp_path / "out.yaml"
    text = f"{POD}---\n{bad}---\n{deployment}---\na: 1\na: 2\n"
    with pytest.raises(CommandError) as failed:
        run("-f", "-", "-o", str(target), input=text)
    assert not target.exists()
    first, *lines = str(failed.value).splitlines()
    assert first == "nothing was injected"
    assert lines == [
        "-:23: key 'a' is given twice; first in line 22",
        "-:10: Pod default/bad: annotation sidecar.istio.io/proxyCPU: 'much'; "
        "allowed: a quantity such as 100m or 128Mi",
        "-:10: Pod default/bad: annotation sidecar.istio.io/interceptionMode: 'some'; "
        "allowed: REDIRECT, TPROXY, NONE",
        "-:17: Deployment default/none: spec.template: want an object",
    ]


@pytest.mark.parametrize(
    ("flag", "text", "problem"),
    [
        pytest.param(
            "--meshConfigFile", "accessLog: x", "MeshConfig: accessLog: unknown", id="mesh"
        ),
        pytest.param("--meshConfigFile", "data: {mesh: 'a: ['}", "data.mesh: line ", id="text"),
        pytest.param("--meshConfigFile", "meshConfig: 1", "want mesh settings", id="mesh-number"),
        pytest.param("--valuesFile", "a: [", "not YAML", id="no-yaml"),
        pytest.param("--valuesFile", "[]", "want an object", id="no-object"),
        pytest.param("--injectConfigFile", "policy: maybe", "policy 'maybe'", id="injector"),
    ],
)
def test_bad_settings(tmp_path: Path, flag: str, text: str, problem: str) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(text)
    with pytest.raises(CommandError) as failed:
        run("-f", "-", flag, str(path), input=POD)
    assert problem in str(failed.value)


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="cannot write"):
        run("-f", "-", "-o", str(tmp_path / "no" / "out.yaml"), input=POD)


def test_texts_of_several_lines_stay_readable() -> None:
    text = POD.replace(
        "metadata: {name: web-1}",
        "metadata:\n  name: web-1\n  annotations:\n    proxy.istio.io/config: |\n"
        "      concurrency: 2\n      drainDuration: 5s",
    )
    made, _ = run("-f", "-", input=text)
    assert "proxy.istio.io/config: |\n      concurrency: 2\n      drainDuration: 5s\n" in made


def test_aliases_in_an_injected_document_are_written_out() -> None:
    text = POD.replace("web, image", "&n web, image").replace("{name: web-1}", "{name: web-1}") + (
        "  - {name: two, image: i, env: &e [{name: A, value: x}]}\n"
        "  - {name: three, image: i, env: *e}\n"
    )
    made, _ = run("-f", "-", input=text)
    assert "*" not in made.replace("'*'", "")
    (found,) = pods(made)
    assert environment(container(found, "three")) == {"A": "x"}
