"""A newcomer's first steps on one machine, in every mode this machine can."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from mast.cli.demo.stage import sum_of
from mast.cli.local.home import LOOPBACK
from mast.cli.local.processes import Process, gone
from tests.support.credentials import secret_yaml
from tests.support.http_probe import EchoServer, serving
from tests.support.laptop import BOOKINFO, MODES, Laptop, laptop, mesh
from tests.support.pki import Ca
from tests.support.tls_contexts import tls_client, tls_server
from tests.support.until import until

pytestmark = pytest.mark.timeout(300)

HOST = "details.test"
MIXERS = ("policy-1", "policy-2", "telemetry-1")
INGRESS = Path(__file__).with_name("ingress.yaml")
GATEWAY_API = Path(__file__).with_name("gateway-api.yaml")
ASK = (
    "import urllib.request, sys;"
    "print(urllib.request.urlopen('http://details:9080/details/7', timeout=10).read().decode())"
)

ELSEWHERE = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: elsewhere, namespace: default}
spec:
  hosts: [elsewhere.test]
  location: MESH_EXTERNAL
  resolution: STATIC
  ports: [{number: 443, name: tls, protocol: TLS}]
  endpoints: [{address: 127.0.0.1, ports: {tls: PORT}}]
"""
GHOST = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: ghost, namespace: default}
spec:
  hosts: [ghost.test]
  http: [{route: [{destination: {host: ghost}, weight: 1}, {destination: {host: details}}]}]
"""
ASK_SECURELY = (
    "import ssl, sys, urllib.request;"
    "context = ssl.create_default_context(cafile=sys.argv[1]);"
    "context.verify_flags &= ~getattr(ssl, 'VERIFY_X509_STRICT', 0);"
    "reply = urllib.request.urlopen('https://elsewhere.test/', context=context, timeout=10);"
    "print(reply.headers['x-upstream'])"
)
"""Only the mesh knows the name: there is no such host."""


@pytest.fixture(params=MODES)
async def up(request: pytest.FixtureRequest) -> AsyncIterator[Laptop]:
    async with mesh(request.param) as machine:
        yield machine


@pytest_asyncio.fixture(
    params=[pytest.param(each, marks=pytest.mark.xdist_group(f"laptop-{each}")) for each in MODES],
    scope="module",
    loop_scope="module",
)
async def shared(request: pytest.FixtureRequest) -> AsyncIterator[Laptop]:
    """A mesh for several tests, each of which ends the workloads that it runs."""
    async with mesh(request.param) as machine:
        yield machine


async def ended(process: asyncio.subprocess.Process, number: signal.Signals) -> int:
    process.send_signal(number)
    async with asyncio.timeout(40):
        await process.communicate()
    return process.returncode or 0


async def call_securely(machine: Laptop, scratch: Path) -> None:
    """HTTPS of a program without capture leaves through its sidecar too (pilot.md E8)."""
    ca = Ca.root()
    (scratch / "roots.pem").write_bytes(ca.pem)
    own = tls_server(ca.leaf(dns=["elsewhere.test"]))
    async with serving(EchoServer("elsewhere").serve, own) as port:
        (scratch / "elsewhere.yaml").write_text(ELSEWHERE.replace("PORT", str(port)))
        applied = await machine.mastctl("apply", "-f", str(scratch / "elsewhere.yaml"))
        assert applied.status == 0, applied.err
        program = (sys.executable, "-c", ASK_SECURELY, str(scratch / "roots.pem"))
        client = await machine.mastctl("run", "--service", "client", "--", *program)
        assert (client.status, client.out.strip()) == (0, "elsewhere"), client.err


async def test_run_serve_call_and_leave_nothing(up: Laptop, tmp_path: Path) -> None:
    details = await up.run("details", "details", "--port", "9080")
    client = await up.mastctl("run", "--service", "client", "--", sys.executable, "-c", ASK)
    assert client.status == 0, client.err
    answer = json.loads(client.out)
    assert answer["id"] == "7"
    assert "spiffe://cluster.local/ns/default/sa/client" in answer["caller"]
    if up.mode == LOOPBACK:
        await call_securely(up, tmp_path)

    status = json.loads((await up.mastctl("status", "-o", "json")).out)
    assert {s["name"] for s in status["services"] if s["ready"]} == {
        "etcd",
        "citadel",
        "galley",
        "pilot",
        "mixer",
    }
    assert [w["name"] for w in status["workloads"]] == ["details-v1-1"]
    proxies = (await up.mastctl("proxy-status", "-v")).out
    assert "details-v1-1.default" in proxies
    assert "STALE" not in proxies
    assert json.loads((await up.mastctl("get", "se", "details", "-o", "json")).out)["spec"][
        "hosts"
    ] == ["details.default.svc.cluster.local"]

    assert await ended(details, signal.SIGINT) == 130
    assert json.loads((await up.mastctl("status", "-o", "json")).out)["workloads"] == []
    down = await up.mastctl("down")
    assert down.status == 0, down.err
    assert await up.leftovers() == []


async def test_programs_end_and_are_ended_and_a_second_up_harms_nothing(shared: Laptop) -> None:
    """A program's exit status is that of run."""
    line = ("run", "--service", "job", "--", sys.executable, "-c", "raise SystemExit(7)")
    assert (await shared.mastctl(*line)).status == 7
    await detached_workloads_are_stopped_by_name(shared)
    second = await shared.mastctl("up", "--mode", shared.mode)
    assert second.status == 1
    assert "already running" in second.err
    assert (await shared.mastctl("status")).status == 0


