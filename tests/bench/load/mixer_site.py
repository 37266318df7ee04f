"""Pairs of sidecars, with Mixer and without, in front of an application: all that a request meets.

Both Envoys of a pair are configured as Pilot configures sidecars, mutual TLS between them; a
further Envoy answers as the application. The pairs share one core, so that they are what limits
requests; Mixer, application and load have the other one.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from envoy.config.core.v3.base_pb2 import Node
from envoy.config.route.v3.route_components_pb2 import Route

from mast.common.etcd import EtcdConfig, connect
from mast.common.keys import REGISTRY_WORKLOADS
from mast.pilot.core.model.proxy import parse
from mastapi.registry.v1.registry_pb2 import Workload
from tests.integration.mixer.process import mixer
from tests.support.envoy_server import EnvoyServer, envoy_server
from tests.support.envoy_static import answering_listener, bootstrap
from tests.support.etcd_server import etcd_server
from tests.support.golden_view import resources_of, static
from tests.support.mesh_yaml import world
from tests.support.mixer_config import TELEMETRY, stored
from tests.support.pki import Ca
from tests.support.secret_files import cluster_with_secret_files, with_secret_files, write_secrets
from tests.support.service_process import ServiceProcess

ENVOYS_CORE = 0
OTHERS_CORE = (os.cpu_count() or 1) - 1
PORT = 8080
HOST = "web.default.svc.cluster.local"

WEB = """
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: web}}
spec:
  hosts: [web.default.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{{number: 8080, name: http, protocol: HTTP}}]
  {rest}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: web}}
spec: {{host: web.default.svc.cluster.local, trafficPolicy: {{tls: {{mode: ISTIO_MUTUAL}}}}}}
"""
MIXER = """
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}, namespace: istio-system}}
spec:
  hosts: [{name}.istio-system.svc.cluster.local]
  location: MESH_EXTERNAL
  resolution: STATIC
  ports: [{{number: 9091, name: grpc-mixer, protocol: GRPC}}]
  endpoints: [{{address: 127.0.0.1, ports: {{grpc-mixer: {port}}}}}]
"""
# The server calls nobody but Mixer.
EGRESS = """
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default}
spec: {egress: [{hosts: ["istio-system/*"]}]}
"""
MESH = """
---
apiVersion: mesh.istio.io/v1alpha1
kind: MeshConfig
metadata: {{name: default, namespace: istio-system}}
spec:
  disablePolicyChecks: false
  {servers}
"""

# Who calls is named in a list. The answer holds for five more requests like it (five of six are
# hits), or as the header x-keep says: as long as answers do by default, or for none.
POLICY = """
kind: handler
metadata: {{name: briefly}}
spec:
  compiledAdapter: listchecker
  params: {{overrides: [{users}], blacklist: false, cachingInterval: 300s, cachingUseCount: 5}}
---
kind: handler
metadata: {{name: usually}}
spec: {{compiledAdapter: listchecker, params: {{overrides: [{users}], blacklist: false}}}}
---
kind: handler
metadata: {{name: never}}
spec:
  compiledAdapter: listchecker
  params: {{overrides: [{users}], blacklist: false, cachingInterval: 300s, cachingUseCount: 0}}
---
kind: instance
metadata: {{name: user}}
spec: {{compiledTemplate: listentry, params: {{value: 'request.headers["x-user"] | "nobody"'}}}}
---
kind: rule
metadata: {{name: briefly}}
spec:
  match: source.labels["app"] == "client" && (request.headers["x-keep"] | "briefly") == "briefly"
  actions: [{{handler: briefly, instances: [user]}}]
---
kind: rule
metadata: {{name: usually}}
spec:
  match: source.labels["app"] == "client" && (request.headers["x-keep"] | "briefly") == "usually"
  actions: [{{handler: usually, instances: [user]}}]
---
kind: rule
metadata: {{name: never}}
spec:
  match: source.labels["app"] == "client" && (request.headers["x-keep"] | "briefly") == "never"
  actions: [{{handler: never, instances: [user]}}]
"""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two sidecars one behind the other; ``port`` is where the client calls the server."""

    client: EnvoyServer
    server: EnvoyServer
    port: int
    processes: tuple[psutil.Process, ...]

    @property
    def cpu_seconds(self) -> float:
        """Processor time of both so far."""
        return sum(map(cpu_seconds, self.processes))


@dataclass(frozen=True, kw_only=True)
class Site:
    """Pairs by name, and the Mixer for checks and the one for reports."""

    pairs: Mapping[str, Pair]
    policy: ServiceProcess
    telemetry: ServiceProcess


def cpu_seconds(process: psutil.Process) -> float:
    """Processor time that a process has used."""
    times = process.cpu_times()
    return float(times.user + times.system)


def mixer_seconds(running: ServiceProcess) -> float:
    """Processor time that a Mixer has used."""
    return cpu_seconds(psutil.Process(running.process.pid))


