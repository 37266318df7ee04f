"""Wasm modules fetched over HTTP and from a registry, alone and for a real Envoy (B4.4)."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import aiohttp
import pytest
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.filters.http.wasm.v3.wasm_pb2 import Wasm
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as hcm,
)

from mast.agent.core import messages
from mast.agent.core.modules import ECDS, Module
from mast.agent.store.modules import Modules
from mast.agent.store.registry import Registries, Unavailable
from tests.integration.agent.application import Application
from tests.integration.agent.control_plane import ControlPlane
from tests.integration.agent.envoy_config import CDS, LDS, application_cluster, inbound_listener
from tests.integration.agent.running import agent, environment, loopback
from tests.support import wasm_modules
from tests.support.etcd_server import free_port
from tests.support.module_registry import ARCHIVE, INDEX, ModuleRegistry, archived, module_registry

ONE = b"\0asm\1\0\0\0one"
TWO = b"\0asm\1\0\0\0two"


@pytest.fixture
async def registry() -> AsyncIterator[ModuleRegistry]:
    async with module_registry() as running:
        yield running


class Clock:
    """Monotonic seconds that a test moves."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def modules(registry: ModuleRegistry, directory: Path, clock: Clock | None = None) -> Modules:
    def secret(name: str) -> str:
        return {"pull": registry.pull_secret(), "bad": "{}"}[name]

    registries = Registries(secret, frozenset({"127.0.0.1"}), 1 << 20)
    return Modules(
        directory / "cache",
        registries,
        lambda: 0.5,
        retries=1,
        expiry=timedelta(hours=1),
        monotonic=clock or Clock(),
    )


async def content(found: Modules, module: Module) -> bytes:
    return Path((await found.files([module]))[module]).read_bytes()


async def test_http(registry: ModuleRegistry, tmp_path: Path) -> None:
    found = modules(registry, tmp_path)
    registry.files["/a.wasm"] = ONE
    url = f"http://{registry.host}/a.wasm"
    assert await content(found, Module(url=url)) == ONE
    registry.files["/a.wasm"] = TWO
    assert await content(found, Module(url=url, version="2")) == ONE, "present"
    assert await content(found, Module(url=url, version="2", policy="Always")) == TWO
    assert await content(found, Module(url=url, version="2", policy="Always")) == TWO
    assert registry.asked == ["/a.wasm"] * 2
    checksum = hashlib.sha256(TWO).hexdigest()
    assert await content(found, Module(url=url, sha256=checksum)) == TWO
    registry.failures = [503]
    registry.files["/b.wasm"] = ONE
    assert await content(found, Module(url=f"http://{registry.host}/b.wasm")) == ONE


@pytest.mark.parametrize(
    ("path", "more", "reason"),
    [
        ("/none", {}, "status 404"),
        ("/text", {}, "no Wasm module"),
        ("/one", {"sha256": "0" * 64}, "sha256 is"),
        ("/slow", {"timeout": timedelta()}, "TimeoutError"),
    ],
)
async def test_http_that_fails(
    registry: ModuleRegistry, tmp_path: Path, path: str, more: dict[str, str], reason: str
) -> None:
    registry.files |= {"/text": b"text", "/one": ONE, "/slow": ONE}
    found = modules(registry, tmp_path)
    with pytest.raises(Unavailable, match=reason):
        await content(found, Module(url=f"http://{registry.host}{path}", **more))  # type: ignore[arg-type]
    assert not list((tmp_path / "cache").glob("*"))


@pytest.mark.parametrize("login", ["", "me:secret"], ids=["open", "login"])
@pytest.mark.parametrize("basic", [False, True], ids=["token", "basic"])
async def test_registry(registry: ModuleRegistry, tmp_path: Path, login: str, basic: bool) -> None:
    registry.login, registry.basic = login, basic
    found = modules(registry, tmp_path)
    digest = registry.put("v1", ONE)
    registry.put("v2", TWO, ARCHIVE)
    secret = "pull" if login else ""
    for reference, expected in ((":v1", ONE), (":v2", TWO), (f"@{digest}", ONE)):
        url = f"oci://{registry.host}/team/filter{reference}"
        assert await content(found, Module(url=url, secret=secret)) == expected
    by_digest = Module(url=f"oci://{registry.host}/a:v1", sha256=digest[7:], secret=secret)
    assert await content(found, by_digest) == ONE
    index = {"mediaType": INDEX, "manifests": [{"digest": digest}]}
    registry.put_manifest("many", index)
    many = Module(url=f"oci://{registry.host}/team/filter:many", secret=secret)
    assert await content(found, many) == ONE


