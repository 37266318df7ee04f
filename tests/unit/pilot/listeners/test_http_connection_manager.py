"""HTTP connection managers and their filters (pilot.md E9, E10, E11)."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from envoy.config.accesslog.v3.accesslog_pb2 import AccessLog
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (  # noqa: E501
    HttpConnectionManager,
    HttpFilter,
)
from envoy.type.v3.percent_pb2 import Percent

from istio.mesh.v1alpha1.config_pb2 import MeshConfig
from mast.pilot.core.filters.extensions import (
    NO_EXTENSIONS,
    Direction,
    NoExtensions,
    Phase,
    Spot,
    Traced,
)
from mast.pilot.core.listeners.http_connection_manager import HttpChain, http_connection_manager
from mast.pilot.core.model.mesh import Mesh, complete
from mast.pilot.core.model.model import Protocol
from tests.support.mesh_yaml import sidecar_proxy
from tests.support.messages import made, plain, read

FILTERS = ("http_filters", "access_log", "@type")


def manager(
    chain: HttpChain | None = None,
    direction: Direction = Direction.OUTBOUND,
    mesh: str = "{}",
    labels: Mapping[str, str] | None = None,
    extensions: NoExtensions = NO_EXTENSIONS,
    **metadata: object,
) -> dict[str, Any]:
    proxy = sidecar_proxy(labels=labels, **metadata)
    spot = Spot(proxy=proxy, direction=direction, port=80)
    settings = Mesh(complete(made(MeshConfig, mesh)))
    chosen = chain or HttpChain(stat_prefix="s", routes="80")
    found = http_connection_manager(chosen, spot, settings, extensions)
    assert found.name == "envoy.filters.network.http_connection_manager"
    config: dict[str, Any] = plain(found)["typed_config"]
    return config


def without_filters(config: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in FILTERS}


COMMON = """
stat_prefix: s
request_id_extension:
  typed_config:
    '@type': type.googleapis.com/envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig
stream_idle_timeout: 0s
upgrade_configs: [{upgrade_type: websocket}]
use_remote_address: false
proxy_100_continue: true
normalize_path: true
"""


def test_outbound() -> None:
    assert without_filters(manager()) == {
        **read(COMMON),
        **read("""
        rds:
          route_config_name: '80'
          config_source: {ads: {}, resource_api_version: V3, initial_fetch_timeout: 0s}
        """),
    }


def test_inbound_identifies_peers() -> None:
    chain = HttpChain(stat_prefix="s", routes=RouteConfiguration(name="r"))
    assert without_filters(manager(chain, Direction.INBOUND)) == {
        **read(COMMON),
        **read("""
        route_config: {name: r}
        server_name: istio-envoy
        forward_client_cert_details: APPEND_FORWARD
        set_current_client_cert_details: {subject: true, dns: true, uri: true}
        """),
    }


@pytest.mark.parametrize(
    ("normalization", "expected"),
    [
        ("DEFAULT", {"normalize_path": True}),
        ("BASE", {"normalize_path": True}),
        ("NONE", {"normalize_path": False}),
        ("MERGE_SLASHES", {"normalize_path": True, "merge_slashes": True}),
        (
            "DECODE_AND_MERGE_SLASHES",
            {
                "normalize_path": True,
                "merge_slashes": True,
                "path_with_escaped_slashes_action": "UNESCAPE_AND_FORWARD",
            },
        ),
    ],
)
def test_path_normalization(normalization: str, expected: dict[str, object]) -> None:
    found = manager(mesh=f"pathNormalization: {{normalization: {normalization}}}")
    keys = ("normalize_path", "merge_slashes", "path_with_escaped_slashes_action")
    assert {key: found[key] for key in keys if key in found} == expected


def test_http_10() -> None:
    assert "http_protocol_options" not in manager()
    assert manager(HTTP10="1")["http_protocol_options"] == {"accept_http_10": True}


@pytest.mark.parametrize(
    ("text", "expected"),
    [("30s", "30s"), ("1h", "3600s"), ("0s", None), ("soon", None), ("", None)],
)
def test_idle_timeout(text: str, expected: str | None) -> None:
    options = manager(IDLE_TIMEOUT=text).get("common_http_protocol_options", {})
    assert options.get("idle_timeout") == expected


def test_absolute_urls() -> None:
    chain = HttpChain(stat_prefix="s", routes="http_proxy", absolute_urls=True)
    options = manager(chain)["http_protocol_options"]
    assert options == {"allow_absolute_url": True, "accept_http_10": True}


class Tracing(NoExtensions):
    """Traces everything."""

    def __init__(self, *, request_ids_tell: bool = True) -> None:
        self.request_ids_tell = request_ids_tell

    def tracing(self, spot: Spot) -> Traced | None:
        config = HttpConnectionManager.Tracing(random_sampling=Percent(value=5))
        return Traced(config=config, request_ids_tell=self.request_ids_tell)


def test_tracing() -> None:
    found = manager(extensions=Tracing())
    assert found["tracing"] == {"random_sampling": {"value": 5.0}}
    assert "use_request_id_for_trace_sampling" not in found["request_id_extension"]["typed_config"]
    found = manager(extensions=Tracing(request_ids_tell=False))
    identities = found["request_id_extension"]["typed_config"]
    assert identities["use_request_id_for_trace_sampling"] is False


def test_no_tracing_by_default() -> None:
    assert "tracing" not in manager()


def filters(**how: Any) -> list[str]:
    return [each["name"] for each in manager(**how)["http_filters"]]


def test_filters_of_each_direction() -> None:
    assert filters() == [
        "envoy.filters.http.grpc_stats",
        "istio.alpn",
        "envoy.filters.http.fault",
        "envoy.filters.http.cors",
        "envoy.filters.http.stateful_session",
        "envoy.filters.http.router",
    ]
    assert filters(direction=Direction.INBOUND) == [
        "envoy.filters.http.grpc_stats",
        "envoy.filters.http.fault",
        "envoy.filters.http.cors",
        "envoy.filters.http.router",
    ]


def test_grpc_web_is_translated() -> None:
    chain = HttpChain(stat_prefix="s", routes="80", protocol=Protocol.GRPC_WEB)
    assert filters(chain=chain)[0] == "envoy.filters.http.grpc_web"


class Extra(NoExtensions):
    """Adds one of each."""

    def http_filters(self, spot: Spot) -> Sequence[HttpFilter]:
        return [HttpFilter(name=f"extra.{spot.direction}.{spot.port}")]

    def http_access_logs(self, spot: Spot) -> Sequence[AccessLog]:
        return [AccessLog(name="extra.log")]


def test_extensions_come_first_and_log() -> None:
    assert filters(extensions=Extra())[0] == "extra.outbound.80"
    assert manager(extensions=Extra())["access_log"] == [{"name": "extra.log"}]


def test_plugins_stand_in_the_order_of_their_phases() -> None:
    class Plugged(Extra):
        def plugins(self, spot: Spot, phase: Phase) -> Sequence[HttpFilter]:
            return [HttpFilter(name=phase)]

    expected = ["extra.outbound.80", "AUTHN", "AUTHZ", "STATS", "UNSPECIFIED"]
    assert filters(extensions=Plugged())[:6] == [*expected, "envoy.filters.http.grpc_stats"]