async def detached_workloads_are_stopped_by_name(up: Laptop) -> None:
    program = str(BOOKINFO / "apps" / "details.py")
    line = ("--service", "details", "--port", "9080", "--", sys.executable, program)
    started = await up.mastctl("run", "-d", *line)
    assert started.status == 0, started.err
    assert "mastctl stop details-v1-1" in started.err
    wrong = await up.mastctl("stop", "details-v1-9")
    assert wrong.status == 1
    assert "details-v1-1" in wrong.err
    assert (await up.mastctl("stop", "details-v1-1")).status == 0
    assert up.home.workloads() == []


async def test_a_gateway_lets_the_host_in(shared: Laptop, tmp_path: Path) -> None:
    """Plain, and over TLS with a certificate that nobody else ever sees."""
    details = await shared.run("details", "details", "--port", "9080")
    ports = ("--port", "80:8080", "--port", "443:8443/https")
    started = await shared.mastctl("run", "--gateway", "ingressgateway", *ports, "-d")
    assert started.status == 0, started.err
    ca = Ca.root()
    pair = ca.leaf(dns=["details.test"])
    secret = tmp_path / "secret.yaml"
    secret.write_text(secret_yaml("details", "default", tls_crt=pair.chain, tls_key=pair.key))
    applied = await shared.mastctl("apply", "-f", str(INGRESS), "-f", str(secret))
    assert applied.status == 0, applied.err

    (gateway,) = [w for w in shared.home.workloads() if w.service == "ingressgateway"]
    assert await served(f"http://{gateway.address}:8080/details/7") == "7"
    async with aiohttp.ClientSession() as client:
        async with client.get(f"http://{gateway.address}:8080/elsewhere") as answer:
            assert answer.status == 404
    assert await served(f"https://{gateway.address}:8443/details/7", tls_client(ca)) == "7"
    logs = (path.read_text(errors="replace") for path in shared.home.path("logs").iterdir())
    assert not any("PRIVATE KEY" in each for each in logs)
    await analyze_what_runs(shared, tmp_path)
    stopped = await shared.mastctl("stop", gateway.name)
    assert stopped.status == 0, stopped.err
    assert await ended(details, signal.SIGINT) == 130


async def analyze_what_runs(up: Laptop, tmp_path: Path) -> None:
    """What the mesh has names nothing that is not there; a file beside it may."""
    ghost = tmp_path / "ghost.yaml"
    ghost.write_text(GHOST)
    ended = await up.mastctl("analyze", "--use-kube", "-A", "-o", "json", str(ghost))
    assert ended.status == 0, ended.err
    told = [m for m in json.loads(ended.out) if m["level"] == "Error"]
    assert [(m["code"], m["origin"], m["reference"]) for m in told] == [
        ("IST0101", "VirtualService default/ghost", f"{ghost}:7"),
    ]


