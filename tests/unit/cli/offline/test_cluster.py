"""Objects of a cluster in files: what becomes of them, and mistakes with their lines."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from google.protobuf.json_format import MessageToDict

from mast.cli.offline.reading import FileMesh, Options, read
from mastapi.galley.v1 import config_pb2
from mastapi.registry.v1.registry_pb2 import EndpointShard, Service, Workload
from tests.support.cluster_yaml import HOST, N1, POD, SERVICE, SHARD, SLICE, WEB, WEB_1

BOOKINFO = Path(__file__).parents[4] / "samples" / "bookinfo" / "kubernetes.yaml"


def files(*texts: str, namespace: str = "default") -> FileMesh:
    sources = [config_pb2.Source(name=f"{n}.yaml", text=t) for n, t in enumerate(texts)]
    return read(sources, Options(namespace))


def told(*texts: str) -> list[str]:
    return [
        f"{p.source}:{p.position.line} {p.severity.value} {p.rule} {p.path}"
        for p in files(*texts).problems
    ]


def value(found: FileMesh, key: str) -> bytes:
    return next(each.value or b"" for each in found.entries if each.key == key)


def test_objects_of_a_cluster_are_registered() -> None:
    found = files(WEB, SLICE, WEB_1, N1)
    assert not found.problems
    assert [each.key for each in found.entries] == [SHARD, SERVICE, POD]
    (endpoint,) = EndpointShard.FromString(value(found, SHARD)).endpoints
    assert (endpoint.service_account, endpoint.locality) == ("seller", "eu/eu-1")


def test_bookinfo_as_a_cluster_runs_it() -> None:
    found = files(BOOKINFO.read_text(), namespace="shop")
    assert not found.problems
    host = "reviews.shop.svc.cluster.local"
    service = Service.FromString(value(found, f"registry/services/shop/{host}/Kubernetes"))
    assert list(service.addresses) == ["198.18.0.4"]
    endpoints = EndpointShard.FromString(
        value(found, f"registry/endpoints/shop/{host}/Kubernetes")
    ).endpoints
    seen = [(each.workload_name, each.labels["version"], each.ports["http"]) for each in endpoints]
    assert seen == [(f"reviews-{each}", each, 9080) for each in ("v1", "v2", "v3")]
    assert {(each.tls_mode, each.service_account) for each in endpoints} == {
        ("istio", "bookinfo-reviews")
    }


def test_what_applications_keep_is_skipped() -> None:
    passwords = "{apiVersion: v1, kind: Secret, metadata: {name: a}, data: {password: YQ==}}"
    settings = "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {greeting: hello}}"
    found = files(passwords, settings)
    assert not found.problems
    assert not found.entries


def test_the_age_of_a_service_is_that_of_its_document() -> None:
    made = "metadata: {creationTimestamp: '2026-01-02T03:04:05Z', "
    found = files(WEB, WEB.replace("metadata: {name: web", f"{made} name: old"))
    young = Service.FromString(value(found, SERVICE))
    old = Service.FromString(value(found, SERVICE.replace("web", "old")))
    assert old.create_time.ToJsonString() == "2026-01-02T03:04:05Z"
    assert young.create_time.ToNanoseconds() > old.create_time.ToNanoseconds()


def test_settings_of_the_mesh_count() -> None:
    settings = """
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: 'rootNamespace: mesh'
  meshNetworks: '{networks: {by-range: {endpoints: [{fromCidr: 10.1.0.0/16}]}}}'
