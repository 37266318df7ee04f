"""Wasm modules in ECDS responses, and what names them (citadel-and-agent.md B4.4)."""

from __future__ import annotations

from datetime import timedelta

import pytest
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.extensions.filters.http.lua.v3.lua_pb2 import Lua
from envoy.extensions.filters.http.wasm.v3.wasm_pb2 import Wasm as HttpWasm
from envoy.extensions.filters.network.wasm.v3.wasm_pb2 import Wasm as NetworkWasm
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryResponse, DiscoveryResponse

from mast.agent.core.modules import ECDS, Image, Module, localised, wanted

SECRET = "kubernetes://shop/pull"  # noqa: S105 - names one


def extension(kind: type[HttpWasm] | type[NetworkWasm], url: str) -> TypedExtensionConfig:
    config = kind()
    machine = config.config.vm_config
    machine.code.remote.http_uri.uri = url
    machine.code.remote.http_uri.timeout.FromSeconds(7)
    machine.code.remote.sha256 = "ab"
    machine.environment_variables.key_values.update(
        {
            "MINE": "1",
            "ISTIO_META_WASM_IMAGE_PULL_POLICY": "Always",
            "ISTIO_META_WASM_IMAGE_PULL_SECRET": SECRET,
            "ISTIO_META_WASM_PLUGIN_RESOURCE_VERSION": "3",
        }
    )
    return packed(url, config)


def packed(name: str, config: HttpWasm | NetworkWasm | Lua) -> TypedExtensionConfig:
    result = TypedExtensionConfig(name=name)
    result.typed_config.Pack(config)
    return result


def response(*extensions: TypedExtensionConfig, delta: bool) -> bytes:
    if delta:
        found = DeltaDiscoveryResponse(type_url=ECDS, nonce="n")
        for each in extensions:
            found.resources.add(name=each.name, version="1").resource.Pack(each)
        return found.SerializeToString()
    sotw = DiscoveryResponse(type_url=ECDS, nonce="n", version_info="v")
    for each in extensions:
        sotw.resources.add().Pack(each)
    return sotw.SerializeToString()


@pytest.mark.parametrize("delta", [True, False], ids=["delta", "sotw"])
def test_files_take_the_place_of_urls(delta: bool) -> None:
    local = HttpWasm()
    local.config.vm_config.code.local.filename = "/here.wasm"
    script = packed("script", Lua(inline_code="x"))
    data = response(
        extension(HttpWasm, "http://a/b"),
        extension(NetworkWasm, "oci://c/d"),
        packed("local", local),
        script,
        delta=delta,
    )
    how = {"sha256": "ab", "policy": "Always", "secret": "pull", "version": "3"}
    modules = {
        Module(url=url, timeout=timedelta(seconds=7), **how): f"/{number}.wasm"
        for number, url in enumerate(["http://a/b", "oci://c/d"])
    }
    assert wanted(data, delta=delta) == modules.keys()
    changed = localised(data, modules, delta=delta)
    kind = DeltaDiscoveryResponse if delta else DiscoveryResponse
    found = kind.FromString(changed)
    assert found.nonce == "n"
    bodies = [each.resource if delta else each for each in found.resources]
    extensions = [TypedExtensionConfig() for _ in bodies]
    for body, each in zip(bodies, extensions, strict=True):
        assert body.Unpack(each)
    assert [each.name for each in extensions] == ["http://a/b", "oci://c/d", "local", "script"]
    assert extensions[3] == script
    for number, made in enumerate([HttpWasm(), NetworkWasm()]):
        assert extensions[number].typed_config.Unpack(made)
        machine = made.config.vm_config
        assert machine.code.local.filename == f"/{number}.wasm"
        assert dict(machine.environment_variables.key_values) == {"MINE": "1"}
    assert wanted(changed, delta=delta) == frozenset()


def test_no_response() -> None:
    with pytest.raises(ValueError, match="no response about extensions"):
        wanted(b"\xff", delta=True)


DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("oci://a.b/c/d:1", Image(registry="a.b", repository="c/d", tag="1")),
        ("oci://localhost:5000/c", Image(registry="localhost:5000", repository="c")),
        (
            f"oci://localhost/c@{DIGEST}",
            Image(registry="localhost", repository="c", digest=DIGEST),
        ),
        (
            f"oci://a.b/c:v1@{DIGEST}",
            Image(registry="a.b", repository="c", tag="v1", digest=DIGEST),
        ),
        ("oci://filter", Image(registry="registry-1.docker.io", repository="library/filter")),
        ("oci://me/f:2", Image(registry="registry-1.docker.io", repository="me/f", tag="2")),
        ("oci://docker.io/me/f", Image(registry="registry-1.docker.io", repository="me/f")),
        ("http://a.b/c", None),
    ],
)
def test_images(url: str, expected: Image | None) -> None:
    assert Module(url=url).image == expected
    if expected:
        assert expected.reference == (expected.digest or expected.tag)


@pytest.mark.parametrize(
    "url", ["oci://", "oci://a.b/C", "oci://a.b/c:", "oci://a.b/c@sha256:12", "oci://a.b/../c"]
)
def test_what_names_no_image(url: str) -> None:
    with pytest.raises(ValueError, match="want REGISTRY/REPOSITORY"):
        _ = Module(url=url).image


@pytest.mark.parametrize(
    ("module", "always"),
    [
        (Module(url="oci://a.b/c"), True),
        (Module(url="oci://a.b/c:latest"), True),
        (Module(url="oci://a.b/c:v1"), False),
        (Module(url=f"oci://a.b/c@{DIGEST}"), False),
        (Module(url="oci://a.b/c", sha256="0"), False),
        (Module(url="oci://a.b/c", policy="IfNotPresent"), False),
        (Module(url="http://a.b/c"), False),
        (Module(url="http://a.b/c", policy="Always"), True),
    ],
)
def test_pull_policy(module: Module, always: bool) -> None:
    assert module.always is always
