"""What happens to clients, as messages (pilot.md A, GENERATOR)."""

from envoy.config.core.v3.base_pb2 import Node
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest

from mast.pilot.core.debug import events
from mast.pilot.core.xds.outputs import Rejected
from mast.pilot.core.xds.resources import LDS
from tests.fakes.pilot_views import proxy

WHO = proxy(
    CLUSTER_ID="c1",
    LABELS={"topology.kubernetes.io/region": "r", "topology.kubernetes.io/zone": "z"},
)


def test_who_came() -> None:
    found = events.came(WHO)
    node = Node.FromString(found.body)
    assert found.name == node.id == WHO.node_id
    assert dict(node.metadata)["CLUSTER_ID"] == "c1"
    assert (node.locality.region, node.locality.zone) == ("r", "z")
    assert events.connected([WHO]) == (found,)


def test_who_rejected_what() -> None:
    found = events.rejected(WHO, Rejected(LDS, "7-x", "no such filter", ("l", "m")))
    request = DiscoveryRequest.FromString(found.body)
    assert (request.type_url, request.response_nonce) == (LDS, "7-x")
    assert list(request.resource_names) == ["l", "m"]
    assert request.error_detail.message == "no such filter"
    assert request.node.id == WHO.node_id
