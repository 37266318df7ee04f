"""tag, check-inject: revisions and who injects, of an API server (C1 of the Kubernetes spec)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from mast.cli.errors import CommandError
from mast.cli.main import app
from mast.common.kubernetes.objects import (
    CONFIG_MAPS,
    MUTATING_WEBHOOK_CONFIGURATIONS,
    NAMESPACES,
    PODS,
)
from mast.galley.core.injection.tags import configuration_name, deactivation
from mast.galley.core.injection.webhooks import SUFFIX, webhooks
from tests.fakes.kubernetes.kinds import DEPLOYMENTS
from tests.support.live_cluster import LiveCluster, live_cluster

HOOKS = MUTATING_WEBHOOK_CONFIGURATIONS


def injector(revision: str, bundle: str = "") -> dict[str, Any]:
    """What an installation has for a revision."""
    service = f"istio-galley-{revision}" if revision != "default" else "istio-galley"
    client = {"service": {"name": service, "namespace": "istio-system", "path": "/inject"}}
    name = f"istio-sidecar-injector-{revision}".removesuffix("-default")
    rule = {"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"]}
    entries = [
        {
            "name": each.name,
            "clientConfig": {**client, **({"caBundle": bundle} if bundle else {})},
            "rules": [{**rule, "resources": ["pods"]}],
            "namespaceSelector": each.namespaces,
            "objectSelector": each.pods,
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
        }
        for each in webhooks(revision)
    ]
    return {"metadata": {"name": name, "labels": {"istio.io/rev": revision}}, "webhooks": entries}


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveCluster]:
    with live_cluster(tmp_path_factory.mktemp("kube")) as running:
        objects = running.cluster.objects
        labels = {
            "istio-system": {},
            "shop": {"istio.io/rev": "prod"},
            "bank": {"istio.io/rev": "prod"},
            "old": {"istio-injection": "enabled"},
        }
        for name, each in labels.items():
            objects.create(NAMESPACES, "", {"metadata": {"name": name, "labels": each}})
        yield running


@pytest.fixture
def cluster(live: LiveCluster) -> LiveCluster:
    """The same with three revisions and no tags."""
    objects = live.cluster.objects
    for found in objects.list(HOOKS, "", lambda _: True):
        objects.delete(HOOKS, "", found["metadata"]["name"])
    for revision, bundle in (("default", ""), ("one", "b25l"), ("two", "dHdv")):
        objects.create(HOOKS, "", injector(revision, bundle))
    return live


def run(cluster: LiveCluster, *arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments, "--kubeconfig", str(cluster.kubeconfig)])


def stored(cluster: LiveCluster, name: str) -> Any:
    return cluster.cluster.objects.get(HOOKS, "", name)


def test_a_tag_is_set_listed_moved_and_removed(cluster: LiveCluster) -> None:
    result = run(cluster, "tag", "set", "prod", "--revision", "one")
    assert result.output.startswith("Revision tag 'prod' stands for revision 'one'.\n")
    listed = run(cluster, "tag", "list").output.splitlines()
    assert [line.split() for line in listed] == [
        ["TAG", "REVISION", "NAMESPACES"],
        ["prod", "one", "bank,shop"],
    ]
    refused = run(cluster, "tag", "set", "prod", "--revision", "two")
    assert isinstance(refused.exception, CommandError)
    assert "there already, for revision 'one'" in str(refused.exception)
    moved = run(cluster, "tag", "set", "prod", "-r", "two", "--overwrite", "-y")
    assert moved.output.startswith("Revision tag 'prod' moved from revision 'one' to 'two'.")
    data = json.loads(run(cluster, "x", "tag", "list", "-o", "json").output)
    assert data == [{"tag": "prod", "revision": "two", "namespaces": ["bank", "shop"]}]
    asked = CliRunner().invoke(
        app, ["tag", "remove", "prod", "--kubeconfig", str(cluster.kubeconfig)], input="n\n"
    )
    assert asked.exit_code == 1
    assert "2 namespace(s) with tag 'prod' will have no proxies: bank, shop" in asked.output
    assert run(cluster, "tag", "remove", "prod", "-y").output == "Revision tag 'prod' removed.\n"
    assert "no tags" in run(cluster, "tag", "list").output
    assert isinstance(run(cluster, "tag", "remove", "prod").exception, CommandError)


def test_a_tag_trusts_whom_its_revision_trusts(cluster: LiveCluster) -> None:
    """C1: names, labels, rev.* webhooks; nothing fails between a move and Galley's next patch."""
    run(cluster, "tag", "set", "prod", "--revision", "one")
    found = stored(cluster, "istio-revision-tag-prod")
    assert (
        found["metadata"]["labels"].items()
        >= {
            "istio.io/tag": "prod",
            "istio.io/rev": "one",
        }.items()
    )
    assert [each["name"] for each in found["webhooks"]] == [
        f"rev.namespace.{SUFFIX}",
        f"rev.object.{SUFFIX}",
    ]
    for revision, bundle in (("one", "b25l"), ("two", "dHdv")):
        run(cluster, "tag", "set", "prod", "--revision", revision, "--overwrite", "-y")
        clients = [
            w["clientConfig"] for w in stored(cluster, "istio-revision-tag-prod")["webhooks"]
        ]
        assert {each["caBundle"] for each in clients} == {bundle}
        assert {each["service"]["name"] for each in clients} == {f"istio-galley-{revision}"}


