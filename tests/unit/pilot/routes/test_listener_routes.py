"""Route configurations that listeners ask for (pilot.md B17)."""

from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (  # noqa: E501
    HttpConnectionManager,
)
from envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy

from mast.pilot.core.routes.listener_routes import route_configurations
from mast.pilot.core.xds.resources import LDS
from tests.support.mesh_yaml import sidecar_proxy, world

MESH = """
{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: web},
 spec: {hosts: [web.default.svc.cluster.local], resolution: STATIC,
        ports: [{number: 80, name: http, protocol: HTTP}]}}
"""


def test_managers_of_all_chains_count_and_others_do_not():
    listener = Listener()
    dynamic, inline = HttpConnectionManager(), HttpConnectionManager()
    dynamic.rds.route_config_name = "80"
    inline.route_config.name = "inbound"
    for message in (inline, TcpProxy(), dynamic):
        listener.filter_chains.add().filters.add().typed_config.Pack(message)
    dynamic.rds.route_config_name = "default"
    listener.default_filter_chain.filters.add().typed_config.Pack(dynamic)
    assert list(route_configurations(listener)) == ["80", "default"]
    assert list(route_configurations(Listener())) == []


def test_listeners_of_a_view_require_their_routes():
    view = world(MESH).snapshot(1).view(sidecar_proxy())
    listeners = view.collection(LDS).resources
    assert listeners["0.0.0.0_80"].requires == {"80"}
    assert listeners["virtualOutbound"].requires == frozenset()
