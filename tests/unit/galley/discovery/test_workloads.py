"""Pods in the mesh's terms, and who owns them (galley-and-kubernetes.md D2.2)."""

from __future__ import annotations

import pytest
from google.protobuf.json_format import MessageToDict

from tests.support.cluster_yaml import N1, registry_of, workload_of

POD = """
apiVersion: v1
kind: Pod
metadata: {name: web-1, namespace: shop%s}
spec: {%s}
status: {podIP: 10.1.0.1%s}
"""


def test_a_pod() -> None:
    text = """
apiVersion: v1
kind: Pod
metadata:
  name: web-1
  namespace: shop
  creationTimestamp: "2026-01-02T03:04:05Z"
  labels: {app: web, pod-template-hash: 7d9, security.istio.io/tlsMode: istio}
  annotations: {a: b}
  ownerReferences:
  - {apiVersion: v1, kind: Other, name: other}
  - {apiVersion: apps/v1, kind: ReplicaSet, name: web-7d9, controller: true}
spec:
  nodeName: n1
  serviceAccountName: seller
  containers:
  - {name: web, ports: [{name: http, containerPort: 8080}, {containerPort: 8081}, {name: odd}]}
  - {name: other, ports: [{name: http, containerPort: 9}, {containerPort: 8080}]}
  initContainers:
  - {name: once, ports: [{name: once, containerPort: 7}]}
  - {name: helper, restartPolicy: Always, ports: [{name: help, containerPort: 6}]}
status:
  phase: Running
  podIP: 10.1.0.1
  podIPs: [{ip: 10.1.0.1}, {ip: "FD00::1"}]
  conditions: [{type: ContainersReady, status: "False"}, {type: Ready, status: "True"}]
"""
    assert MessageToDict(workload_of(text, N1)) == {
        "name": "web-1",
        "namespace": "shop",
        "cluster": "Kubernetes",
        "addresses": ["10.1.0.1", "fd00::1"],
        "labels": {"app": "web", "pod-template-hash": "7d9", "security.istio.io/tlsMode": "istio"},
        "annotations": {"a": "b"},
        "serviceAccount": "seller",
        "locality": "eu/eu-1",
        "node": "n1",
        "workloadName": "web",
        "owner": "kubernetes://apis/apps/v1/namespaces/shop/deployments/web",
        "health": "HEALTH_HEALTHY",
        "ports": {"http": 8080, "help": 6},
        "tlsMode": "istio",
        "createTime": "2026-01-02T03:04:05Z",
        "containers": {"8080": "web", "8081": "web", "9": "other", "6": "helper"},
    }


@pytest.mark.parametrize(
    ("metadata", "status", "health"),
    [
        pytest.param("", ', conditions: [{type: Ready, status: "True"}]', "HEALTHY", id="ready"),
        pytest.param("", ', conditions: [{type: Ready, status: "False"}]', "UNHEALTHY", id="not"),
        pytest.param("", ", conditions: [{type: Ready, status: Unknown}]", "UNHEALTHY", id="lost"),
        pytest.param("", "", "UNHEALTHY", id="starting"),
        pytest.param(
            ', deletionTimestamp: "2026-01-02T03:04:05Z"',
            ', conditions: [{type: Ready, status: "True"}]',
            "TERMINATING",
            id="terminating",
        ),
    ],
)
def test_health(metadata: str, status: str, health: str) -> None:
    found = MessageToDict(workload_of(POD % (metadata, "", status)))
    assert found["health"] == f"HEALTH_{health}"


def owned(kind: str, name: str, labels: str = "", version: str = "apps/v1") -> str:
    owner = f"{{apiVersion: {version}, kind: {kind}, name: {name}, controller: true}}"
    return f", labels: {{{labels}}}, ownerReferences: [{owner}]"


@pytest.mark.parametrize(
    ("metadata", "name", "link"),
    [
        pytest.param("", "web-1", "v1/namespaces/shop/pods/web-1", id="bare"),
        pytest.param(
            owned("ReplicaSet", "web-7d9", "pod-template-hash: 7d9"),
            "web",
            "apps/v1/namespaces/shop/deployments/web",
            id="deployment",
        ),
        pytest.param(
            owned("ReplicaSet", "web-7d9"),
            "web-7d9",
            "apps/v1/namespaces/shop/replicasets/web-7d9",
            id="replica-set",
        ),
        pytest.param(
            owned("ReplicaSet", "web-7d9", "pod-template-hash: 8e0"),
            "web-7d9",
            "apps/v1/namespaces/shop/replicasets/web-7d9",
            id="foreign-hash",
        ),
        pytest.param(
            owned("ReplicaSet", "web-7d9", "rollouts-pod-template-hash: 7d9"),
            "web",
            "argoproj.io/v1alpha1/namespaces/shop/rollouts/web",
            id="rollout",
        ),
        pytest.param(
            owned("ReplicationController", "web-3", "deploymentconfig: web", "v1"),
            "web",
            "apps.openshift.io/v1/namespaces/shop/deploymentconfigs/web",
            id="deployment-config",
        ),
        pytest.param(
            owned("ReplicationController", "web", version="v1"),
            "web",
            "v1/namespaces/shop/replicationcontrollers/web",
            id="replication-controller",
        ),
        pytest.param(
            owned("StatefulSet", "web"), "web", "apps/v1/namespaces/shop/statefulsets/web", id="set"
        ),
        pytest.param(
            owned("DaemonSet", "web"), "web", "apps/v1/namespaces/shop/daemonsets/web", id="daemon"
        ),
        pytest.param(
            owned("Job", "web-27845610", version="batch/v1"),
            "web",
            "batch/v1/namespaces/shop/cronjobs/web",
            id="cron-job",
        ),
        pytest.param(
            owned("Job", "web-2", version="batch/v1"),
            "web-2",
            "batch/v1/namespaces/shop/jobs/web-2",
            id="job",
        ),
    ],
)
def test_owner(metadata: str, name: str, link: str) -> None:
    found = workload_of(POD % (metadata, "", ""))
    assert (found.workload_name, found.owner) == (name, f"kubernetes://apis/{link}")


@pytest.mark.parametrize(
    ("spec", "account"),
    [
        pytest.param("serviceAccountName: a, serviceAccount: b", "a", id="name"),
        pytest.param("serviceAccount: b", "b", id="old-field"),
        pytest.param("", "default", id="default"),
    ],
)
def test_service_account(spec: str, account: str) -> None:
    assert workload_of(POD % ("", spec, "")).service_account == account


def test_mutual_tls_is_what_injection_says() -> None:
    assert workload_of(POD % ("", "", "")).tls_mode == "disabled"
    assert workload_of(POD % (", labels: {security.istio.io/tlsMode: 'off'}", "", "")).tls_mode == (
        "disabled"
    )


def test_a_pod_on_the_network_of_its_node_has_no_address() -> None:
    assert not workload_of(POD % ("", "hostNetwork: true", "")).addresses


@pytest.mark.parametrize(
    "pod",
    [
        pytest.param(POD % ("", "", ", phase: Succeeded"), id="succeeded"),
        pytest.param(POD % ("", "", ", phase: Failed"), id="failed"),
        pytest.param(POD.replace("podIP: 10.1.0.1%s", "") % ("", ""), id="without-address"),
    ],
)
def test_pods_that_are_no_workloads(pod: str) -> None:
    assert registry_of(pod) == {}
