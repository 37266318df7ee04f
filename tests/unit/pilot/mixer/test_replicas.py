"""What clusters of Mixer have beyond those of other services (mixer_proxy.md A39)."""

import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from google.protobuf.json_format import MessageToDict

from mast.pilot.core.clusters.clusters import outbound_cluster
from mast.pilot.core.clusters.destination_rules import rule_for
from mast.pilot.core.clusters.endpoints import Destination
from tests.support.mesh_yaml import scope, sidecar_proxy

HOSTS = {
    each: f"{each}.istio-system.svc.cluster.local"
    for each in ("istio-policy", "istio-telemetry", "other")
}
MESH = f"""
{{apiVersion: mesh.istio.io/v1alpha1, kind: MeshConfig,
 metadata: {{name: default, namespace: istio-system}},
 spec: {{mixerCheckServer: "{HOSTS["istio-policy"]}:15004",
   mixerReportServer: "{HOSTS["istio-telemetry"]}:15004"}}}}
"""


def cluster(name: str, policy: str = "") -> Cluster:
    """The cluster of a service in a mesh with Mixer, perhaps with a rule."""
    service = f"""
{{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {{name: a}},
 spec: {{hosts: [{HOSTS[name]}], location: MESH_INTERNAL, resolution: STATIC,
   ports: [{{number: 15004, name: grpc, protocol: GRPC}}]}}}}
"""
    rule = f"""
{{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {{name: a}},
 spec: {{host: {HOSTS[name]}, trafficPolicy: {{{policy}}}}}}}
"""
    seen = scope(sidecar_proxy(), MESH, service, *([rule] if policy else []))
    found = seen.service(HOSTS[name])
    assert found is not None
    destination = Destination(found, found.ports[0], "", rule_for(seen, found, {}))
    made = outbound_cluster(destination, seen, sidecar_proxy())
    assert made is not None
    return made


@pytest.mark.parametrize("name", ["istio-policy", "istio-telemetry"])
def test_dead_replicas_are_left_out(name: str) -> None:
    made = cluster(name)
    assert made.connect_timeout.ToTimedelta().total_seconds() == 1
    assert MessageToDict(made.outlier_detection, preserving_proto_field_name=True) == {
        "split_external_local_origin_errors": True,
        "consecutive_local_origin_failure": 3,
        "enforcing_consecutive_local_origin_failure": 100,
        "enforcing_local_origin_success_rate": 0,
        # Who answers that it is busy is not dead.
        "enforcing_consecutive_5xx": 0,
        "enforcing_success_rate": 0,
        "interval": "1s",
        "base_ejection_time": "1s",
        "max_ejection_time": "10s",
        "max_ejection_percent": 50,
    }
    # All workers hear of it at once.
    assert made.common_lb_config.HasField("update_merge_window")
    assert not made.common_lb_config.update_merge_window.ToTimedelta()


def test_a_rule_says_it_instead() -> None:
    made = cluster(
        "istio-policy",
        "connectionPool: {tcp: {connectTimeout: 3s}}, outlierDetection: {consecutive5xxErrors: 7}",
    )
    assert made.connect_timeout.ToTimedelta().total_seconds() == 3
    assert made.outlier_detection.consecutive_5xx.value == 7
    assert not made.outlier_detection.split_external_local_origin_errors
    assert not made.common_lb_config.HasField("update_merge_window")


def test_other_services_are_as_they_were() -> None:
    made = cluster("other")
    assert made.connect_timeout.ToTimedelta().total_seconds() == 10
    assert not made.HasField("outlier_detection")