def test_the_default_tag_takes_over(cluster: LiveCluster) -> None:
    """Two webhooks for one label would inject twice (IST0139)."""
    run(cluster, "tag", "set", "default", "--revision", "two", "--auto-inject-namespaces")
    names = [w["name"] for w in stored(cluster, "istio-revision-tag-default")["webhooks"]]
    assert [name.removesuffix(f".{SUFFIX}") for name in names] == [
        "rev.namespace",
        "rev.object",
        "namespace",
        "object",
        "auto",
    ]
    rows = json.loads(
        run(cluster, "check-inject", "-n", "old", "-l", "app=web", "-o", "json").output
    )
    assert [row["webhook"] for row in rows if row["injected"]] == ["istio-revision-tag-default"]
    assert deactivation(cluster.cluster.objects.list(HOOKS, "", lambda _: True)) is None
    data = json.loads(run(cluster, "tag", "list", "-o", "json").output)
    assert data == [{"tag": "default", "revision": "two", "namespaces": ["old"]}]
    before = injector("default")["webhooks"]
    run(cluster, "tag", "remove", "default", "-y")
    after = stored(cluster, "istio-sidecar-injector")["webhooks"]
    for name in ("namespaceSelector", "objectSelector"):
        assert [each[name] for each in after] == [each[name] for each in before]


def test_generate_prints_and_stores_nothing(cluster: LiveCluster) -> None:
    result = run(cluster, "tag", "generate", "prod", "-r", "one", "--webhook-name", "mine")
    made = yaml.safe_load(result.output)
    assert (made["kind"], made["metadata"]["name"]) == ("MutatingWebhookConfiguration", "mine")
    assert "no tags" in run(cluster, "tag", "list").output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(["prod", "-r", "three"], "there is none", id="no-such-revision"),
        pytest.param(["two", "-r", "one"], "a revision has this name", id="name-of-another"),
        pytest.param(["one", "-r", "one"], "the name of the revision itself", id="its-own-name"),
    ],
)
def test_tags_that_cannot_be(cluster: LiveCluster, arguments: list[str], words: str) -> None:
    refused = run(cluster, "tag", "set", *arguments)
    assert words in str(refused.exception)


def test_names_of_configurations() -> None:
    assert configuration_name("prod") == "istio-revision-tag-prod"
    assert configuration_name("prod", "mesh") == "istio-revision-tag-prod-mesh"