async def served(url: str, tls: ssl.SSLContext | bool = True) -> str:
    """The id of the details that a gateway answers with, once it does."""
    async with asyncio.timeout(30), aiohttp.ClientSession() as client:
        while True:
            with suppress(aiohttp.ClientConnectionError):
                told = {"host": HOST}
                async with client.get(url, ssl=tls, server_hostname=HOST, headers=told) as answer:
                    if answer.status == 200:
                        assert answer.headers["server"] == "istio-envoy"
                        return str((await answer.json())["id"])
            await asyncio.sleep(0.1)


async def test_policy_and_telemetry_run_apart() -> None:
    """Two Mixers answer checks, another takes reports, and nobody does both (mixer.md I)."""
    async with mesh(LOOPBACK, "--policy", "2") as machine:
        enabled = str(BOOKINFO / "policy" / "enable-checks.yaml")
        assert (await machine.mastctl("apply", "-f", enabled)).status == 0
        await machine.run("details", "details", "--port", "9080")
        client = await machine.mastctl(
            "run", "--service", "client", "--", sys.executable, "-c", ASK
        )
        assert client.status == 0, client.err
        served = {"destination_service_name": "details", "reporter": "destination"}

        async def reported() -> bool:
            page = await metrics(machine, "telemetry-1-prometheus")
            return sum_of(page, "istio_requests_total", served) == 1

        await until(reported)
        checks = {name: await rpcs(machine, name, "Authorization/Check") for name in MIXERS}
        assert checks["telemetry-1"] == 0 < checks["policy-1"] + checks["policy-2"]

        services = json.loads((await machine.mastctl("status", "-o", "json")).out)["services"]
        mixers = {each["name"]: each for each in services if each["configuration"]}
        assert set(mixers) == set(MIXERS)
        assert all(each["ready"] for each in mixers.values())
        assert all(each["configuration"]["revision"] > 0 for each in mixers.values())


async def metrics(machine: Laptop, what: str) -> str:
    """A page of metrics of the mesh."""
    url = f"http://{machine.home.running().addresses[what]}/metrics"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return await answer.text()


async def rpcs(machine: Laptop, mixer: str, method: str) -> float:
    """How many calls of a method, whose full name ends so, a Mixer has answered."""
    page = await metrics(machine, f"{mixer}-monitoring")
    found = re.findall(
        rf'^grpc_io_server_completed_rpcs{{grpc_server_method="[^"]*{method}".*}} (\S+)$',
        page,
        re.MULTILINE,
    )
    return sum(map(float, found))


@pytest.mark.parametrize("up", MODES[:1], indirect=True)
@pytest.mark.parametrize("victim", ["supervisor", "runner", "agent", "envoy", "program"])
async def test_down_leaves_nothing_whatever_was_killed(up: Laptop, victim: str) -> None:
    details = await up.run("details", "details", "--port", "9080")
    (record,) = up.home.workloads()
    target = {
        "supervisor": up.home.running().supervisor,
        "runner": record.runner,
        "agent": record.processes["agent"],
        "program": record.processes["program"],
        "envoy": envoy_of(record.processes["agent"]),
    }[victim]
    assert target.send(signal.SIGKILL)
    await gone([target])
    down = await up.mastctl("down")
    assert down.status == 0, down.err
    async with asyncio.timeout(20):
        await details.communicate()
    assert await up.leftovers() == []


def envoy_of(agent: Process) -> Process:
    """The Envoy that an agent runs."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat = (folder / "stat").read_text().rpartition(")")[2].split()
            name = (folder / "comm").read_text()
        except OSError:
            continue
        if name.startswith("envoy") and int(stat[1]) == agent.pid:
            found = Process.of(int(folder.name))
            assert found is not None
            return found
    raise AssertionError("the agent runs no Envoy")


async def test_a_program_that_does_not_exist_is_one_line(shared: Laptop) -> None:
    ended = await shared.mastctl("run", "--service", "ghost", "--", "/no/such/program")
    assert ended.status != 0
    assert "Traceback" not in ended.err
    assert "/no/such/program" in ended.err or shared.mode == "namespaces"
    assert shared.home.workloads() == []


@pytest.mark.parametrize("mode", MODES)
async def test_interrupting_up_leaves_nothing(mode: str) -> None:
    async with laptop(mode) as machine:
        starting = await machine.start("up", "--mode", mode)
        async with asyncio.timeout(30):
            while not machine.home.services():  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.02)
        assert await ended(starting, signal.SIGINT) == 130
        assert await machine.leftovers() == []