def servers(policy: int, telemetry: int) -> str:
    """Mixer in a MeshConfig and as services, at ports; 0 leaves one out."""
    found, fields = "", ""
    for field, name, port in (
        ("mixerCheckServer", "istio-policy", policy),
        ("mixerReportServer", "istio-telemetry", telemetry),
    ):
        if port:
            fields += f"{field}: {name}.istio-system.svc.cluster.local:9091\n  "
            found += MIXER.format(name=name, port=port)
    return MESH.format(servers=fields) + found


@asynccontextmanager
async def mixers(directory: Path, users: int) -> AsyncIterator[tuple[ServiceProcess, ...]]:
    """A Mixer for checks and one for reports, with policy and Istio's default telemetry."""
    names = ", ".join(f"user-{number}" for number in range(users))
    async with etcd_server(directory) as etcd:
        async with connect(EtcdConfig(endpoints=(etcd.endpoint,))) as store:
            for key, value in stored(TELEMETRY, POLICY.format(users=names)).items():
                await store.put(key, value)
            for name in ("web", "client"):
                workload = Workload(name=f"{name}-1", namespace="default", service_account=name)
                workload.labels.update({"app": name, "version": "v1"})
                key = f"{REGISTRY_WORKLOADS}default/{name}-1"
                await store.put(key, workload.SerializeToString())
        async with mixer(etcd.endpoint) as policy, mixer(etcd.endpoint) as telemetry:
            for each in (policy, telemetry):
                await each.address("grpc")
                pinned(each.process.pid, OTHERS_CORE)
            yield policy, telemetry


async def port_of(running: ServiceProcess) -> int:
    """The port of a Mixer's plaintext gRPC."""
    return int((await running.address("grpc")).rpartition(":")[2])


@asynccontextmanager
async def application(directory: Path) -> AsyncIterator[int]:
    """An Envoy that answers everything, and its port."""
    answer = Route()
    answer.match.prefix = "/"
    answer.direct_response.status = 200
    before = _children()
    async with envoy_server(bootstrap([answering_listener([answer])], []), directory) as envoy:
        for each in _children() - before:
            pinned(each.pid, OTHERS_CORE)
        yield envoy.ports["test"]


@asynccontextmanager
async def pair(directory: Path, application_port: int, mesh: str) -> AsyncIterator[Pair]:
    """A client's and a server's sidecar, with what a mesh says of Mixer."""
    ca = Ca.root()
    for name in ("web", "client"):
        (directory / name).mkdir(parents=True)
        own = ca.leaf(uris=[f"spiffe://cluster.local/ns/default/sa/{name}"])
        write_secrets(directory / name, ca, own)
    behind = {str(PORT): f"127.0.0.1:{application_port}"}
    entry = WEB.format(rest="workloadSelector: {labels: {app: web}}")
    before = _children()
    async with _sidecar(
        directory, "web", "127.0.0.1", mesh, entry, EGRESS, APP_ENDPOINTS=behind
    ) as server:
        port = server.ports[f"127.0.0.1_{PORT}"]
        rest = f"endpoints: [{{address: 127.0.0.1, serviceAccount: web, ports: {{http: {port}}}}}]"
        async with _sidecar(
            directory, "client", "127.0.0.2", mesh, WEB.format(rest=rest)
        ) as client:
            made = tuple(_children() - before)
            for each in made:
                pinned(each.pid, ENVOYS_CORE)
            yield Pair(
                client=client,
                server=server,
                port=client.ports[f"127.0.0.1_{PORT}"],
                processes=made,
            )


@asynccontextmanager
async def _sidecar(
    directory: Path, name: str, ip: str, *texts: str, **metadata: object
) -> AsyncIterator[EnvoyServer]:
    """An Envoy with all that Pilot would give it, every listener on a port of its own choice."""
    node = Node(id=f"sidecar~{ip}~{name}-1.default~default.svc.cluster.local")
    given = {"NAMESPACE": "default", "LABELS": {"app": name}, "INTERCEPTION_MODE": "NONE"}
    node.metadata.update({**given, **metadata})
    config = static(resources_of(world(*texts).snapshot(1).view(parse(node))))
    config.node.CopyFrom(node)
    config.node.cluster = f"{name}.default"
    for listener in config.static_resources.listeners:
        listener.CopyFrom(with_secret_files(listener, directory / name))
        listener.address.socket_address.port_value = 0
    for cluster in config.static_resources.clusters:
        cluster.CopyFrom(cluster_with_secret_files(cluster, directory / name))
    place = {"POD_NAME": f"{name}-1", "POD_NAMESPACE": "default", "INSTANCE_IP": ip}
    async with envoy_server(config, directory / name, environment=place) as envoy:
        yield envoy


def _children() -> set[psutil.Process]:
    return set(psutil.Process().children())


def pinned(pid: int, core: int) -> None:
    """Keep all threads of a process on one core."""
    for thread in psutil.Process(pid).threads():
        os.sched_setaffinity(thread.id, {core})
