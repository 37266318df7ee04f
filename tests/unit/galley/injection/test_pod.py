"""Pods with proxies: what the goldens do not show one by one (C2)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mast.galley.core.injection.pod import injected, patch
from mast.galley.core.injection.refusal import InjectionRefused
from mast.galley.core.injection.settings import Settings, settings
from mast.galley.core.injection.workload import Workload, workload
from tests.support.pods import Object, container, environment, pod

PLAIN = settings()
CNI = settings(values={"pilot": {"cni": {"enabled": True}}})
SIDECAR = "sidecar.istio.io/"


def inject(given: Object, using: Settings = PLAIN, **more: Any) -> Object:
    return injected(given, using, namespace="shop", **more)


def names(made: Object, group: str) -> list[str]:
    return [each["name"] for each in made["spec"].get(group, ())]


NATIVE = {f"{SIDECAR}nativeSidecar": "true"}
HOLD = {"proxy.istio.io/config": "holdApplicationUntilProxyStarts: true"}
USERS = [{"name": "first", "image": "a"}, {"name": "second", "image": "b"}]


@pytest.mark.parametrize(
    ("annotations", "using", "inits", "containers"),
    [
        ({}, PLAIN, ["first", "second", "istio-init"], ["web", "istio-proxy"]),
        ({}, CNI, ["istio-validation", "first", "second"], ["web", "istio-proxy"]),
        (HOLD, PLAIN, ["first", "second", "istio-init"], ["istio-proxy", "web"]),
        (NATIVE, PLAIN, ["istio-init", "istio-proxy", "first", "second"], ["web"]),
        (NATIVE, CNI, ["istio-validation", "istio-proxy", "first", "second"], ["web"]),
        (
            {f"{SIDECAR}interceptionMode": "NONE"},
            PLAIN,
            ["first", "second"],
            ["web", "istio-proxy"],
        ),
        (
            {"inject.istio.io/templates": "grpc-agent"},
            PLAIN,
            ["first", "second"],
            ["istio-proxy", "web"],
        ),
        (
            {"inject.istio.io/templates": "grpc-agent", **NATIVE},
            PLAIN,
            ["istio-proxy", "first", "second"],
            ["web"],
        ),
        (
            {"inject.istio.io/templates": "gateway", **NATIVE},
            PLAIN,
            ["first", "second"],
            ["web", "istio-proxy"],
        ),
    ],
    ids=[
        "plain",
        "cni",
        "hold",
        "native",
        "native-cni",
        "none",
        "grpc-agent",
        "native-grpc-agent",
        "gateway",
    ],
)
def test_order(
    annotations: dict[str, str], using: Settings, inits: list[str], containers: list[str]
) -> None:
    made = inject(pod(annotations=annotations, initContainers=USERS), using)
    assert names(made, "initContainers") == inits
    assert names(made, "containers") == containers


@pytest.mark.parametrize(
    ("setting", "kubelets", "kubelet", "annotation", "native"),
    [
        pytest.param("auto", [], "", None, False, id="nothing-known"),
        pytest.param("auto", ["v1.33.0", "v1.40.1+k3s"], "", None, True, id="all-kubelets"),
        pytest.param("auto", ["v1.33.0", "v1.32.9"], "", None, False, id="one-old-kubelet"),
        pytest.param("auto", ["v1.32.9"], "v1.34.1", None, True, id="the-pod's-own-node"),
        pytest.param("auto", ["v1.34.1"], "v1.32.9", None, False, id="the-pod's-old-node"),
        pytest.param("auto", ["unknown"], "", None, False, id="no-version"),
        pytest.param("true", ["v1.32.9"], "v1.32.9", None, True, id="setting"),
        pytest.param("false", ["v1.34.1"], "v1.34.1", None, False, id="setting-off"),
        pytest.param("false", [], "", "true", True, id="annotation"),
        pytest.param("true", ["v1.34.1"], "", "false", False, id="annotation-off"),
    ],
)
def test_native(
    setting: str, kubelets: list[str], kubelet: str, annotation: str | None, native: bool
) -> None:
    values = {"pilot": {"env": {"ENABLE_NATIVE_SIDECARS": setting}}}
    given = {f"{SIDECAR}nativeSidecar": annotation} if annotation else {}
    using = settings(values=values, kubelets=kubelets)
    made = inject(pod(annotations=given), using, kubelet=kubelet)
    assert ("istio-proxy" in names(made, "initContainers")) is native


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        pytest.param({"name": "web-1"}, ("Pod", "web-1", "v1"), id="alone"),
        pytest.param({"generateName": "web-"}, ("Pod", "web", "v1"), id="generated-name"),
        pytest.param(
            {
                "generateName": "web-5d9-",
                "labels": {"pod-template-hash": "5d9"},
                "ownerReferences": [("apps/v1", "ReplicaSet", "web-5d9")],
            },
            ("Deployment", "web", "apps/v1"),
            id="deployment",
        ),
        pytest.param(
            {"ownerReferences": [("apps/v1", "ReplicaSet", "web-5d9")]},
            ("ReplicaSet", "web-5d9", "apps/v1"),
            id="replica-set-of-nobody",
        ),
        pytest.param(
            {"ownerReferences": [("batch/v1", "Job", "report-28512340")]},
            ("CronJob", "report", "batch/v1"),
            id="cron-job",
        ),
        pytest.param(
            {"ownerReferences": [("batch/v1", "Job", "import")]},
            ("Job", "import", "batch/v1"),
            id="job",
        ),
        pytest.param(
            {"ownerReferences": [("argoproj.io/v1alpha1", "Rollout", "web")]},
            ("Rollout", "web", "argoproj.io/v1alpha1"),
            id="of-others",
        ),
    ],
)
def test_workload(metadata: dict[str, Any], expected: tuple[str, str, str]) -> None:
    owners = [
        {"apiVersion": version, "kind": kind, "name": name, "controller": True}
        for version, kind, name in metadata.get("ownerReferences", ())
    ]
    found = workload({"metadata": {**metadata, "ownerReferences": owners}}, "shop")
    kind, name, version = expected
    assert found == Workload(namespace="shop", kind=kind, name=name, api_version=version)


def test_who_the_workload_is() -> None:
    owner = {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "controller": True}
    given = pod(labels={"version": "v2"})
    given["metadata"] |= {"ownerReferences": [owner], "name": "db-0"}
    made = inject(given)
    env = environment(container(made))
    assert env["ISTIO_META_WORKLOAD_NAME"] == "db"
    assert env["ISTIO_META_OWNER"] == "kubernetes://apis/apps/v1/namespaces/shop/statefulsets/db"
    assert made["metadata"]["labels"] == {
        "version": "v2",
        "security.istio.io/tlsMode": "istio",
        "service.istio.io/canonical-name": "db",
        "service.istio.io/canonical-revision": "v2",
    }


def test_webhook_of_a_remote_cluster() -> None:
    made = inject(pod(), settings(cluster="east", network="n2", revision="canary"))
    env = environment(container(made))
    assert (env["ISTIO_META_CLUSTER_ID"], env["ISTIO_META_NETWORK"]) == ("east", "n2")
    assert made["metadata"]["labels"]["topology.istio.io/network"] == "n2"
    assert made["metadata"]["annotations"]["istio.io/rev"] == "canary"
    assert json.loads(env["PROXY_CONFIG"]) == {
        "discoveryAddress": "istiod-canary.istio-system.svc:15012"
    }


@pytest.mark.parametrize(
    ("annotations", "status_port", "asked"),
    [
        pytest.param({}, 15020, True, id="default"),
        pytest.param({"status.sidecar.istio.io/port": "15030"}, 15030, True, id="annotation"),
        pytest.param(
            {
                "status.sidecar.istio.io/port": "15030",
                "proxy.istio.io/config": "statusPort: 15040",
            },
            15040,
            True,
            id="the-agent-reads-its-config-last",
        ),
        pytest.param({"status.sidecar.istio.io/port": "0"}, 0, False, id="none"),
    ],
)
def test_status_port(annotations: dict[str, str], status_port: int, asked: bool) -> None:
    given = pod(annotations=annotations)
    given["spec"]["containers"][0]["livenessProbe"] = {"httpGet": {"path": "/", "port": 80}}
    made = inject(given)
    assert ("readinessProbe" in container(made)) is asked
    probe = container(made, "web")["livenessProbe"]["httpGet"]
    assert probe["port"] == (status_port or 80)
    page = made["metadata"]["annotations"].get("prometheus.io/port")
    assert page == (str(status_port) if asked else None)


@pytest.mark.parametrize(
    ("annotations", "port", "told"),
    [
        pytest.param({}, "15020", None, id="nothing-of-its-own"),
        pytest.param(
            {"prometheus.io/scrape": "true", "prometheus.io/port": "9102"},
            "15020",
            {"scrape": "true", "port": "9102"},
            id="merged",
        ),
        pytest.param(
            {"prometheus.io/scrape": "false", "prometheus.io/port": "9102"},
            "9102",
            None,
            id="not-wanted-at-all",
        ),
        pytest.param(
            {"prometheus.io/port": "9102", "prometheus.istio.io/merge-metrics": "false"},
            "9102",
            None,
            id="pod-says-no",
        ),
        pytest.param({"prometheus.io/port": "15090"}, "15090", None, id="port-of-the-mesh"),
        pytest.param({"prometheus.io/port": "15020"}, "15020", None, id="merged-by-hand"),
    ],
)
def test_metrics(annotations: dict[str, str], port: str, told: dict[str, str] | None) -> None:
    made = inject(pod(annotations=annotations))
    assert made["metadata"]["annotations"].get("prometheus.io/port") == port
    text = environment(container(made)).get("ISTIO_PROMETHEUS_ANNOTATIONS")
    assert (json.loads(text) if text else None) == told
    assert inject(made) == made


def test_mesh_may_not_merge_metrics() -> None:
    made = inject(pod(), settings(mesh={"enablePrometheusMerge": False}))
    assert not [
        name for name in made["metadata"]["annotations"] if name.startswith("prometheus.io/")
    ]


@pytest.mark.parametrize(
    "probe",
    [
        pytest.param({"exec": {"command": ["true"]}}, id="command"),
        pytest.param({"httpGet": {"port": 80, "host": "10.0.0.9"}}, id="of-another-host"),
        pytest.param({"tcpSocket": {"port": "nowhere"}}, id="port-without-number"),
    ],
)
def test_what_the_kubelet_goes_on_asking_itself(probe: Object) -> None:
    given = pod()
    given["spec"]["containers"][0]["livenessProbe"] = probe
    made = inject(given)
    assert container(made, "web")["livenessProbe"] == probe
    assert "ISTIO_KUBE_APP_PROBERS" not in environment(container(made))


def test_probes_stay_if_the_pod_says_so() -> None:
    probe = {"httpGet": {"path": "/", "port": 80}}
    given = pod(annotations={f"{SIDECAR}rewriteAppHTTPProbers": "false"})
    given["spec"]["containers"][0]["livenessProbe"] = probe
    assert container(inject(given), "web")["livenessProbe"] == probe


def test_what_came_later_gets_its_probes_rewritten_too() -> None:
    once = inject(pod())
    late = {"name": "late", "image": "l", "readinessProbe": {"grpc": {"port": 9}}}
    once["spec"]["containers"].append(late)
    again = inject(once)
    assert names(again, "containers") == ["web", "late", "istio-proxy"]
    assert container(again, "late")["readinessProbe"]["httpGet"]["port"] == 15020
    assert inject(again) == again


def test_another_revision_leaves_nothing_of_the_first() -> None:
    given = pod(annotations={"prometheus.io/scrape": "true", "prometheus.io/port": "9"})
    given["spec"]["containers"][0]["livenessProbe"] = {"tcpSocket": {"port": 80}}
    canary = settings(revision="canary", values={"global": {"tag": "2"}})
    native = settings(values={"pilot": {"env": {"ENABLE_NATIVE_SIDECARS": "true"}}})
    for other in (canary, native):
        assert inject(inject(given), other) == inject(given, other)
        assert inject(inject(given, other)) == inject(given)


def test_own_container_in_either_list() -> None:
    own = {"name": "istio-proxy", "image": "auto", "env": [{"name": "A", "value": "1"}]}
    moved = pod(annotations=NATIVE)
    moved["spec"]["containers"].append(own)
    made = inject(moved)
    assert names(made, "containers") == ["web"]
    assert environment(container(made))["A"] == "1"
    assert container(made)["image"] == "docker.io/mast/agent:0.1.0"
    assert inject(made) == made


def test_an_image_of_ones_own() -> None:
    own = {"name": "istio-proxy", "image": "example.com/own:1"}
    given = pod()
    given["spec"]["containers"].append(own)
    assert container(inject(given))["image"] == "example.com/own:1"


@pytest.mark.parametrize(
    ("annotations", "image"),
    [
        ({f"{SIDECAR}proxyImage": "example.com/agent:3"}, "example.com/agent:3"),
        ({f"{SIDECAR}proxyImage": "agent2"}, "docker.io/mast/agent2:0.1.0"),
        ({f"{SIDECAR}proxyImageType": "debug"}, "docker.io/mast/agent:0.1.0-debug"),
        ({f"{SIDECAR}proxyImageType": "default"}, "docker.io/mast/agent:0.1.0"),
        (
            {"proxy.istio.io/config": "{image: {imageType: distroless}}"},
            "docker.io/mast/agent:0.1.0-distroless",
        ),
    ],
)
def test_images(annotations: dict[str, str], image: str) -> None:
    assert container(inject(pod(annotations=annotations)))["image"] == image


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        pytest.param([], "pod: want an object", id="no-object"),
        pytest.param(
            {"spec": {"a": json.loads("[" * 900 + "]" * 900)}}, "pod: nested deeper", id="depth"
        ),
        pytest.param({"spec": 1}, "spec: want an object", id="spec"),
        pytest.param({"spec": {}}, "spec.containers: want at least one", id="no-containers"),
        pytest.param(
            {"spec": {"containers": [{"name": 1}]}}, "spec.containers: want objects", id="name"
        ),
        pytest.param(
            {"metadata": 1, "spec": {"containers": [{"name": "a"}]}},
            "metadata: want an object",
            id="metadata",
        ),
        pytest.param(
            {"metadata": {"name": 1}, "spec": {"containers": [{"name": "a"}]}},
            "metadata.name: want text",
            id="own-name",
        ),
        pytest.param(
            {"metadata": {"annotations": ["a"]}, "spec": {"containers": [{"name": "a"}]}},
            "metadata.annotations: want an object",
            id="annotations",
        ),
        pytest.param(
            {"metadata": {"ownerReferences": [1]}, "spec": {"containers": [{"name": "a"}]}},
            "metadata.ownerReferences: want a list of objects",
            id="owners",
        ),
        pytest.param(
            {"spec": {"containers": [{"name": "a"}], "securityContext": 1}},
            "spec.securityContext: want an object",
            id="security-context",
        ),
        pytest.param(
            {"spec": {"containers": [{"name": "a"}], "volumes": {"a": 1}}},
            "spec.volumes: want a list",
            id="volumes",
        ),
        pytest.param(
            {"spec": {"containers": [{"name": "a"}], "initContainers": [{"name": "a"}]}},
            "spec.initContainers[0].name: 'a' is the name of another container",
            id="name-given-twice",
        ),
        pytest.param(
            {"spec": {"containers": [{"name": "a", "lifecycle": 1}]}},
            "spec.containers[0].lifecycle: want an object",
            id="lifecycle",
        ),
        pytest.param(
            {"spec": {"containers": [{"name": "a", "livenessProbe": 1}]}},
            "spec.containers[0].livenessProbe: want an object",
            id="probe-of-other-type",
        ),
        pytest.param(
            {"metadata": {"labels": {"a": 1}}, "spec": {"containers": [{"name": "a"}]}},
            "metadata.labels: want an object of texts",
            id="labels",
        ),
        pytest.param(
            {"spec": {"containers": [{"name": "a", "ports": [{}]}]}},
            "spec.containers[0].ports: want",
            id="ports",
        ),
        pytest.param(
            {"spec": {"containers": [{"name": "a", "livenessProbe": {"grpc": 1}}]}},
            "spec.containers[0].livenessProbe: want objects",
            id="probe",
        ),
        pytest.param(
            {
                "metadata": {"annotations": {"prometheus.io/port": "http"}},
                "spec": {"containers": [{"name": "a"}]},
            },
            "annotation prometheus.io/port: 'http'; allowed: 1 to 65535",
            id="port-of-metrics",
        ),
    ],
)
def test_refusals(given: Any, problem: str) -> None:
    with pytest.raises(InjectionRefused) as refused:
        patch(given, PLAIN, namespace="shop")
    assert problem in str(refused.value)


@pytest.mark.parametrize("variable", ["ISTIO_KUBE_APP_PROBERS", "ISTIO_PROMETHEUS_ANNOTATIONS"])
@pytest.mark.parametrize(("text", "problem"), [("[", "no JSON"), ("[]", "is not an object")])
def test_what_an_earlier_injection_cannot_have_written(
    variable: str, text: str, problem: str
) -> None:
    given = pod(annotations={f"{SIDECAR}status": "{}"})
    env = [{"name": variable, "value": text}]
    given["spec"]["containers"].append({"name": "istio-proxy", "env": env})
    with pytest.raises(InjectionRefused, match=f"variable {variable}: .*{problem}"):
        inject(given)


def test_a_pod_of_nothing_but_the_proxy_is_not_native() -> None:
    given = pod(annotations=NATIVE, containers=[{"name": "istio-proxy", "image": "auto"}])
    assert names(inject(given), "containers") == ["istio-proxy"]


def test_overrides_of_other_groups_are_left_out() -> None:
    given = pod(annotations={f"{SIDECAR}status": "{}"})
    given["metadata"]["annotations"]["proxy.istio.io/overrides"] = '{"volumes":[{"name":"a"}]}'
    assert inject(given) == inject(pod())


def test_a_mesh_without_status_port() -> None:
    made = inject(pod(), settings(values={"global": {"proxy": {"statusPort": 0}}}))
    assert "readinessProbe" not in container(made)
    assert "prometheus.io/port" not in made["metadata"]["annotations"]


def test_pilot_of_the_mesh_config() -> None:
    mesh = {"defaultConfig": {"discoveryAddress": "pilot.example.com:15012", "statusPort": 15030}}
    made = container(inject(pod(), settings(mesh=mesh)))
    assert json.loads(environment(made)["PROXY_CONFIG"]) == mesh["defaultConfig"]


def test_labels_fit() -> None:
    given = pod(labels={"app.kubernetes.io/name": "n", "app": "a", "version": "v"})
    labels = inject(given)["metadata"]["labels"]
    assert labels["service.istio.io/canonical-name"] == "n"
    assert labels["service.istio.io/canonical-revision"] == "v"
    given = pod()
    given["metadata"]["name"] = f"{'a' * 62}.b"
    assert inject(given)["metadata"]["labels"]["service.istio.io/canonical-name"] == "a" * 62


def test_patch_of_a_pod_that_stays() -> None:
    found = patch(pod(hostNetwork=True), PLAIN, namespace="shop")
    assert (found.decision.inject, found.operations) == (False, ())


def test_patch_of_a_pod_that_is_injected() -> None:
    once = patch(pod(), PLAIN, namespace="shop")
    assert once.decision.inject
    assert {each["op"] for each in once.operations} == {"add"}
    again = patch(inject(pod()), PLAIN, namespace="shop")
    assert again.operations == ()


def test_compression_of_statistics_is_told_the_agent() -> None:
    made = inject(pod(annotations={f"{SIDECAR}statsCompression": "false"}))
    assert json.loads(environment(container(made))["PROXY_CONFIG"])["statsCompression"] is False
