"""WasmPlugins and TrafficExtensions: for whom, where and in which order (pilot.md E10, K4)."""

import pytest

from mast.pilot.core.filters.extensions import Direction, Phase, Spot
from mast.pilot.core.model.proxy import Proxy
from mast.pilot.core.plugins.plugins import Plugins, plugins
from tests.support.mesh_yaml import scope, sidecar_proxy
from tests.support.messages import plain

WASM = "extensions.istio.io/wasmplugin"
TRAFFIC = "extensions.istio.io/trafficextension"


def plugin(name: str, more: str = "", *, namespace: str = "shop") -> str:
    return f"""
{{apiVersion: extensions.istio.io/v1alpha1, kind: WasmPlugin,
 metadata: {{name: {name}, namespace: {namespace}}}, spec: {{url: "file:///a" {more}}}}}
"""


def traffic(name: str, spec: str) -> str:
    return f"""
{{apiVersion: extensions.istio.io/v1alpha1, kind: TrafficExtension,
 metadata: {{name: {name}, namespace: shop}}, spec: {{{spec}}}}}
"""


def found(*texts: str, proxy: Proxy | None = None) -> Plugins:
    whose = proxy or sidecar_proxy(labels={"app": "web"})
    return plugins(scope(whose, *texts), whose)


def spot(direction: Direction = Direction.OUTBOUND, port: int = 80) -> Spot:
    return Spot(proxy=sidecar_proxy(), direction=direction, port=port)


def names(plugged: Plugins, where: Spot | None = None) -> list[str]:
    return [
        each.name.rpartition("/")[2]
        for phase in Phase
        for each in plugged.http(where or spot(), phase)
    ]


def test_phases_priorities_and_names() -> None:
    plugged = found(
        plugin("b"),
        plugin("a"),
        plugin("c", ", priority: 5"),
        plugin("low", ", priority: -1"),
        plugin("stats", ", phase: STATS, priority: -9"),
        plugin("authz", ", phase: AUTHZ"),
        plugin("authn", ", phase: AUTHN"),
        traffic("script", "phase: AUTHN, priority: 1, lua: {inlineCode: x}"),
    )
    assert names(plugged) == [
        *("shop.script", "shop.authn", "shop.authz", "shop.stats"),
        *("shop.c", "shop.a", "shop.b", "shop.low"),
    ]
    assert [each.name for each in plugged.http(spot(), Phase.AUTHN)] == [
        f"{TRAFFIC}/shop.script",
        f"{WASM}/shop.authn",
    ]


@pytest.mark.parametrize(
    ("match", "direction", "port", "expected"),
    [
        ("[]", Direction.INBOUND, 80, True),
        ("[{mode: CLIENT}]", Direction.OUTBOUND, 80, True),
        ("[{mode: CLIENT}]", Direction.INBOUND, 80, False),
        ("[{mode: SERVER}]", Direction.INBOUND, 80, True),
        ("[{mode: CLIENT_AND_SERVER}]", Direction.INBOUND, 80, True),
        ("[{ports: [{number: 80}, {number: 81}]}]", Direction.OUTBOUND, 81, True),
        ("[{ports: [{number: 80}]}]", Direction.OUTBOUND, 81, False),
        ("[{mode: SERVER}, {ports: [{number: 80}]}]", Direction.OUTBOUND, 80, True),
        ("[{mode: SERVER, ports: [{number: 80}]}]", Direction.OUTBOUND, 80, False),
    ],
)
def test_matches(match: str, direction: Direction, port: int, expected: bool) -> None:
    plugged = found(plugin("a", f", match: {match}"))
    assert bool(names(plugged, spot(direction, port))) is expected


def test_attachment() -> None:
    texts = [
        plugin("root", namespace="istio-system"),
        plugin("root-web", ", selector: {matchLabels: {app: web}}", namespace="istio-system"),
        plugin("db", ", selector: {matchLabels: {app: db}}"),
        plugin("elsewhere", namespace="other"),
        plugin("gateway", GATEWAY.format(name="edge")),
        plugin("service", ", targetRefs: [{kind: Service, name: web}]"),
    ]
    assert names(found(*texts)) == ["istio-system.root", "istio-system.root-web"]
    edge = sidecar_proxy(labels={"gateway.networking.k8s.io/gateway-name": "edge"})
    assert names(found(*texts, proxy=edge)) == ["istio-system.root", "shop.gateway"]


GATEWAY = ", targetRefs: [{{group: gateway.networking.k8s.io, kind: Gateway, name: {name}}}]"


def test_network_plugins() -> None:
    plugged = found(
        plugin("bytes", ", type: NETWORK, phase: AUTHZ"),
        traffic("own", "wasm: {url: 'file:///a', type: NETWORK}"),
    )
    assert names(plugged) == []
    (authz,) = plugged.network(spot(), Phase.AUTHZ)
    assert authz.name == f"{WASM}/network/shop.bytes"
    (last,) = plugged.network(spot(), Phase.LAST)
    assert last.name == f"{TRAFFIC}/network/shop.own"
    assert plain(authz)["config_discovery"]["type_urls"] == [
        "type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC",
        "type.googleapis.com/envoy.extensions.filters.network.wasm.v3.Wasm",
    ]


def test_only_plugins_that_fail_open_have_a_default() -> None:
    """Without one Envoy answers 500 until it has the plugin; it waits 15 s first (B16)."""
    plugged = found(
        plugin("closed"),
        plugin("opened", ", failStrategy: FAIL_OPEN"),
        plugin("reloads", ", failStrategy: FAIL_RELOAD"),
    )
    sources = {
        each.name.rpartition(".")[2]: plain(each)["config_discovery"]
        for each in plugged.http(spot(), Phase.LAST)
    }
    assert [name for name, each in sources.items() if "default_config" in each] == ["opened"]
    assert sources["closed"]["config_source"] == {"ads": {}, "resource_api_version": "V3"}


def test_equal_for_equal_places() -> None:
    """What a plugin is comes by ECDS: listeners do not change with it."""
    assert found(plugin("a")) == found(plugin("a", ", pluginConfig: {x: 1}, sha256: ab"))
    assert found(plugin("a")) != found(plugin("a", ", priority: 1"), plugin("b"))
