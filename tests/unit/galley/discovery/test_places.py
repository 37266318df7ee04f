"""Where workloads are: the order of what tells it (galley-and-kubernetes.md D2.3, D2.4)."""

from __future__ import annotations

import pytest
from google.protobuf.json_format import ParseDict

from istio.mesh.v1alpha1.network_pb2 import MeshNetworks
from mast.galley.core.discovery.objects import ClusterNode, ObjectName
from mast.galley.core.discovery.places import Place, locality, placed
from mast.galley.core.discovery.settings import Settings
from tests.support.cluster_yaml import N1, SLICE, WEB, WEB_1, endpoints_of, workload_of

K8S, BETA = "topology.kubernetes.io", "failure-domain.beta.kubernetes.io"
MODERN = {f"{K8S}/region": "eu", f"{K8S}/zone": "eu-1"}


@pytest.mark.parametrize(
    ("pod", "node", "expected"),
    [
        pytest.param({}, MODERN, "eu/eu-1", id="node"),
        pytest.param({}, MODERN | {"topology.istio.io/subzone": "r"}, "eu/eu-1/r", id="subzone"),
        pytest.param({}, {f"{BETA}/region": "us", f"{BETA}/zone": "b"}, "us/b", id="beta"),
        pytest.param({}, MODERN | {f"{BETA}/region": "us"}, "eu/eu-1", id="modern-before-beta"),
        pytest.param({}, {f"{K8S}/zone": "eu-1"}, "/eu-1", id="zone-only"),
        pytest.param({}, {}, "", id="nothing"),
        pytest.param({}, None, "", id="no-node"),
        pytest.param({"istio-locality": "us.b.c"}, MODERN, "us/b/c", id="old-label"),
        pytest.param(
            {"istio-locality": "us.b", "topology.istio.io/locality": "as.c"},
            MODERN,
            "as/c",
            id="new-label-first",
        ),
        pytest.param({"topology.istio.io/locality": "a.b/c"}, MODERN, "a.b/c", id="slashes"),
    ],
)
def test_locality(pod: dict[str, str], node: dict[str, str] | None, expected: str) -> None:
    known = None if node is None else ClusterNode(id=ObjectName("", "n"), labels=node)
    assert locality(pod, known) == expected


def test_labels_that_tell_where_an_endpoint_is() -> None:
    own = {"app": "web", "topology.istio.io/cluster": "lied"}
    assert placed(own, Place("eu/eu-1/r", "north", "n1"), "east") == {
        "app": "web",
        f"{K8S}/region": "eu",
        f"{K8S}/zone": "eu-1",
        "topology.istio.io/subzone": "r",
        "topology.istio.io/cluster": "east",
        "topology.istio.io/network": "north",
        "kubernetes.io/hostname": "n1",
    }
    assert placed({"app": "web"}, Place(), "east") == {
        "app": "web",
        "topology.istio.io/cluster": "east",
    }


SYSTEM = """
---
apiVersion: v1
kind: Namespace
metadata: {name: istio-system, labels: {topology.istio.io/network: whole}}
"""
OWN = "labels: {topology.istio.io/network: own, "
REGISTRY = {"fromRegistry": "Kubernetes"}


@pytest.mark.parametrize(
    ("pod", "system", "networks", "expected"),
    [
        pytest.param(OWN, SYSTEM, {"reg": [REGISTRY]}, "own", id="pod"),
        pytest.param("labels: {", SYSTEM, {"reg": [REGISTRY]}, "whole", id="system-namespace"),
        pytest.param(
            "labels: {",
            "",
            {"cidr": [{"fromCidr": "10.1.0.0/30"}], "reg": [REGISTRY]},
            "reg",
            id="registry",
        ),
        pytest.param(
            "labels: {",
            "",
            {"all": [{"fromCidr": "10.0.0.0/8"}], "some": [{"fromCidr": "10.1.0.0/16"}]},
            "some",
            id="smallest-range",
        ),
        pytest.param("labels: {", "", {"far": [{"fromCidr": "10.9.0.0/16"}]}, "", id="no-range"),
        pytest.param("labels: {", "", {"far": [{"fromRegistry": "b"}]}, "", id="other-cluster"),
    ],
)
def test_network(pod: str, system: str, networks: dict[str, list[object]], expected: str) -> None:
    told = {"networks": {name: {"endpoints": each} for name, each in networks.items()}}
    settings = Settings(networks=ParseDict(told, MeshNetworks()))
    texts = (WEB, SLICE, WEB_1.replace("labels: {", pod), system)
    (found,) = endpoints_of(*texts, settings=settings)
    assert found.network == expected
    assert found.labels.get("topology.istio.io/network", "") == expected
    assert workload_of(*texts, settings=settings).network == expected


def test_a_node_places_its_pods() -> None:
    (found,) = endpoints_of(WEB, SLICE, WEB_1, N1)
    assert (found.locality, found.node) == ("eu/eu-1", "n1")
    assert workload_of(WEB_1, N1).locality == "eu/eu-1"