"""
    system = "{apiVersion: v1, kind: Namespace, metadata: {name: mesh, labels: {%s}}}"
    for labels, network in (("a: b", "by-range"), ("topology.istio.io/network: own", "own")):
        found = files(WEB_1, settings, system % labels)
        assert Workload.FromString(value(found, POD)).network == network


CONTROLLER = """
apiVersion: %s
kind: %s
metadata: {name: web, namespace: shop}
spec: {%s template: {metadata: {labels: {app: web}}, spec: {serviceAccountName: seller}}%s}
"""


@pytest.mark.parametrize(
    ("version", "kind", "name", "link"),
    [
        pytest.param("apps/v1", "Deployment", "web", "deployments", id="deployment"),
        pytest.param("apps/v1", "ReplicaSet", "web", "replicasets", id="replica-set"),
        pytest.param("apps/v1", "DaemonSet", "web", "daemonsets", id="daemon-set"),
        pytest.param("apps/v1", "StatefulSet", "web-0", "statefulsets", id="stateful-set"),
        pytest.param("batch/v1", "Job", "web", "jobs", id="job"),
        pytest.param("batch/v1", "CronJob", "web", "cronjobs", id="cron-job"),
        pytest.param("v1", "ReplicationController", "web", "replicationcontrollers", id="old"),
    ],
)
def test_what_makes_pods(version: str, kind: str, name: str, link: str) -> None:
    nested = ("jobTemplate: {spec: {", "}}") if kind == "CronJob" else ("", "")
    found = files(CONTROLLER % (version, kind, *nested))
    assert not found.problems
    workload = Workload.FromString(value(found, f"registry/workloads/Kubernetes/shop/{name}"))
    assert workload.workload_name == "web"
    assert workload.owner == f"kubernetes://apis/{version}/namespaces/shop/{link}/web"
    assert (workload.service_account, workload.labels["app"]) == ("seller", "web")
    assert ("statefulset.kubernetes.io/pod-name" in workload.labels) is (kind == "StatefulSet")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(CONTROLLER % ("apps/v1", "Deployment", "replicas: 0,", ""), id="none-wanted"),
        pytest.param(
            (CONTROLLER % ("apps/v1", "ReplicaSet", "", "")).replace(
                "namespace: shop",
                "namespace: shop, ownerReferences:"
                " [{apiVersion: apps/v1, kind: Deployment, name: web, controller: true}]",
            ),
            id="owned",
        ),
        pytest.param(SLICE.replace("IPv4", "FQDN"), id="slice-of-names"),
        pytest.param("{apiVersion: v1, kind: ServiceAccount, metadata: {name: a}}", id="account"),
        pytest.param(
            "{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, metadata: {name: a}}",
            id="autoscaler",
        ),
    ],
)
def test_what_makes_none(text: str) -> None:
    found = files(text)
    assert not found.problems
    assert not found.entries


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            WEB.replace("port: 80,", "port: 0,"), ["0.yaml:5 error port spec.ports[0].port"], id="v"
        ),
        pytest.param(
            SLICE.replace("[10.1.0.1]", "[a]"),
            ["0.yaml:7 error address endpoints[0].addresses[0]"],
            id="slice",
        ),
        pytest.param(
            WEB.replace("name: web, ", ""), ["0.yaml:4 error required metadata.name"], id="nameless"
        ),
        pytest.param(
            "apiVersion: v1\nkind: Service\nmetadata: 3",
            ["0.yaml:3 error wrong-type metadata", "0.yaml:3 error required metadata.name"],
            id="metadata",
        ),
        pytest.param(
            WEB + "---" + WEB, ["0.yaml:9 error duplicate-object metadata.name"], id="twice"
        ),
        pytest.param(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nspec: {replicas: 1}",
            ["0.yaml:4 error required spec.template"],
            id="template",
        ),
        pytest.param(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nspec:\n  template:\n"
            "    metadata: {labels: {a: 1}}\n    spec: {containers: {}}",
            [
                "0.yaml:6 error wrong-type spec.template.metadata.labels.a",
                "0.yaml:7 error wrong-type spec.template.spec.containers",
            ],
            id="pod",
        ),
        pytest.param(
            "apiVersion: v1\nkind: Namespace\nmetadata: {name: a, labels: {b: 1}}",
            ["0.yaml:3 error wrong-type metadata.labels.b"],
            id="namespace-once",
        ),
        pytest.param(SLICE + "---" + WEB, ["0.yaml:2 warning unknown-pod "], id="waiting"),
    ],
)
def test_mistakes(text: str, expected: list[str]) -> None:
    assert told(text) == expected


def test_an_endpoint_that_waits_for_its_pod_is_told() -> None:
    (problem,) = files(WEB, SLICE).warnings
    assert str(problem) == (
        "1.yaml:2:1: warning: EndpointSlice shop/web-a: 10.1.0.1 is left out:"
        " Pod shop/web-1 is in none of the files [unknown-pod]"
    )


def test_lists_of_a_cluster_are_opened() -> None:
    listed = {"apiVersion": "v1", "kind": "List", "items": [yaml.safe_load(WEB)]}
    (entry,) = files(yaml.safe_dump(listed)).entries
    assert MessageToDict(Service.FromString(entry.value or b""))["host"] == HOST
