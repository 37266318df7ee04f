"""What happens to clients, as control planes are told that ask for it (pilot.md A, GENERATOR)."""

from collections.abc import Iterable
from typing import Final

from envoy.config.core.v3.base_pb2 import Node
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest
from google.protobuf.json_format import ParseDict

from mast.pilot.core.model.proxy import Proxy
from mast.pilot.core.xds.outputs import Rejected
from mast.pilot.core.xds.resources import Resource, resource

CONNECT: Final = "istio.io/connect"
DISCONNECT: Final = "istio.io/disconnect"
NACK: Final = "istio.io/nack"
EVENTS: Final = frozenset({CONNECT, DISCONNECT, NACK})
"""Types of events, each told to whoever asked for it on this stream."""

_NODE: Final = "type.googleapis.com/envoy.config.core.v3.Node"
_REQUEST: Final = "type.googleapis.com/envoy.service.discovery.v3.DiscoveryRequest"


def came(proxy: Proxy) -> Resource:
    """A client connected, or (as event DISCONNECT) went: its node, named by its id."""
    return resource(proxy.node_id, _NODE, _node(proxy))


def rejected(proxy: Proxy, rejection: Rejected) -> Resource:
    """A client rejected a response: its request, with the resources that are suspected."""
    made = DiscoveryRequest(
        node=_node(proxy),
        type_url=rejection.type_url,
        response_nonce=rejection.nonce,
        resource_names=rejection.names,
    )
    made.error_detail.message = rejection.reason
    return resource(proxy.node_id, _REQUEST, made)


def connected(proxies: Iterable[Proxy]) -> tuple[Resource, ...]:
    """All clients that are connected now: the first answer to who follows CONNECT."""
    return tuple(map(came, proxies))


def _node(proxy: Proxy) -> Node:
    made = Node(id=proxy.node_id, cluster=proxy.cluster)
    ParseDict(dict(proxy.metadata), made.metadata)
    made.locality.region = proxy.locality.region
    made.locality.zone = proxy.locality.zone
    made.locality.sub_zone = proxy.locality.subzone
    return made
