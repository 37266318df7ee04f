"""Two sidecars, the second of which asks two Mixers, which share an etcd: all of it real.

Both Envoys have what Pilot gives proxies of such a mesh, with mutual TLS between them. The second
is the sidecar of several workloads, which differ in what the annotations of their pods say.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from operator import gt
from pathlib import Path

import aiohttp
from envoy.config.bootstrap.v3.bootstrap_pb2 import Bootstrap

from mast.common.etcd import EtcdConfig, Put, Store, connect
from mast.pilot.core.model.proxy import Proxy
from tests.integration.mixer.process import mixer
from tests.support.envoy_server import EnvoyServer, complaints, envoy_server
from tests.support.etcd_server import EtcdServer, etcd_server
from tests.support.golden_view import resources_of, static
from tests.support.http_probe import EchoServer, echo_server
from tests.support.mesh_yaml import sidecar_proxy, world
from tests.support.mixer_config import TELEMETRY, stored
from tests.support.mixer_mesh import MIXER_PORT, POLICY
from tests.support.pki import Ca
from tests.support.ready_service import ReadyService
from tests.support.secret_files import (
    cluster_with_secret_files,
    with_secret_files,
    write_secrets,
)
from tests.support.service_process import ServiceProcess
from tests.support.until import until

CLUSTER = f"outbound|{MIXER_PORT}||{POLICY}"
LIFETIME = 300
"""Seconds that proxies may keep verdicts: no test takes so long."""

CHECK, RETRIES = "policy.istio.io/check", "policy.istio.io/checkRetries"
WORKLOADS: Mapping[str, Mapping[str, str]] = {
    "closed": {},
    "open": {CHECK: "allow-on-error"},
    "once": {RETRIES: "0"},
}
"""Annotations of the pods: fail-close with retries, fail-open, fail-close without."""
PORTS = {name: 8080 + number for number, name in enumerate(WORKLOADS)}

MESH = f"""
{{apiVersion: mesh.istio.io/v1alpha1, kind: MeshConfig,
 metadata: {{name: default, namespace: istio-system}},
 spec: {{mixerCheckServer: "{POLICY}:{MIXER_PORT}", REPORTS disablePolicyChecks: false}}}}
---
{{apiVersion: security.istio.io/v1, kind: PeerAuthentication, metadata: {{name: default}},
 spec: {{mtls: {{mode: STRICT}}}}}}
"""
ONLY_MIXER = """
{apiVersion: networking.istio.io/v1, kind: Sidecar, metadata: {name: default},
 spec: {egress: [{hosts: ["istio-system/*"]}]}}
"""
ENTRY = """
{{apiVersion: networking.istio.io/v1, kind: ServiceEntry,
 metadata: {{name: {name}, namespace: {namespace}}},
 spec: {{hosts: [{name}.{namespace}.svc.cluster.local], location: MESH_INTERNAL,
   resolution: STATIC, ports: [{{number: {port}, name: main, protocol: {protocol}}}], {more}}}}}