@pytest.mark.parametrize(
    ("reference", "more", "reason"),
    [
        ("a:none", {}, "status 404"),
        ("a:v1", {"sha256": "0" * 64}, "manifest has sha256"),
        ("a:empty", {}, "no layers"),
        ("a:other", {}, "no plugin.wasm"),
        ("a:broken", {}, "layer"),
        ("A", {}, "want REGISTRY/REPOSITORY"),
        ("a:v1", {"secret": "bad"}, "image pull secret bad"),
    ],
)
async def test_images_that_fail(
    registry: ModuleRegistry, tmp_path: Path, reference: str, more: dict[str, str], reason: str
) -> None:
    registry.put("v1", ONE)
    registry.put_manifest("empty", {"layers": []})
    registry.put("other", archived(ONE, "readme"), "application/x-tar")
    registry.put("broken", b"\x1f\x8bnonsense", "application/x-tar")
    found = modules(registry, tmp_path)
    with pytest.raises(Unavailable, match=reason):
        await content(found, Module(url=f"oci://{registry.host}/{reference}", **more))  # type: ignore[arg-type]


async def test_a_login_that_is_needed(registry: ModuleRegistry, tmp_path: Path) -> None:
    registry.login = "me:secret"
    registry.put("v1", ONE)
    module = Module(url=f"oci://{registry.host}/a:v1")
    with pytest.raises(Unavailable, match="has no token"):
        await content(modules(registry, tmp_path), module)
    registry.basic = True
    with pytest.raises(Unavailable, match="no login"):
        await content(modules(registry, tmp_path), module)


async def test_modules_that_nobody_uses_are_deleted(
    registry: ModuleRegistry, tmp_path: Path
) -> None:
    clock = Clock()
    found = modules(registry, tmp_path, clock)
    registry.files |= {"/a": ONE, "/b": TWO}
    first, second = (Module(url=f"http://{registry.host}/{name}") for name in "ab")
    await content(found, first)
    clock.now += 3601
    await content(found, second)
    await content(found, first)
    assert registry.asked == ["/a", "/b", "/a"]


def plugged(listener: Listener) -> Listener:
    """A listener with the plugin `plugin` in it, by ECDS."""
    manager = hcm.HttpConnectionManager()
    chain = listener.filter_chains[0].filters[0]
    assert chain.typed_config.Unpack(manager)
    plugin = hcm.HttpFilter(name="plugin")
    plugin.config_discovery.config_source.ads.SetInParent()
    plugin.config_discovery.config_source.resource_api_version = 2
    plugin.config_discovery.type_urls.append(
        "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm"
    )
    manager.http_filters.insert(0, plugin)
    chain.typed_config.CopyFrom(messages.packed(manager))
    return listener


def remote(url: str) -> TypedExtensionConfig:
    config = Wasm()
    config.config.name = "plugin"
    config.config.vm_config.runtime = "envoy.wasm.runtime.v8"
    config.config.vm_config.code.remote.http_uri.uri = url
    config.config.vm_config.code.remote.http_uri.cluster = "_"
    config.config.vm_config.code.remote.http_uri.timeout.FromSeconds(10)
    return TypedExtensionConfig(name="plugin", typed_config=messages.packed(config))


@pytest.mark.parametrize("delta", ["true", "false"], ids=["delta", "sotw"])
async def test_envoy_gets_files(
    plane: ControlPlane,
    work: Path,
    application: Application,
    registry: ModuleRegistry,
    delta: str,
) -> None:
    for name in ("one", "two"):
        registry.put(name, wasm_modules.assembled(wasm_modules.marking("x-wasm", name)))
    port, address = free_port(), loopback()
    listener = inbound_listener(address, port, mutual_tls=False)
    plane.discovery.set(CDS, {"application": application_cluster(application.port)})
    plane.discovery.set(LDS, {listener.name: plugged(listener)})
    url = f"oci://{registry.host}/filters"
    plane.discovery.set(ECDS, {"plugin": remote(f"{url}:one")})
    env = environment(
        plane,
        address,
        ISTIO_DELTA_XDS=delta,
        WASM_INSECURE_REGISTRIES="127.0.0.1",
        WASM_HTTP_REQUEST_MAX_RETRIES="0",
    )
    async with agent(work, env) as running:
        await running.ready()

        async def mark() -> str:
            url = f"http://{address}:{port}/"
            async with aiohttp.ClientSession() as client, client.get(url) as answer:
                return answer.headers.get("x-wasm", "")

        assert await mark() == "one"
        plane.discovery.set(ECDS, {"plugin": remote(f"{url}:none")})
        await running.logged("extension.rejected", lambda each: "status 404" in each["error"])
        assert await mark() == "one"
        plane.discovery.set(ECDS, {"plugin": remote(f"{url}:two")})
        await running.logged("module.fetched", lambda _: len(running.events("module.fetched")) > 1)
        while await mark() != "two":
            pass
