"""A machine of its own joins a mesh: a network namespace stands for it (B9, D21)."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from cryptography import x509

from mast.cli.local import addresses, network
from mast.cli.local.home import NAMESPACES
from tests.support.laptop import BOOKINFO, MODES, Laptop, mesh

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(NAMESPACES not in MODES, reason="needs root and network namespaces"),
]

AGENT = str(Path(sys.executable).with_name("mast-agent"))
NUMBER = 900
PORT = 9080
OBJECTS = f"""
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {{name: web, namespace: default}}
spec:
  metadata:
    labels: {{app: web, version: v7}}
    annotations: {{owner: books}}
  template:
    serviceAccount: web
    ports: {{http-{PORT}: {PORT}}}
  probe:
    periodSeconds: 1
    httpGet: {{path: /health, port: {PORT}}}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: web, namespace: default}}
spec:
  hosts: [web.default.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{{number: {PORT}, name: http-{PORT}, protocol: HTTP}}]
  workloadSelector: {{labels: {{app: web}}}}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: default, namespace: default}}
spec: {{mtls: {{mode: STRICT}}}}
"""
SOON = '{"terminationDrainDuration": "1s"}'
PYTHON = "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable
"""An interpreter that every user may run."""

ASK = (
    "import sys, urllib.request;"
    "print(urllib.request.urlopen(sys.argv[1], timeout=10).read().decode())"
)


@dataclass(frozen=True)
class Machine:
    """A network namespace with a root directory, on the network of a laptop mesh."""

    laptop: Laptop
    namespace: str
    address: str
    root: Path
    user: str

    def inside(self, *command: str) -> list[str]:
        return ["ip", "netns", "exec", self.namespace, *command]

    def vm(self, *arguments: str) -> list[str]:
        return self.inside(AGENT, "vm", *arguments, "--root", str(self.root))

    async def said(self, *command: str) -> tuple[int, str]:
        """Status and output of a command."""
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        async with asyncio.timeout(60):
            out, _ = await process.communicate()
        return process.returncode or 0, out.decode()

    @asynccontextmanager
    async def running(self, *command: str, log: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """A program of the machine, asked to end when the block is left."""
        with (self.root / log).open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "EXEC_USER": self.user, "PROXY_CONFIG": SOON},
            )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(40):
                await process.wait()

    @asynccontextmanager
    async def application(self) -> AsyncIterator[None]:
        program = str(BOOKINFO / "apps" / "details.py")
        env = f"PORT={PORT}"
        async with self.running(
            *self.inside("env", env, sys.executable, "-u", program), log="app.log"
        ):
            yield

    def serial(self) -> int:
        """Serial number of the certificate that the agent wrote last."""
        chain = (self.root / "etc/certs/cert-chain.pem").read_bytes()
        return x509.load_pem_x509_certificate(chain).serial_number

    def log(self) -> str:
        return (self.root / "agent.log").read_text()


@pytest.fixture
async def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Machine]:
    """A mesh that forgets workloads a second after they left, and a machine beside it."""
    monkeypatch.setenv("PILOT_WORKLOAD_ENTRY_GRACE_PERIOD", "1s")
    async with mesh(NAMESPACES) as laptop:
        running = laptop.home.running()
        names = network.Names(laptop.home.tag)
        address = addresses.in_subnet(running.subnet, NUMBER)
        gateway = addresses.gateway(running.subnet)
        namespace = names.namespace("machine")
        await network.create_namespace(names, "machine", NUMBER, address, gateway)
        network.write_resolver(namespace, gateway, "default", running.trust_domain)
        (Path("/etc/netns") / namespace / "hosts").write_text("127.0.0.1 localhost\n")
        root = laptop.home.path("scratch") / "machine"
        root.mkdir(parents=True)
        for folder in (root.parent, root):
            folder.chmod(0o755)
        yield Machine(laptop, namespace, address, root, str(running.proxy_user))


async def page(machine: Machine, path: str) -> Any:
    """A debug page of Pilot; nothing while the proxy that it is about is connecting anew."""
    pilot = machine.laptop.home.running().addresses["pilot-http"]
    async with aiohttp.ClientSession() as http, http.get(f"http://{pilot}{path}") as answer:
        return await answer.json() if answer.status == 200 else []


async def endpoints(machine: Machine) -> bool:
    """Whether the proxy of details is to call the machine."""
    proxy = machine.laptop.home.workloads()[0].name
    told = await page(machine, f"/debug/edsz?proxyID={proxy}.default")
    return machine.address in json.dumps(told)


async def until(machine: Machine, *, called: bool, registered: bool) -> None:
    """Wait until others call the machine, or not, and it is registered, or not."""
    seen: tuple[bool, bool] = (False, False)
    try:
        async with asyncio.timeout(60):
            while (seen := await state(machine)) != (called, registered):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise AssertionError(f"{seen}: {machine.log()[-3000:]}") from None


async def state(machine: Machine) -> tuple[bool, bool]:
    found = await page(machine, "/debug/workloadz?namespace=default")
    return await endpoints(machine), bool(of_group(found))


def of_group(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those WorkloadEntries that are of the machine's group."""
    key = "istio.io/autoRegistrationGroup"
    return [each for each in found if each["metadata"]["annotations"][key] == "web"]


