"""Endpoints of other networks stand behind gateways (pilot.md D8, H4)."""

import pytest

from mast.pilot.core.model.model import Endpoint
from mast.pilot.core.model.proxy import Locality
from mast.pilot.core.scope.networks import (
    NetworkGateway,
    gateways,
    known_networks,
    network_of,
    reachable,
)
from mast.pilot.core.scope.scope import Scope
from tests.support.mesh_yaml import scope, sidecar_proxy

NETWORKS = """
apiVersion: mesh.istio.io/v1alpha1
kind: MeshNetworks
metadata: {name: default, namespace: istio-system}
spec:
  networks:
    east: {endpoints: [{fromRegistry: c-east}]}
    west:
      endpoints: [{fromCidr: 10.2.0.0/16}]
      gateways:
      - {registryServiceName: gate.istio-system.svc.cluster.local}
      - {address: 203.0.113.9, port: 443, locality: us/a}
    south:
      gateways: [{address: a.test, port: 1}, {address: b.test, port: 1}, {address: c.test, port: 1}]
    lost:
      gateways: [{registryServiceName: nobody.test, port: 1}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: gate, namespace: istio-system}
spec:
  hosts: [gate.istio-system.svc.cluster.local]
  addresses: [203.0.113.1]
  ports: [{number: 80, name: http}]
"""


@pytest.fixture(scope="module")
def mesh() -> Scope:
    return scope(sidecar_proxy("shop"), NETWORKS)


def endpoint(
    address: str, network: str = "", cluster: str = "", weight: int = 1, *, mtls: bool = True
) -> Endpoint:
    return Endpoint(
        address=address,
        ports={80: 8080},
        namespace="shop",
        network=network,
        cluster=cluster,
        weight=weight,
        mtls=mtls,
    )


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        pytest.param(endpoint("10.2.0.1", "given"), "given", id="own"),
        pytest.param(endpoint("10.2.0.1"), "west", id="cidr"),
        pytest.param(endpoint("10.1.0.1", cluster="c-east"), "east", id="registry"),
        pytest.param(endpoint("10.1.0.1", cluster="c-west"), "", id="unknown"),
        pytest.param(endpoint("a.test"), "", id="name"),
    ],
)
def test_network_of(mesh: Scope, of: Endpoint, expected: str) -> None:
    assert network_of(mesh, of) == expected


def test_gateways(mesh: Scope) -> None:
    assert gateways(mesh, "west") == [
        NetworkGateway("203.0.113.1", 15443),
        NetworkGateway("203.0.113.9", 443, Locality("us", "a")),
    ]
    assert gateways(mesh, "lost") == []
    assert gateways(mesh, "unheard-of") == []


LABELLED = """
apiVersion: registry.mast/v1
kind: Service
metadata: {name: gate}
spec:
  host: gate.istio-system.svc.cluster.local
  namespace: istio-system
  registry: Kubernetes
  export_to: [.]
  addresses: [10.96.0.9]
  EXTERNAL
  labels: {topology.istio.io/network: north LABEL}
  annotations: {ANNOTATION}
  ports: [{name: tls, number: 15443}]
"""


@pytest.mark.parametrize(
    ("external", "label", "annotation", "expected"),
    [
        pytest.param("", "", "", [("10.96.0.9", 15443)], id="by-address"),
        pytest.param(
            "external_addresses: [203.0.113.7, lb.test]",
            "",
            "",
            [("203.0.113.7", 15443), ("lb.test", 15443)],
            id="from-outside",
        ),
        pytest.param(
            "", ", networking.istio.io/gatewayPort: '443'", "", [("10.96.0.9", 443)], id="label"
        ),
        pytest.param(
            "",
            "",
            "networking.istio.io/gatewayPort: '8443'",
            [("10.96.0.9", 8443)],
            id="annotation",
        ),
        pytest.param(
            "", "", "networking.istio.io/gatewayPort: x", [("10.96.0.9", 15443)], id="no-port"
        ),
    ],
)
def test_services_with_the_label_of_a_network_are_its_gateways(
    external: str, label: str, annotation: str, expected: list[tuple[str, int]]
) -> None:
    text = LABELLED.replace("EXTERNAL", external or "name: gate")
    text = text.replace(" LABEL", label).replace("ANNOTATION", annotation)
    mesh = scope(sidecar_proxy("shop"), text)
    assert known_networks(mesh) == ["north"]
    assert [(each.address, each.port) for each in gateways(mesh, "north")] == expected
    assert set(seen(mesh, endpoint("10.7.0.1", "north"))) == {each for each, _ in expected}


