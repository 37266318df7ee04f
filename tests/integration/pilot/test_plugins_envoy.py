"""WasmPlugins and TrafficExtensions in a real Envoy, by ECDS (pilot.md K4, acceptance 30)."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support import wasm_modules
from tests.support.ads_server import load, until
from tests.support.etcd_server import free_port
from tests.support.http_probe import dial, echo_server
from tests.support.meshed_envoy import Meshed, meshed_envoy, service

LUA = "function envoy_on_response(handle) handle:headers():add('x-lua', '{value}') end"

INGRESS = """
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: own, namespace: shop}}
spec:
  ingress:
  - port: {{number: {port}, name: tcp, protocol: TCP}}
    bind: 127.0.0.1
    captureMode: NONE
    defaultEndpoint: 127.0.0.1:{app}
"""


def plugin(name: str, module: Path, more: str = "") -> str:
    return f"""
apiVersion: extensions.istio.io/v1alpha1
kind: WasmPlugin
metadata: {{name: {name}, namespace: shop}}
spec: {{url: "file://{module}" {more}}}
"""


def script(value: str, name: str = "script") -> str:
    return f"""
apiVersion: extensions.istio.io/v1alpha1
kind: TrafficExtension
metadata: {{name: {name}, namespace: shop}}
spec:
  match: [{{mode: CLIENT}}]
  lua: {{inlineCode: "{LUA.format(value=value)}"}}
"""


@pytest.fixture
def modules(tmp_path: Path) -> Path:
    texts = {
        "one": wasm_modules.marking("x-wasm", "one"),
        "two": wasm_modules.marking("x-wasm", "two"),
        "config": wasm_modules.telling_configuration("x-config"),
        "refusing": wasm_modules.refusing_to_start(),
        "bytes": wasm_modules.counting_bytes(),
    }
    for name, text in texts.items():
        (tmp_path / f"{name}.wasm").write_bytes(wasm_modules.assembled(text))
    return tmp_path


@asynccontextmanager
async def site(directory: Path, *texts: str, delta: bool = True) -> AsyncIterator[Meshed]:
    async with echo_server("web") as backend:
        mesh = (service("web", backend.port), *texts)
        async with meshed_envoy(directory, *mesh, delta=delta) as running:
            yield running


async def header(running: Meshed, name: str) -> str:
    reply = await running.get("web.test")
    return f"{reply.status} {reply.header(name)}"


@pytest.mark.parametrize("delta", [True, False], ids=["delta", "sotw"])
async def test_plugins_come_change_and_go_under_load(modules: Path, delta: bool) -> None:
    async with site(modules, delta=delta) as running:
        envoy = running.envoy
        async with load(running.port, "web.test"):
            await running.apply(plugin("marks", modules / "two.wasm"))
            await until(lambda: _is(running, "x-wasm", "200 two"))
            before = await envoy.stat("listener_manager.lds.update_success")
            await running.apply(plugin("marks", modules / "one.wasm"))
            await until(lambda: _is(running, "x-wasm", "200 one"))
            assert await envoy.stat("listener_manager.lds.update_success") == before
            await running.remove(plugin("marks", modules / "one.wasm"))
            await until(lambda: _is(running, "x-wasm", "200 "))
        assert await envoy.stat("listener_manager.total_listeners_draining") == 0
        modified = await envoy.stat("listener_manager.listener_modified")
        assert modified == await envoy.stat("listener_manager.listener_in_place_updated") > 0
        assert await envoy.stat("listener_manager.lds.update_rejected") == 0


async def test_slots_and_configuration(modules: Path) -> None:
    config = ', pluginConfig: {b: [1, "x"], a: true}'
    texts = [
        plugin("low", modules / "one.wasm", ", phase: AUTHN, priority: 1"),
        plugin("high", modules / "two.wasm", ", phase: AUTHN, priority: 10"),
        plugin("told", modules / "config.wasm", f", phase: STATS {config}"),
        plugin("other-side", modules / "one.wasm", ", match: [{mode: SERVER}]"),
        plugin("other-port", modules / "one.wasm", ", match: [{ports: [{number: 81}]}]"),
        script("yes"),
    ]
    async with site(modules, *texts) as running:
        reply = await running.get("web.test")
    # Responses pass the filters backwards.
    assert reply.header("x-wasm") == "one,two"
    assert json.loads(reply.header("x-config")) == {"a": True, "b": [1, "x"]}
    assert reply.header("x-lua") == "yes"


async def test_a_bad_module_is_rejected_alone(modules: Path) -> None:
    (modules / "broken.wasm").write_bytes(b"no module")
    texts = [
        plugin("broken", modules / "broken.wasm", ", failStrategy: FAIL_OPEN"),
        script("works"),
    ]
    async with site(modules, *texts) as running:
        await until(lambda: _is(running, "x-lua", "200 works"), seconds=40)
        assert running.ads.metric("pilot_total_xds_rejects") >= 1
        assert await running.envoy.stat("listener_manager.lds.update_rejected") == 0
        await running.apply(plugin("broken", modules / "two.wasm"))
        await until(lambda: _is(running, "x-wasm", "200 two"))


async def _is(running: Meshed, name: str, expected: str) -> bool:
    return await header(running, name) == expected


async def test_network_plugins(modules: Path) -> None:
    plugged = plugin("bytes", modules / "bytes.wasm", ", type: NETWORK")
    async with echo_server("app") as app:
        ingress = INGRESS.format(port=(port := free_port()), app=app.port)
        async with site(modules, plugged, ingress) as running, dial(port) as (reader, writer):
            writer.write(b"GET / HTTP/1.1\r\nhost: app\r\n\r\n")
            assert b"200" in await reader.readline()
            assert await running.envoy.stat("wasm.envoy.wasm.runtime.v8.created") > 0
            await running.apply(plugin("bytes", modules / "refusing.wasm", ", type: NETWORK"))
            await until(lambda: running.ads.metric("pilot_total_xds_rejects") >= 1)
