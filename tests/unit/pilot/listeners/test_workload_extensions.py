"""Engine, telemetry and plugins together in the listeners of a proxy (pilot.md E10, E17, K)."""

from datetime import timedelta

from mast.pilot.core.filters.extensions import NO_EXTENSIONS, NOTHING, Direction, Phase, Spot
from mast.pilot.core.listeners.workload_extensions import workload_extensions
from mast.pilot.core.mixer.filters import MixerExtensions
from mast.pilot.core.xds.resources import LDS
from tests.support.mesh_yaml import scope, sidecar_proxy, world
from tests.support.messages import plain

MESH = """
{apiVersion: mesh.istio.io/v1alpha1, kind: MeshConfig,
 metadata: {name: default, namespace: istio-system},
 spec: {accessLogFile: /a, enableTracing: true, mixerReportServer: "mixer.test:1"}}
"""
TELEMETRY = """
{apiVersion: telemetry.istio.io/v1, kind: Telemetry, metadata: {name: t, namespace: shop},
 spec: {metrics: [{reportingInterval: 7s, overrides: [{disabled: true}]}]}}
"""
PLUGIN = """
{apiVersion: extensions.istio.io/v1alpha1, kind: WasmPlugin, metadata: {name: p, namespace: shop},
 spec: {url: "file:///a", phase: AUTHN}}
"""
PROXY = sidecar_proxy()
SPOT = Spot(proxy=PROXY, direction=Direction.OUTBOUND, port=80)


def test_without_an_engine() -> None:
    found = workload_extensions(scope(PROXY, MESH, PLUGIN), PROXY, NO_EXTENSIONS)
    assert [each.name for each in found.plugins(SPOT, Phase.AUTHN)] == [
        "extensions.istio.io/wasmplugin/shop.p"
    ]
    assert not found.network_plugins(SPOT, Phase.AUTHN)
    assert not found.http_filters(SPOT)
    assert not found.checks(SPOT)
    assert not found.network_filters(SPOT)
    assert found.tracing(SPOT) is not None
    (log,) = found.tcp_access_logs(SPOT)
    assert not log.HasField("filter")
    assert found.http_access_logs(SPOT) == [log]
    (listener_log,) = found.listener_access_logs(Direction.OUTBOUND)
    assert plain(listener_log)["filter"] == {"response_flag_filter": {"flags": ["NR"]}}
    assert found.tcp_log_interval(SPOT) is None
    assert found.virtual_host(SPOT, None) is NOTHING
    assert found.destination(SPOT, "a.test", None) is NOTHING


def test_with_mixer() -> None:
    """Logs of users have one line per connection, whatever Mixer wants to hear of."""
    where = scope(PROXY, MESH, TELEMETRY)
    found = workload_extensions(where, PROXY, MixerExtensions(where.mesh))
    own, report = found.tcp_access_logs(SPOT)
    assert plain(own)["filter"] == {"log_type_filter": {"types": ["TcpConnectionEnd"]}}
    tags = [each["tag"] for each in plain(report)["typed_config"]["common_config"]["custom_tags"]]
    assert tags == ["telemetry"]
    own, report = found.http_access_logs(SPOT)
    assert "filter" not in plain(own)
    tags = [each["tag"] for each in plain(report)["typed_config"]["common_config"]["custom_tags"]]
    assert tags[-1] == "telemetry"
    assert found.tcp_log_interval(SPOT) == timedelta(seconds=7)
    usual = workload_extensions(scope(PROXY, MESH), PROXY, MixerExtensions(where.mesh))
    assert usual.tcp_log_interval(SPOT) == timedelta(seconds=10)


def test_a_plugin_changes_listeners_only_when_it_comes_or_goes() -> None:
    mesh = world(MESH)
    before = mesh.snapshot(1).view(PROXY).collection(LDS)
    made = world(MESH, PLUGIN).snapshot(1).view(PROXY).collection(LDS)
    changed = PLUGIN.replace("file:///a", "file:///b")
    again = world(MESH, changed).snapshot(1).view(PROXY).collection(LDS)
    assert before.version != made.version == again.version