"""


def _mixers(ports: Sequence[int]) -> str:
    endpoints = ", ".join(f"{{address: 127.0.0.1, ports: {{main: {each}}}}}" for each in ports)
    name, namespace, *_ = POLICY.split(".")
    return ENTRY.format(
        name=name,
        namespace=namespace,
        port=MIXER_PORT,
        protocol="GRPC",
        more=f"endpoints: [{endpoints}]",
    )


def _workload(name: str, more: str) -> str:
    return ENTRY.format(
        name=name, namespace="default", port=PORTS[name], protocol="HTTP", more=more
    )


def _selected(name: str) -> str:
    return _workload(name, f"workloadSelector: {{labels: {{app: {name}}}}}")


def _reached(name: str, port: int) -> str:
    labels = "labels: {security.istio.io/tlsMode: istio}"
    endpoint = f"{{address: 127.0.0.1, serviceAccount: server, {labels}, ports: {{main: {port}}}}}"
    return _workload(name, f"endpoints: [{endpoint}]")


def _proxy(name: str, app: int) -> Proxy:
    return sidecar_proxy(
        "default",
        ip="127.0.0.1",
        labels={"app": name},
        INTERCEPTION_MODE="NONE",
        APP_ENDPOINTS={str(PORTS[name]): f"127.0.0.1:{app}"},
        ANNOTATIONS=dict(WORKLOADS[name]),
    )


@asynccontextmanager
async def _envoy(
    directory: Path, ca: Ca, proxies: Sequence[Proxy], *texts: str
) -> AsyncIterator[EnvoyServer]:
    """One Envoy of two workers with all that some proxies get, each listener on its own port."""
    directory.mkdir()
    account = directory.name
    write_secrets(directory, ca, ca.leaf(uris=[f"spiffe://cluster.local/ns/default/sa/{account}"]))
    snapshot = world(*texts).snapshot(1)
    config, known = Bootstrap(), set[str]()
    for each in proxies:
        found = static(resources_of(snapshot.view(each)))
        config.dynamic_resources.CopyFrom(found.dynamic_resources)
        config.node.CopyFrom(found.node)
        for listener in found.static_resources.listeners:
            if listener.name not in known:
                listener.address.socket_address.port_value = 0
                config.static_resources.listeners.append(with_secret_files(listener, directory))
        for cluster in found.static_resources.clusters:
            if cluster.name not in known:
                config.static_resources.clusters.append(
                    cluster_with_secret_files(cluster, directory)
                )
        known |= {each.name for each in found.static_resources.listeners}
        known |= {each.name for each in found.static_resources.clusters}
    environment = {
        "POD_NAME": f"{account}-1",
        "POD_NAMESPACE": "default",
        "INSTANCE_IP": "127.0.0.1",
    }
    async with envoy_server(config, directory, concurrency=2, environment=environment) as envoy:
        yield envoy
        assert complaints(envoy.log.read_text()) == []


@dataclass
class Pair:
    """The mesh of these tests; requests go through both sidecars."""

    etcd: EtcdServer
    store: Store
    mixers: Sequence[ServiceProcess]
    client: EnvoyServer
    server: EnvoyServer
    app: EchoServer
    session: aiohttp.ClientSession
    _numbers: count[int] = field(default_factory=count)

    async def put(self, *texts: str) -> None:
        """Store objects as Galley does, in one transaction."""
        changes = [Put(key, value) for key, value in stored(*texts).items()]
        assert (await self.store.txn([], changes)).succeeded

    async def remove(self, *texts: str) -> None:
        """Take them out of the store."""
        for key in stored(*texts):
            await self.store.delete(key)

    async def get(self, name: str, path: str, **headers: str) -> tuple[int, str]:
        """Status and body of an answer of a workload."""
        port = self.client.ports[f"127.0.0.1_{PORTS[name]}"]
        named = {"host": f"{name}.default", **headers}
        async with self.session.get(f"http://127.0.0.1:{port}{path}", headers=named) as answer:
            return answer.status, await answer.text()

    async def new(self, name: str, path: str = "/judged") -> tuple[int, str]:
        """The same of a request that no other is equal to."""
        return await self.get(name, f"{path}/{next(self._numbers)}")

    async def checks(self) -> list[int]:
        """How many checks each Mixer that lives has answered."""
        found = []
        for each in self.mixers:
            if each.process.returncode is None:
                _, text = await each.get("/metrics")
                found.append(
                    sum(
                        int(float(line.rpartition(" ")[2]))
                        for line in text.splitlines()
                        if line.startswith("grpc_io_server_completed_rpcs")
                        and "Authorization/Check" in line
                    )
                )
        return found

    def configurations(self) -> list[int]:
        """How many configurations each Mixer has put in force."""
        return [sum(line["event"] == "config.applied" for line in each.log) for each in self.mixers]

    async def enforce(self, *texts: str) -> None:
        """Store objects and wait until they are in force at all Mixers."""
        before = self.configurations()
        await self.put(*texts)
        await until(lambda: all(map(gt, self.configurations(), before)))

    async def connections(self, worker: int) -> int:
        """How many connections one worker of the second Envoy has taken."""
        return await self.server.stat(f"listener.127.0.0.1_0.worker_{worker}.downstream_cx_total")

    async def ejected(self, count: int) -> bool:
        """Whether the second Envoy leaves out so many Mixers."""
        name = f"cluster.{CLUSTER};.outlier_detection.ejections_active"
        return await self.server.stat(name) == count

    def reached(self, path: str) -> int:
        """How many requests for a path the application has seen."""
        return sum(each.path == path for each in self.app.seen)


@asynccontextmanager
async def pair(
    directory: Path,
    *,
    flags: Sequence[str] = (),
    front: ReadyService | None = None,
    reports: bool = False,
) -> AsyncIterator[Pair]:
    """Run it all; Mixer has the default attributes and no rule.

    With a ``front`` proxies know its address instead of those of Mixers, with ``reports`` they
    report to Mixers, too.
    """
    ca = Ca.root()
    async with AsyncExitStack() as stack:
        etcd = await stack.enter_async_context(etcd_server(directory))
        store = await stack.enter_async_context(connect(EtcdConfig(endpoints=(etcd.endpoint,))))
        objects = [Put(key, value) for key, value in stored(TELEMETRY).items()]
        await store.txn([], objects)
        flags = ("--verdict-lifetime", f"{LIFETIME}s", *flags)
        async with asyncio.TaskGroup() as tasks:
            starting = [
                tasks.create_task(stack.enter_async_context(mixer(etcd.endpoint, flags)))
                for _ in range(2)
            ]
        mixers = [each.result() for each in starting]
        found = [await each.address("grpc") for each in mixers]
        if front is not None:
            for each in mixers:
                await front.add(each)
            found = [front.endpoint]
        ports = [int(each.rpartition(":")[2]) for each in found]
        server_of_reports = f'mixerReportServer: "{POLICY}:{MIXER_PORT}",' if reports else ""
        mesh = MESH.replace("REPORTS", server_of_reports)
        app = await stack.enter_async_context(echo_server("app"))
        server = await stack.enter_async_context(
            _envoy(
                directory / "server",
                ca,
                [_proxy(each, app.port) for each in WORKLOADS],
                mesh,
                ONLY_MIXER,
                _mixers(ports),
                *map(_selected, WORKLOADS),
            )
        )
        reached = [
            _reached(name, server.ports[f"127.0.0.1_{port}"]) for name, port in PORTS.items()
        ]
        client = await stack.enter_async_context(
            _envoy(
                directory / "client",
                ca,
                [sidecar_proxy("default", ip="127.0.0.2", INTERCEPTION_MODE="NONE")],
                mesh,
                *reached,
            )
        )
        connector = aiohttp.TCPConnector(limit=0)
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        yield Pair(etcd, store, mixers, client, server, app, session)


@dataclass
class Load:
    """Requests made by several clients at a time; what came back, counted by status and body."""

    answers: Counter[tuple[int, str]] = field(default_factory=Counter)

    @property
    def statuses(self) -> Counter[int]:
        found: Counter[int] = Counter()
        for (status, _), times in self.answers.items():
            found[status] += times
        return found


@asynccontextmanager
async def load(
    request: Callable[[], Awaitable[tuple[int, str]]], clients: int = 8
) -> AsyncIterator[Load]:
    """Requests without pause in the block, by so many clients."""
    made, ending = Load(), asyncio.Event()

    async def client() -> None:
        while not ending.is_set():
            made.answers[await request()] += 1

    async with asyncio.TaskGroup() as tasks:
        for _ in range(clients):
            tasks.create_task(client())
        yield made
        ending.set()
