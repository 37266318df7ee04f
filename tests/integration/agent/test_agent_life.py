"""The life of one agent with a real Envoy: ready, drained, killed (B6, B7, B10, D11-D15)."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
from pathlib import Path

import aiohttp
import pytest
from google.protobuf.json_format import MessageToDict

from tests.integration.agent.application import Application
from tests.integration.agent.control_plane import ControlPlane
from tests.integration.agent.envoy_config import CDS, LDS, application_cluster, inbound_listener
from tests.integration.agent.running import (
    RunningAgent,
    agent,
    alive,
    environment,
    furnish,
    gone,
    loopback,
)
from tests.support.pki import Ca

SPIFFE_ID = "spiffe://cluster.local/ns/shop/sa/reviews"


async def serve_inbound(
    plane: ControlPlane, running: RunningAgent, application: Application
) -> None:
    """Have Envoy serve the application on port 9080 in plaintext."""
    listener = inbound_listener(running.address, 9080, mutual_tls=False)
    plane.discovery.set(CDS, {"application": application_cluster(application.port)})
    plane.discovery.set(LDS, {listener.name: listener})
    await running.until(9080, "/", lambda status, _: status == 200)


async def test_ready_only_when_configured(plane: ControlPlane, work: Path) -> None:
    plane.discovery.silence(LDS)
    async with agent(work, environment(plane, loopback())) as running:
        await running.until(
            15020,
            "/healthz/ready",
            lambda status, text: status == 503 and "CDS 1 accepted, 0 rejected, LDS 0" in text,
        )
        assert (await running.get(15021, "/healthz/ready"))[0] == 0, "the port must be closed"
        plane.discovery.speak(LDS)
        await running.ready()
        assert (await running.get(15020, "/healthz/ready")) == (200, "ready\n")


async def test_control_plane_sees_identity_and_node(plane: ControlPlane, work: Path) -> None:
    env = environment(plane, loopback(), ISTIO_META_AUTO_REGISTER_GROUP="reviews-v1")
    async with agent(work, env) as running:
        await running.ready()
        assert plane.discovery.streams[0].identities == (SPIFFE_ID,)
        node = plane.discovery.requests[0].node
        assert node.id == f"sidecar~{running.address}~reviews-1.shop~shop.svc.cluster.local"
        metadata = MessageToDict(node.metadata)
        assert metadata["AUTO_REGISTER_GROUP"] == "reviews-v1"
        assert metadata["INSTANCE_IPS"] == running.address
        assert metadata["CLUSTER_ID"] == "laptop"


async def test_metrics_merge(plane: ControlPlane, work: Path, application: Application) -> None:
    """The agent's, Envoy's, the application's; a page that is dead fails no other (D16)."""
    pages = [{"port": "9081", "path": "/metrics"}, {"port": "9080", "path": "/metrics"}]
    places = {"9080": f"127.0.0.1:{application.port}", "9081": "127.0.0.1:9"}
    env = environment(
        plane,
        loopback(),
        ISTIO_PROMETHEUS_ANNOTATIONS=json.dumps({"scrape": "true", "targets": pages}),
        ISTIO_META_APP_ENDPOINTS=json.dumps(places),
    )
    async with agent(work, env) as running:
        await running.ready()
        status, text = await running.get(15020, "/stats/prometheus")
        assert status == 200
        assert 'istio_agent_cert_expiry_seconds{resource_name="default"}' in text
        assert "envoy_server_live" in text
        assert text.endswith("app_requests_total 7\n# EOF\n")