def seen(mesh: Scope, *endpoints: Endpoint, network: str = "east") -> dict[str, int]:
    found = reachable(mesh, endpoints, network, 80)
    return {each.address: each.weight for each in found}


def test_weights_keep_their_proportion(mesh: Scope) -> None:
    assert seen(
        mesh,
        endpoint("10.1.0.1", "east", weight=5),
        endpoint("10.2.0.1", "west"),
        endpoint("10.2.0.2", "west", weight=2),
        endpoint("10.3.0.1", "south"),
    ) == {
        "10.1.0.1": 30,
        "203.0.113.1": 9,
        "203.0.113.9": 9,
        "a.test": 2,
        "b.test": 2,
        "c.test": 2,
    }


def test_who_cannot_do_mutual_tls_cannot_be_reached(mesh: Scope) -> None:
    assert seen(mesh, endpoint("10.2.0.1", mtls=False)) == {}
    assert seen(mesh, endpoint("10.1.0.1", "east", mtls=False)) == {"10.1.0.1": 1}


def test_without_a_gateway_or_a_network_one_dials_directly(mesh: Scope) -> None:
    assert seen(mesh, endpoint("10.4.0.1", "lost"), endpoint("10.5.0.1")) == {
        "10.4.0.1": 1,
        "10.5.0.1": 1,
    }


def test_who_is_in_no_network_dials_directly(mesh: Scope) -> None:
    assert seen(mesh, endpoint("10.2.0.1"), network="") == {"10.2.0.1": 1}


def test_clusters_of_a_network_are_kept_apart(mesh: Scope) -> None:
    endpoints = [endpoint("10.2.0.1", cluster=each) for each in ("c-1", "c-2")]
    found = reachable(mesh, endpoints, "east", 80)
    assert [(each.address, each.cluster) for each in found] == [
        ("203.0.113.1", "c-1"),
        ("203.0.113.9", "c-1"),
        ("203.0.113.1", "c-2"),
        ("203.0.113.9", "c-2"),
    ]
    assert {each.ports[80] for each in found} == {15443, 443}


def test_a_cluster_with_gateways_of_its_own_is_reached_through_them() -> None:
    """Of a network that several clusters share; the others go through any."""
    text = LABELLED.replace("EXTERNAL", "external_addresses: [ADDRESS], cluster: CLUSTER")
    text = text.replace(
        "  external_addresses: [ADDRESS], cluster: CLUSTER",
        "  external_addresses: [ADDRESS]\n  cluster: CLUSTER",
    )
    text = text.replace(" LABEL", "").replace("ANNOTATION", "") + "---\n"
    places = (("c-1", "203.0.113.1"), ("c-2", "203.0.113.2"))
    mesh = scope(
        sidecar_proxy("shop"),
        *(text.replace("CLUSTER", name).replace("ADDRESS", address) for name, address in places),
    )
    endpoints = [endpoint(f"10.2.0.{n}", "north", f"c-{n}") for n in (1, 2, 3)]
    found = reachable(mesh, endpoints, "east", 80)
    assert [(each.address, each.cluster, each.weight) for each in found] == [
        ("203.0.113.1", "c-1", 2),
        ("203.0.113.2", "c-2", 2),
        ("203.0.113.1", "c-3", 1),
        ("203.0.113.2", "c-3", 1),
    ]


def test_without_networks_nothing_changes() -> None:
    plain = scope(sidecar_proxy("shop"))
    assert seen(plain, endpoint("10.2.0.1", "west", mtls=False)) == {"10.2.0.1": 1}
