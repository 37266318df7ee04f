"""Network filters of TCP chains (pilot.md E10)."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from envoy.config.accesslog.v3.accesslog_pb2 import AccessLog
from envoy.config.listener.v3.listener_components_pb2 import Filter

from mast.pilot.core.filters.extensions import (
    NO_EXTENSIONS,
    Direction,
    Extensions,
    NoExtensions,
    Phase,
    Spot,
)
from mast.pilot.core.filters.tcp_proxies import tcp_filters, to_cluster
from mast.pilot.core.model.model import Protocol
from tests.support.mesh_yaml import sidecar_proxy
from tests.support.messages import plain

SPOT = Spot(proxy=sidecar_proxy(), direction=Direction.OUTBOUND, port=9000)


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
    found = tcp_filters(to_cluster("c"), SPOT, extensions, protocol)
    assert [each.name.removeprefix("envoy.filters.network.") for each in found] == names
    assert plain(found[-1])["typed_config"]["stat_prefix"] == "c"


def test_extensions_may_ask_for_openings() -> None:
    (usual,) = tcp_filters(to_cluster("c"), SPOT, NO_EXTENSIONS)
    assert plain(usual)["typed_config"].keys() == {"@type", "cluster", "stat_prefix"}
    proxy = plain(tcp_filters(to_cluster("c"), SPOT, Extra())[-1])["typed_config"]
    assert proxy["access_log_options"] == {
        "flush_access_log_on_connected": True,
        "access_log_flush_interval": "10s",
    }
    assert proxy["access_log"] == [{"name": "extra.log"}]
    # Only then does a log of an opening tell of certificates (mixer_proxy.md K3).
    assert proxy["upstream_connect_mode"] == "ON_DOWNSTREAM_TLS_HANDSHAKE"
    assert proxy["max_early_data_bytes"] == 0


def test_plugins_stand_in_the_order_of_their_phases() -> None:
    class Plugged(Extra):
        def network_plugins(self, spot: Spot, phase: Phase) -> Sequence[Filter]:
            return [Filter(name=phase)]

    found = tcp_filters(to_cluster("c"), SPOT, Plugged())
    phases = ["AUTHN", "AUTHZ", "STATS", "UNSPECIFIED"]
    assert [each.name for each in found] == ["extra", *phases, "envoy.filters.network.tcp_proxy"]


@pytest.mark.parametrize(("own", "expected"), [(None, "30s"), (7, "7s")])
def test_idle_timeout_of_the_proxy_unless_the_rule_has_one(own: int | None, expected: str) -> None:
    spot = replace(SPOT, proxy=sidecar_proxy(IDLE_TIMEOUT="30s"))
    proxy = to_cluster("c")
    if own:
        proxy.idle_timeout.FromSeconds(own)
    (found,) = tcp_filters(proxy, spot, NO_EXTENSIONS)
    assert plain(found)["typed_config"]["idle_timeout"] == expected