async def call(machine: Machine, namespace: str, url: str) -> dict[str, str]:
    """What a program gets that runs in a network namespace as neither proxy nor root."""
    user = ("setpriv", "--reuid=2000", "--regid=2000", "--clear-groups")
    status, said = await machine.said(
        *("ip", "netns", "exec", namespace, *user, PYTHON, "-c", ASK, url)
    )
    assert status == 0, (said, machine.log()[-2000:])
    found: dict[str, str] = json.loads(said)
    return found


async def join(machine: Machine) -> None:
    """Make the group known, another workload, and put the files on the machine."""
    laptop, folder = machine.laptop, machine.root.parent
    (folder / "objects.yaml").write_text(OBJECTS)
    applied = await laptop.mastctl("apply", "-f", str(folder / "objects.yaml"))
    assert applied.status == 0, applied.err
    program = str(BOOKINFO / "apps" / "details.py")
    line = ("--service", "details", "--port", str(PORT), "--", sys.executable, program)
    started = await laptop.mastctl("run", "-d", *line)
    assert started.status == 0, started.err
    made = await laptop.mastctl(
        *("x", "workload", "entry", "configure", "--name", "web", "-o", str(folder / "files")),
        *("--autoregister", "--internalIP", machine.address, "--tokenDuration", "60"),
    )
    assert made.status == 0, made.err
    status, said = await machine.said(*machine.vm("install", "--from", str(folder / "files")))
    assert status == 0, said
    hosts = (machine.root / "etc/hosts").read_text()
    assert hosts.endswith(" istiod.istio-system.svc\n")
    (Path("/etc/netns") / machine.namespace / "hosts").write_text(hosts)


async def check_entry(machine: Machine) -> None:
    """Labels of the group and annotations of its registration (B9)."""
    ended = await machine.laptop.mastctl("workload", "entry", "list", "-o", "json")
    assert ended.status == 0, ended.err
    (entry,) = of_group(json.loads(ended.out))
    meta = entry["metadata"]
    assert meta["name"] == f"web-{machine.address}"
    assert meta["labels"].items() >= {"app": "web", "version": "v7"}.items()
    assert meta["annotations"]["owner"] == "books"
    assert {"istio.io/workloadController", "istio.io/connectedAt"} <= meta["annotations"].keys()
    assert meta["ownerReferences"][0]["name"] == "web"
    assert entry["spec"]["serviceAccount"] == "web"


async def check_calls(machine: Machine) -> None:
    """Out of the machine and into it, over mutual TLS both ways."""
    told = await call(machine, machine.namespace, f"http://details:{PORT}/details/1")
    assert told["caller"].endswith("URI=spiffe://cluster.local/ns/default/sa/web")
    (details,) = machine.laptop.home.workloads()
    told = await call(machine, details.namespace_path, f"http://web:{PORT}/details/2")
    assert told["caller"].endswith("URI=spiffe://cluster.local/ns/default/sa/details")


async def test_a_machine_joins_serves_calls_and_leaves(machine: Machine) -> None:
    await join(machine)
    async with machine.running(*machine.vm("start"), log="agent.log"):
        async with machine.application():
            await until(machine, called=True, registered=True)
            first = machine.serial()
            await check_entry(machine)
            await check_calls(machine)
        # The group's probe finds its application down.
        await until(machine, called=False, registered=True)
    # The token was for one start: later ones are by the machine's own certificate (B2.1).
    async with (
        machine.running(*machine.vm("start"), log="agent.log"),
        machine.application(),
    ):
        await until(machine, called=True, registered=True)
        assert machine.serial() != first
        await check_calls(machine)
    await until(machine, called=False, registered=False)
    status, said = await machine.said(*machine.vm("clean"))
    assert status == 0, said
    _, rules = await machine.said(*machine.inside("iptables-save"))
    assert "ISTIO" not in rules
