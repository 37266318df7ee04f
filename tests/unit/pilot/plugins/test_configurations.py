"""What plugins are, by the names of their ECDS resources (pilot.md K4)."""

from typing import Any

import pytest

from istio.mesh.v1alpha1.proxy_pb2 import ProxyConfig
from mast.common import keys
from mast.pilot.core.model.proxy import ProxyType
from mast.pilot.core.plugins.configurations import configuration
from mast.pilot.core.xds.resources import ECDS, PCDS
from mastapi.trust.v1.trust_pb2 import Root, TrustBundle
from tests.support.mesh_yaml import Put, scope, sidecar_proxy, world
from tests.support.messages import plain
from tests.unit.pilot.plugins.test_plugins import TRAFFIC, WASM, plugin, traffic


def made(name: str, *texts: str) -> dict[str, Any] | None:
    found = configuration(name, scope(sidecar_proxy(), *texts))
    return plain(found) if found else None


def module(*texts: str, name: str = f"{WASM}/shop.a") -> dict[str, Any]:
    found = made(name, *texts)
    assert found is not None
    assert found["name"] == name
    config: dict[str, Any] = found["typed_config"]["config"]
    return config


def test_a_file() -> None:
    text = plugin(
        "a",
        ", pluginName: root, pluginConfig: {b: [1], a: x}, vmConfig: {env:"
        " [{name: A, value: '1'}, {name: H, valueFrom: HOST}]}",
    )
    assert module(text) == {
        "name": "shop.a",
        "root_id": "root",
        "failure_policy": "FAIL_CLOSED",
        "configuration": {
            "@type": "type.googleapis.com/google.protobuf.StringValue",
            "value": '{"a": "x", "b": [1.0]}',
        },
        "vm_config": {
            "runtime": "envoy.wasm.runtime.v8",
            "code": {"local": {"filename": "/a"}},
            "environment_variables": {"key_values": {"A": "1"}, "host_env_keys": ["H"]},
        },
    }


@pytest.mark.parametrize(
    ("strategy", "policy"),
    [
        ("FAIL_CLOSE", "FAIL_CLOSED"),
        ("FAIL_OPEN", "FAIL_OPEN"),
        ("FAIL_RELOAD", "FAIL_RELOAD"),
    ],
)
def test_failures(strategy: str, policy: str) -> None:
    assert module(plugin("a", f", failStrategy: {strategy}"))["failure_policy"] == policy


@pytest.mark.parametrize(
    ("url", "uri"),
    [
        ("https://a.b/c.wasm", "https://a.b/c.wasm"),
        ("oci://a.b/c:1", "oci://a.b/c:1"),
        ("a.b/c:1", "oci://a.b/c:1"),
    ],
)
def test_modules_that_the_agent_fetches(url: str, uri: str) -> None:
    more = ", sha256: ab, imagePullPolicy: Always, imagePullSecret: s"
    machine = module(plugin("a", more).replace("file:///a", url))["vm_config"]
    remote = machine["code"]["remote"]
    assert remote == {"http_uri": {"uri": uri, "cluster": "_", "timeout": "30s"}, "sha256": "ab"}
    assert machine["environment_variables"]["key_values"] == {
        "ISTIO_META_WASM_IMAGE_PULL_POLICY": "Always",
        "ISTIO_META_WASM_IMAGE_PULL_SECRET": "kubernetes://shop/s",
        "ISTIO_META_WASM_PLUGIN_RESOURCE_VERSION": "1",
    }


def test_traffic_extensions() -> None:
    script = traffic("s", "lua: {inlineCode: print()}")
    found = made(f"{TRAFFIC}/shop.s", script)
    assert found is not None
    assert found["typed_config"]["default_source_code"] == {"inline_string": "print()"}
    wasm = traffic("w", "wasm: {url: 'file:///w', failStrategy: FAIL_OPEN}")
    config = module(wasm, name=f"{TRAFFIC}/shop.w")
    assert config["vm_config"]["code"] == {"local": {"filename": "/w"}}


def test_network_plugins_have_names_of_their_own() -> None:
    """A plugin changes its kind: listeners that Envoy drains still ask for the old one by name."""
    network, http = plugin("a", ", type: NETWORK"), plugin("a")
    found = made(f"{WASM}/network/shop.a", network)
    assert found is not None
    assert found["typed_config"]["@type"].endswith("filters.network.wasm.v3.Wasm")
    assert made(f"{WASM}/shop.a", network) is None
    assert made(f"{WASM}/network/shop.a", http) is None


@pytest.mark.parametrize(
    "name",
    [
        f"{WASM}/shop.b",
        f"{WASM}/other.a",
        f"{TRAFFIC}/shop.a",
        "elsewhere/shop.a",
        "shop.a",
        f"{WASM}/shop",
    ],
)
def test_names_of_nothing(name: str) -> None:
    assert made(name, plugin("a"), plugin("a", namespace="other")) is None


def test_views_have_plugins_and_proxy_configs() -> None:
    config = """
{apiVersion: networking.istio.io/v1beta1, kind: ProxyConfig,
 metadata: {name: a, namespace: shop}, spec: {concurrency: 3}}
"""
    snapshot = world(plugin("a"), plugin("r", namespace="istio-system"), config).snapshot(1)
    view = snapshot.view(sidecar_proxy())
    assert sidecar_proxy().type is ProxyType.SIDECAR
    for name in ("shop.a", "istio-system.r"):
        found = view.named(ECDS, f"{WASM}/{name}")
        assert found is not None
        assert found is view.named(ECDS, f"{WASM}/{name}")
    assert view.named(ECDS, f"{WASM}/shop.b") is None
    (resource,) = view.collection(PCDS)
    assert resource.name == "proxyconfig"
    assert ProxyConfig.FromString(resource.body).concurrency.value == 3


def test_proxies_are_told_the_roots_of_their_mesh() -> None:
    mesh = world()
    for domain in ("cluster.local", "elsewhere.test"):
        bundle = TrustBundle(trust_domain=domain)
        bundle.roots.add(pem=f"root of {domain}", state=Root.ACTIVE)
        bundle.roots.add(pem="old", state=Root.TAINTED)
        assert not mesh.apply([Put(f"{keys.TRUST}{domain}", bundle.SerializeToString())])
    (resource,) = mesh.snapshot(1).view(sidecar_proxy()).collection(PCDS)
    told = ProxyConfig.FromString(resource.body).ca_certificates_pem
    assert list(told) == ["root of cluster.local\nold\n"]
