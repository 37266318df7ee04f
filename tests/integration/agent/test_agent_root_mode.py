"""A workload in its own network namespace: agent and Envoy as user 1337, everything captured.

This is how `mastctl run` starts workloads as root, and how a pod works.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from aiohttp import web

from istio.networking.nds.v1.nds_pb2 import NameTable
from mast.agent.core import ads, messages
from tests.integration.agent import capturing_envoy, mirror
from tests.integration.agent.control_plane import ControlPlane, control_plane
from tests.integration.agent.envoy_config import CDS, LDS
from tests.integration.agent.namespaces import APPLICATION, PROXY, PYTHON, Link, linked
from tests.integration.agent.running import RunningAgent, agent, environment, furnish, gone

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root and network namespaces"),
]

AGENT = str(Path(sys.executable).with_name("mast-agent"))
FETCH = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1]).read().decode())"


@pytest.fixture
def link() -> Iterator[Link]:
    with linked(to_host=True) as made:
        yield made


@pytest.fixture
async def plane(tmp_path: Path, link: Link) -> AsyncIterator[ControlPlane]:
    async with control_plane(tmp_path, host=link.peer.ipv4) as running:
        yield running


@pytest.fixture
async def service(link: Link) -> AsyncIterator[int]:
    """A server outside the namespace that tells by which name it was asked."""

    async def tell(request: web.Request) -> web.Response:
        return web.Response(text=f"{request.host} {request.headers.get('x-proxied', 'direct')}")

    app = web.Application()
    app.router.add_get("/", tell)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, link.peer.ipv4, 0).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def configure(plane: ControlPlane, link: Link, port: int) -> None:
    """Capture listeners, a service at the VIP that stands outside, and its name."""
    resources = capturing_envoy.bootstrap(link).static_resources
    clusters = {each.name: each for each in resources.clusters}
    address = clusters["service"].load_assignment.endpoints[0].lb_endpoints[0].endpoint.address
    address.CopyFrom(messages.socket(link.peer.ipv4, port))
    plane.discovery.set(CDS, dict(clusters))
    plane.discovery.set(LDS, {each.name: each for each in resources.listeners})
    table = NameTable()
    table.table["web.example.com"].ips.append(link.vip)
    plane.discovery.set(ads.NDS, {"": table})


def proxy_user() -> int:
    """User 1337 if it can run this installation, else root with group 1337 (as mastctl does)."""
    line = ("setpriv", f"--reuid={PROXY}", f"--regid={PROXY}", "--clear-groups", AGENT, "version")
    return PROXY if subprocess.run(line, capture_output=True, cwd="/").returncode == 0 else 0


async def test_captured_workload(plane: ControlPlane, link: Link, service: int) -> None:
    user = proxy_user()
    configure(plane, link, service)
    work = link.directory / "work"
    furnish(work, plane)
    for path in (work, *work.rglob("*")):
        shutil.chown(path, user, PROXY)
    env = environment(
        plane,
        link.workload.ipv4,
        ISTIO_META_INTERCEPTION_MODE="REDIRECT",
        ISTIO_META_DNS_CAPTURE="true",
        ISTIOD_SAN="istiod.istio-system.svc",
    )
    del env["MAST_BIND_ADDRESS"]
    flags = ("-b", "*", "-d", "15090,15021,15020", "-i", "*", "--redirect-dns")
    flags += ("-u", str(user) if user else "")
    link.workload.run(AGENT, "istio-iptables", *flags, "--run-validation")
    async with agent(work, env, prefix=link.workload.inside(uid=user, gid=PROXY)) as running:
        await running.ready()
        assert plane.discovery.streams[0].identities == (
            "spiffe://cluster.local/ns/shop/sa/reviews",
        )
        # Out: the name from the agent, the address captured, the service behind it reached.
        answer = await inside(link, "-c", FETCH, "http://web.example.com/", uid=APPLICATION)
        assert answer == "web.example.com direct"
        clusters = await inside(link, "-c", FETCH, "http://127.0.0.1:15000/clusters")
        assert f"service::{link.peer.ipv4}:{service}::cx_total::1" in clusters
        # In: the program sees the proxy's own source address.
        server = await asyncio.create_subprocess_exec(
            *link.workload.inside(PYTHON, link.program(mirror.__file__), "8080", uid=APPLICATION),
            stdout=asyncio.subprocess.PIPE,
        )
        assert server.stdout is not None
        assert await server.stdout.readline() == b"ready\n"
        reader, writer = await asyncio.open_connection(link.workload.ipv4, 8080)
        assert await reader.readline() == b"127.0.0.6\n"
        writer.close()
        server.kill()
        await server.wait()
        envoy = await running.envoy_pid()
        assert Path(f"/proc/{envoy}").stat().st_uid == user
        await killed(running)
        await gone(envoy)


async def killed(running: RunningAgent) -> None:
    """Kill the agent with a signal that it cannot handle."""
    running.process.send_signal(signal.SIGKILL)
    await running.process.wait()


async def inside(link: Link, *arguments: str, uid: int = 0) -> str:
    """Output of Python in the workload's namespace."""
    process = await asyncio.create_subprocess_exec(
        *link.workload.inside(PYTHON, *arguments, uid=uid),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(20):
        output, complaint = await process.communicate()
    assert process.returncode == 0, complaint.decode()
    return output.decode().strip()