@pytest.mark.parametrize(
    ("namespace", "labels", "annotations", "spec", "injecting", "reason"),
    [
        pytest.param(
            "shop",
            {},
            {},
            {},
            "istio-revision-tag-prod",
            "namespace label istio.io/rev=prod matches",
            id="namespace",
        ),
        pytest.param(
            "old",
            {},
            {},
            {},
            "istio-sidecar-injector",
            "namespace label istio-injection=enabled matches",
            id="default",
        ),
        pytest.param(
            "istio-system",
            {"istio.io/rev": "two"},
            {},
            {},
            "istio-sidecar-injector-two",
            "pod label istio.io/rev=two matches",
            id="pod",
        ),
        pytest.param(
            "old",
            {"sidecar.istio.io/inject": "false"},
            {},
            {},
            "",
            "label istio-injection=enabled, pod label sidecar.istio.io/inject=false",
            id="refused-by-label",
        ),
        pytest.param(
            "old",
            {},
            {"sidecar.istio.io/inject": "false"},
            {},
            "",
            "annotation sidecar.istio.io/inject is false",
            id="refused-by-annotation",
        ),
        pytest.param(
            "old", {}, {}, {"hostNetwork": True}, "", "hostNetwork", id="network-of-the-node"
        ),
    ],
)
def test_check_inject(
    cluster: LiveCluster,
    namespace: str,
    labels: Any,
    annotations: Any,
    spec: Any,
    injecting: str,
    reason: str,
) -> None:
    """Of a pod and of a Deployment; columns of F."""
    run(cluster, "tag", "set", "prod", "--revision", "one")
    objects = cluster.cluster.objects
    pod = {"metadata": {"name": "web", "labels": labels, "annotations": annotations}, "spec": spec}
    for kind, name, body in (
        (PODS, "web", pod),
        (DEPLOYMENTS, "web", {"metadata": {"name": "web"}, "spec": {"template": pod}}),
    ):
        objects.create(kind, namespace, body)
        shown = run(cluster, "check-inject", f"{kind.kind.lower()}/{name}", "-n", namespace)
        objects.delete(kind, namespace, name)
        header, *rows = shown.output.splitlines()
        assert header.split() == ["WEBHOOK", "REVISION", "INJECTED", "REASON"]
        assert len(rows) == 4
        assert [row.split()[0] for row in rows if "\u2714" in row] == (
            [injecting] if injecting else []
        )
        assert any(reason in row for row in rows), shown.output


@pytest.mark.parametrize(
    ("revision", "namespace"), [("default", "old"), ("one", "shop")], ids=["default", "named"]
)
def test_what_the_injector_of_a_revision_is_set_to_counts(
    cluster: LiveCluster, revision: str, namespace: str
) -> None:
    run(cluster, "tag", "set", "prod", "--revision", "one")
    never = {"neverInjectSelector": [{"matchLabels": {"app": "batch"}}]}
    name = f"istio-sidecar-injector-{revision}".removesuffix("-default")
    body = {"metadata": {"name": name}, "data": {"config": yaml.safe_dump(never)}}
    cluster.cluster.objects.create(CONFIG_MAPS, "istio-system", body)
    shown = {
        place: run(cluster, "check-inject", "-n", place, "--labels", "app=batch").output
        for place in ("old", "shop")
    }
    cluster.cluster.objects.delete(CONFIG_MAPS, "istio-system", name)
    told = [place for place in shown if "neverInjectSelector selects the pod" in shown[place]]
    assert told == [namespace]


def test_settings_that_are_not_understood_are_told(cluster: LiveCluster) -> None:
    name = "istio-sidecar-injector"
    body = {"metadata": {"name": name}, "data": {"config": "policy: maybe"}}
    cluster.cluster.objects.create(CONFIG_MAPS, "istio-system", body)
    shown = run(cluster, "check-inject", "-n", "old", "--labels", "app=web")
    cluster.cluster.objects.delete(CONFIG_MAPS, "istio-system", name)
    assert "istio-system/istio-sidecar-injector is not understood: policy 'maybe'" in shown.output


def test_two_injectors_for_one_pod(cluster: LiveCluster) -> None:
    again = injector("default")
    again["metadata"]["name"] = "another"
    cluster.cluster.objects.create(HOOKS, "", again)
    shown = run(cluster, "check-inject", "-n", "old", "-l", "app=web")
    assert shown.exit_code == 1
    assert "Several would inject: another, istio-sidecar-injector (IST0139)" in shown.output


def test_whom_the_cluster_does_not_know(cluster: LiveCluster, tmp_path: Path) -> None:
    (tmp_path / "kubeconfig").write_text(cluster.cluster.kubeconfig("stolen"))
    for arguments, words in (
        (["tag", "list", "-c", str(tmp_path / "kubeconfig")], "401"),
        (["tag", "list", "-c", str(tmp_path / "absent")], "cannot read"),
        (["tag", "list", "-c", str(cluster.kubeconfig), "--context", "no"], "no entry 'no'"),
        (["check-inject", "-c", str(cluster.kubeconfig)], "name a pod"),
        (["check-inject", "secret/a", "-c", str(cluster.kubeconfig)], "has no pods"),
    ):
        result = CliRunner().invoke(app, arguments)
        assert isinstance(result.exception, CommandError)
        assert words in str(result.exception)