async def test_sigterm_drains_and_leaves_nothing(
    plane: ControlPlane, work: Path, application: Application
) -> None:
    async with agent(work, environment(plane, loopback())) as running:
        await serve_inbound(plane, running, application)
        envoy = await running.envoy_pid()
        async with asyncio.TaskGroup() as tasks:
            url = f"http://{running.address}:9080/slow"
            request = tasks.create_task(_status(running.http, url))
            await application.begun.wait()
            running.process.send_signal(signal.SIGTERM)
            await running.until(15020, "/healthz/ready", _is_terminating)
            application.released.set()
        assert request.result() == 200, "a request under way is finished"
        assert await running.ended() == 0
        await running.logged("envoy.draining")
        await gone(envoy)
        assert not (work / "etc/istio/proxy/XDS").exists()
        assert not (work / "etc/istio/proxy/envoy-rev.json").exists()
        assert not (work / "var/run/secrets/workload-spiffe-uds/socket").exists()


def _is_terminating(status: int, text: str) -> bool:
    return status == 503 and "terminating" in text


async def _status(http: aiohttp.ClientSession, url: str) -> int:
    async with http.get(url) as response:
        await response.read()
        return response.status


async def test_exit_on_zero_waits_for_a_long_request(
    plane: ControlPlane, work: Path, application: Application
) -> None:
    env = environment(
        plane,
        loopback(),
        EXIT_ON_ZERO_ACTIVE_CONNECTIONS="true",
        MINIMUM_DRAIN_DURATION="100ms",
    )
    async with agent(work, env) as running:
        await serve_inbound(plane, running, application)
        async with asyncio.TaskGroup() as tasks:
            url = f"http://{running.address}:9080/slow"
            request = tasks.create_task(_status(running.http, url))
            await application.begun.wait()
            running.process.send_signal(signal.SIGTERM)
            await running.logged("envoy.connections", lambda each: each["active"] > 0)
            assert running.process.returncode is None
            application.released.set()
        assert request.result() == 200
        await running.http.close()  # the kept-alive connection is the last one
        assert await running.ended() == 0


async def test_kill_9_takes_envoy_along(plane: ControlPlane, work: Path) -> None:
    async with agent(work, environment(plane, loopback())) as running:
        await running.ready()
        envoy = await running.envoy_pid()
        running.process.kill()
        await gone(envoy)


async def test_exits_when_envoy_exits(plane: ControlPlane, work: Path) -> None:
    async with agent(work, environment(plane, loopback())) as running:
        await running.ready()
        os.kill(await running.envoy_pid(), signal.SIGSEGV)
        assert await running.ended() == 128 + signal.SIGSEGV


async def test_supervisor_restarts_envoy(plane: ControlPlane, work: Path) -> None:
    async with agent(work, environment(plane, loopback(), MAST_SUPERVISE="true")) as running:
        await running.ready()
        first = await running.envoy_pid()
        os.kill(first, signal.SIGKILL)
        second = await running.logged("envoy.started", lambda each: each["pid"] != first)
        await running.ready()
        assert alive(int(second["pid"]))


@pytest.mark.parametrize("path", ["/quitquitquit", "/drain"])
async def test_orders_over_http(plane: ControlPlane, work: Path, path: str) -> None:
    async with agent(work, environment(plane, loopback())) as running:
        await running.ready()
        assert (await running.call("GET", 15020, path))[0] == 405
        assert (await running.call("POST", 15020, path))[0] == 200
        if path == "/drain":
            await running.logged("envoy.draining")
            assert running.process.returncode is None, "draining does not end the agent"
            running.process.send_signal(signal.SIGTERM)
        assert await running.ended() == 0
        assert len(running.events("envoy.draining")) == (1 if path == "/drain" else 0)


