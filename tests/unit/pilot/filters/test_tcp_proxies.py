"""Network filters of TCP chains (pilot.md E10)."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from envoy.config.accesslog.v3.accesslog_pb2 import AccessLog
from envoy.config.listener.v3.listener_components_pb2 import Filter

from istio.mesh.v1alpha1.config_pb2 import MeshConfig
from mast.pilot.core.filters.extensions import (
    NO_EXTENSIONS,
    Direction,
    Extensions,
    NoExtensions,
    Spot,
)
from mast.pilot.core.filters.tcp_proxies import tcp_filters, to_cluster
from mast.pilot.core.model.mesh import Mesh, complete
from mast.pilot.core.model.model import Protocol
from tests.support.mesh_yaml import sidecar_proxy
from tests.support.messages import plain

SPOT = Spot(proxy=sidecar_proxy(), direction=Direction.OUTBOUND, port=9000)
LOGGED = Mesh(complete(MeshConfig(access_log_file="/dev/stdout")))


class Extra(NoExtensions):
    """Adds a filter and a logger, and wants to hear of open connections."""

    def network_filters(self, spot: Spot) -> Sequence[Filter]:
        return [Filter(name="extra")]

    def tcp_access_logs(self, spot: Spot) -> Sequence[AccessLog]:
        return [AccessLog(name="extra.log")]

    def tcp_log_interval(self, spot: Spot) -> timedelta | None:
        return timedelta(seconds=10)


@pytest.mark.parametrize(
    ("protocol", "extensions", "names"),
    [
        (Protocol.TCP, NO_EXTENSIONS, ["tcp_proxy"]),
        (Protocol.MONGO, NO_EXTENSIONS, ["mongo_proxy", "tcp_proxy"]),
        (Protocol.REDIS, NO_EXTENSIONS, ["tcp_proxy"]),
        (Protocol.MONGO, Extra(), ["extra", "mongo_proxy", "tcp_proxy"]),
    ],
)
def test_filters(protocol: Protocol, extensions: Extensions, names: list[str]) -> None:
    found = tcp_filters(to_cluster("c"), SPOT, Mesh(), extensions, protocol)
    assert [each.name.removeprefix("envoy.filters.network.") for each in found] == names
    assert plain(found[-1])["typed_config"]["stat_prefix"] == "c"


def test_the_mesh_logs_ends_only() -> None:
    """Extensions may ask for openings too; the mesh's own log stays one line per connection."""
    (usual,) = tcp_filters(to_cluster("c"), SPOT, LOGGED, NO_EXTENSIONS)
    proxy = plain(usual)["typed_config"]
    assert "access_log_options" not in proxy
    assert "filter" not in proxy["access_log"][0]
    proxy = plain(tcp_filters(to_cluster("c"), SPOT, LOGGED, Extra())[-1])["typed_config"]
    assert proxy["access_log_options"] == {
        "flush_access_log_on_connected": True,
        "access_log_flush_interval": "10s",
    }
    mine, extra = proxy["access_log"]
    assert mine["filter"] == {"log_type_filter": {"types": ["TcpConnectionEnd"]}}
    assert extra == {"name": "extra.log"}


@pytest.mark.parametrize(("own", "expected"), [(None, "30s"), (7, "7s")])
def test_idle_timeout_of_the_proxy_unless_the_rule_has_one(own: int | None, expected: str) -> None:
    spot = replace(SPOT, proxy=sidecar_proxy(IDLE_TIMEOUT="30s"))
    proxy = to_cluster("c")
    if own:
        proxy.idle_timeout.FromSeconds(own)
    (found,) = tcp_filters(proxy, spot, Mesh(), NO_EXTENSIONS)
    assert plain(found)["typed_config"]["idle_timeout"] == expected
