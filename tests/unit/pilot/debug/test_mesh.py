"""The mesh as operators are shown it (pilot.md M1)."""

import json

from mast.pilot.core.debug import mesh
from mast.pilot.core.model.finding import Fault, Finding, ObjectName
from tests.support.mesh_yaml import world

TEXT = """
{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: web, namespace: shop},
 spec: {hosts: [web.test], resolution: STATIC, ports: [{number: 80, name: http, protocol: HTTP}],
        endpoints: [{address: 10.0.0.1, locality: r/z/s, labels: {app: web}}]}}
---
{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: b, namespace: shop},
 spec: {rules: [{}]}}
---
{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy,
 metadata: {name: a, namespace: istio-system}, spec: {}}
---
{apiVersion: registry.mast/v1, kind: Workload, metadata: {name: x},
 spec: {name: w, namespace: shop, cluster: east, addresses: [10.0.0.1, 10.0.0.2]}}
---
{apiVersion: registry.mast/v1, kind: Workload, metadata: {name: x},
 spec: {name: v, namespace: shop, cluster: west, addresses: [10.0.0.3]}}
"""


def test_everything_can_be_written_as_json() -> None:
    snapshot = world(TEXT).snapshot(1)
    index = snapshot.index
    for page in (
        mesh.configs(index),
        mesh.services(index),
        mesh.endpoints(index),
        mesh.authorization(index),
        mesh.telemetry(index),
        mesh.clusters(index),
        mesh.mesh_settings(index),
        mesh.resource_kinds(),
        mesh.network_gateways(snapshot),
        mesh.push_context(snapshot),
    ):
        assert json.loads(json.dumps(page)) is not None


def test_policies_are_sorted_by_namespace() -> None:
    found = mesh.authorization(world(TEXT).snapshot(1).index)["authorization_policies"]
    assert list(found["namespace_to_policies"]) == ["istio-system", "shop"]


def test_a_workload_of_two_addresses_counts_once() -> None:
    cluster, _ = mesh.clusters(world(TEXT).snapshot(1).index)
    assert (cluster["id"], cluster["workloads"]) == ("east", 1)


def test_endpoints_have_all_that_is_known() -> None:
    (service,) = mesh.endpoints(world(TEXT).snapshot(1).index)
    (endpoint,) = service["ep"]
    assert endpoint["address"] == "10.0.0.1"
    assert endpoint["ports"] == {"80": 80}
    assert endpoint["locality"] == ["r", "z", "s"]
    assert endpoint["health"] == "HEALTHY"


def test_conflicts_are_sorted_by_metric() -> None:
    name = ObjectName("istio/networking/v1alpha3/gateways", "shop", "g")
    found = mesh.conflicts(
        [
            Finding(fault=Fault.UNKNOWN_HOST, key="b", message="B."),
            Finding(fault=Fault.REJECTED_CONFIG, key="x", message="X.", subject=name, winner=name),
            Finding(fault=Fault.UNKNOWN_HOST, key="a", message="A."),
        ]
    )
    assert list(found) == ["pilot_total_rejected_configs", "pilot_unknown_hosts"]
    assert list(found["pilot_unknown_hosts"]) == ["a", "b"]
    assert found["pilot_total_rejected_configs"]["x"] == {
        "message": "X.",
        "subject": "gateways shop/g",
        "winner": "gateways shop/g",
    }