async def test_profiles(plane: ControlPlane, work: Path) -> None:
    """What the agent is doing, for callers on this machine (B7)."""
    async with agent(work, environment(plane, loopback(), DISABLE_ENVOY="true")) as running:
        await running.until(15020, "/healthz/ready", lambda status, _: status == 200)
        status, stacks = await running.get(15020, "/debug/pprof/profile?seconds=0.2")
        assert status == 200
        assert re.search(r"^[^ ]*;\S*:Runner.run;\S* \d+$", stacks, re.MULTILINE), stacks
        _, activities = await running.get(15020, "/debug/pprof/goroutine")
        assert "thread MainThread" in activities
        assert "task roots\n" in activities
        _, objects = await running.get(15020, "/debug/pprof/heap")
        assert re.search(r"^\d+ builtins\.dict$", objects, re.MULTILINE)
        assert "proxy\0sidecar" in (await running.get(15020, "/debug/pprof/cmdline"))[1]
        assert "goroutine" in (await running.get(15020, "/debug/pprof/"))[1]
        assert (await running.get(15020, "/debug/pprof/mutex"))[0] == 404
        assert (await running.get(15020, "/debug/pprof/profile?seconds=x"))[0] == 400


async def test_starts_without_ca_and_recovers(plane: ControlPlane, work: Path) -> None:
    plane.certificates.down = True
    async with agent(work, environment(plane, loopback())) as running:
        await running.logged("certificate.refused")
        await running.envoy_pid()
        plane.certificates.down = False
        await running.ready()
        await running.logged("secret.published", lambda each: each["name"] == "default")
        assert plane.certificates.callers == [()], "the token introduced it"
        _, page = await running.get(15020, "/metrics")
        counted = {
            what: int(number)
            for what, number in re.findall(r'istio_agent_num_(\w+){request_type="csr"} (\d+)', page)
        }
        assert counted["failed_outgoing_requests"] >= 1
        assert counted["outgoing_retries"] >= 4, "five attempts in all (B2.3)"
        assert counted["outgoing_requests"] > counted["failed_outgoing_requests"]


async def test_streams_follow_pilot(
    plane: ControlPlane, work: Path, application: Application
) -> None:
    """Pilot is lost and comes back: Envoy serves on, resumes, and gets what changed (D14)."""
    async with agent(work, environment(plane, loopback())) as running:
        await serve_inbound(plane, running, application)
        plane.discovery.down = True
        plane.discovery.end_streams()
        await running.logged("ads.disconnected")
        assert (await running.get(9080, "/"))[0] == 200
        assert (await running.get(15020, "/healthz/ready"))[0] == 200, "ready stays"
        seen = len(plane.discovery.requests)
        plane.discovery.down = False
        again = await plane.discovery.asked(lambda each: each.node.id != "", after=seen)
        assert again.initial_resource_versions, "Envoy tells what it has"
        listener = inbound_listener(running.address, 9081, mutual_tls=False)
        plane.discovery.set(LDS, {listener.name: listener})
        await running.until(9081, "/", lambda status, _: status == 200)


async def test_new_roots_dial_pilot_anew(plane: ControlPlane, work: Path) -> None:
    """A changed file of roots ends the stream, an equal one that was written again does not."""
    async with agent(work, environment(plane, loopback())) as running:
        await running.ready()
        roots = work / "var/run/secrets/istio/root-cert.pem"
        roots.write_bytes(b"the same, otherwise\n" + plane.root.pem)
        await running.logged("roots.unchanged")
        assert not running.events("ads.disconnected")
        seen = len(plane.discovery.requests)
        roots.write_bytes(plane.root.pem + Ca.root("another").pem)
        await running.logged("roots.changed")
        await running.logged(
            "ads.disconnected", lambda each: each["detail"] == "the roots for Pilot changed"
        )
        again = await plane.discovery.asked(lambda each: each.node.id != "", after=seen)
        assert again.initial_resource_versions is not None
        assert len(running.events("roots.changed")) == 1


async def test_unusable_settings_end_at_once(plane: ControlPlane, tmp_path: Path) -> None:
    directory = tmp_path / "elsewhere"
    furnish(directory, plane)
    env = environment(plane, loopback(), PROXY_CONFIG='{"statusPort": "many"}')
    async with agent(directory, env) as running:
        assert await running.ended() == 2
        (line,) = running.events("raw")
        assert "ProxyConfig of PROXY_CONFIG" in line["line"]
        assert "statusPort" in line["line"]
