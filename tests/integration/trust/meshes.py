"""Small meshes of real processes: Citadel, Pilot, agents with their Envoys, on one etcd."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from mast.common.etcd import EtcdConfig, Store, connect
from mast.common.keys import TRUST
from mastapi.citadel.v1 import citadel_pb2
from mastapi.trust.v1.trust_pb2 import TrustBundle
from tests.integration.agent.running import RunningAgent, agent, inherited, loopback
from tests.integration.citadel.process import Citadel, citadel
from tests.support.http_probe import EchoServer, Reply, fetch, serving
from tests.support.mesh_yaml import changes
from tests.support.pki import Pair
from tests.support.service_process import ServiceProcess, forked_service

PORT = 9080
PROXY_PORT = 15080
NAMESPACE = "shop"
MESH = """
{{apiVersion: mesh.istio.io/v1alpha1, kind: MeshConfig,
 metadata: {{name: default, namespace: istio-system}}, spec: {spec}}}
"""
STRICT = """
{apiVersion: security.istio.io/v1, kind: PeerAuthentication,
 metadata: {name: default, namespace: istio-system}, spec: {mtls: {mode: STRICT}}}
"""
SERVICE = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}, namespace: shop}}
spec:
  hosts: [{host}]
  location: MESH_INTERNAL
  resolution: STATIC
  subjectAltNames: ["spiffe://{domain}/ns/shop/sa/{name}"]
  ports: [{{number: 9080, name: http, protocol: HTTP}}]
  endpoints: [{{address: {address}, serviceAccount: {name}}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: {name}, namespace: shop}}
spec:
  host: {host}
  trafficPolicy:
    tls: {{mode: ISTIO_MUTUAL, subjectAltNames: ["spiffe://{domain}/ns/shop/sa/{name}"]}}
    connectionPool: {{http: {{maxRequestsPerConnection: 1}}}}
"""
"""Each request makes a connection of its own: what counts now is what happens now."""


@dataclass
class Workload:
    """A program behind a sidecar: requests of its own go out through `proxy`."""

    name: str
    domain: str
    agent: RunningAgent
    program: EchoServer

    @property
    def identity(self) -> str:
        """Its SPIFFE ID."""
        return f"spiffe://{self.domain}/ns/{NAMESPACE}/sa/{self.name}"

    @property
    def address(self) -> str:
        """Where its sidecar listens."""
        return self.agent.address

    async def get(self, host: str, path: str = "/") -> Reply:
        """A request of the program's to a service of the mesh."""
        return await fetch(PROXY_PORT, f"{host}:{PORT}", path, address=self.address)

    async def reaches(self, host: str, status: int = 200) -> Reply:
        """The first answer with this status, as soon as there is one."""
        reply = None
        try:
            async with asyncio.timeout(30):
                while reply is None or reply.status != status:
                    reply = await self.get(host)
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"last: {reply}; log {self.agent.log[-10:]}") from None
        return reply


@dataclass
class Mesh:
    """A control plane of its own; `domain` is its trust domain."""

    domain: str
    directory: Path
    store: Store
    citadels: list[Citadel]
    pilot: ServiceProcess
    workloads: dict[str, Workload] = field(default_factory=dict)

    @property
    def citadel(self) -> Citadel:
        """The first replica of its CA."""
        return self.citadels[0]

    async def apply(self, *texts: str) -> None:
        """Store objects as Galley would."""
        for each in changes(*texts):
            await self.store.put(each.key, each.value)

    async def settings(self, **fields: object) -> None:
        """Store the mesh settings."""
        spec = {"trustDomain": self.domain, "enableAutoMtls": True, **fields}
        await self.apply(MESH.format(spec=json.dumps(spec)))

    async def knows(self, mesh: Mesh, name: str) -> None:
        """Tell it of a workload of its own, or of another mesh, under its host name."""
        found = mesh.workloads[name]
        await self.apply(
            SERVICE.format(
                name=name, host=f"{name}.{mesh.domain}", domain=mesh.domain, address=found.address
            )
        )

    async def bundle(self, domain: str = "") -> TrustBundle:
        """What is published of a trust domain now."""
        entry = await self.store.get(f"{TRUST}{domain or self.domain}")
        return TrustBundle.FromString(entry.value) if entry else TrustBundle()

    async def trusts(self, count: int, domain: str = "") -> bool:
        """Whether so many roots of a trust domain are published."""
        return len((await self.bundle(domain)).roots) == count

    async def command(self, name: str, request: object) -> citadel_pb2.Authorities:
        """A command of the administrator's."""
        async with self.citadel.administrator() as stub:
            call = getattr(stub, name)
            found: citadel_pb2.Authorities = await call(request, timeout=20)
        return found

    async def authorities(self) -> citadel_pb2.Authorities:
        """The CAs, and who trusts them."""
        return await self.command("GetAuthorities", citadel_pb2.GetAuthoritiesRequest())

    async def confirmed(self) -> citadel_pb2.Authorities:
        """The same, as soon as everybody confirmed what is published."""
        async with asyncio.timeout(60):
            while True:
                found = await self.authorities()
                known = found.knowledge
                if known.connected and known.holding == known.connected and known.reporters:
                    return found
                await asyncio.sleep(0.1)

    async def pair(self, account: str) -> Pair:
        """A certificate of this mesh for a client that a test plays."""
        pair, _ = await self.citadel.new_pair(await self.citadel.join_token(NAMESPACE, account))
        return pair


@asynccontextmanager
async def mesh(
    etcd: str,
    directory: Path,
    domain: str,
    *,
    replicas: int = 1,
    citadel_flags: Sequence[str] = (),
) -> AsyncIterator[Mesh]:
    """A control plane below its own root of an etcd; workloads are added by `workload`."""
    own = directory / domain.partition(".")[0]
    own.mkdir()
    root = ("--etcd-root", f"/{domain}", "--trust-domain", domain)
    flags = (*root, "--rotation-settling", "1s", *citadel_flags)
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        config = EtcdConfig(endpoints=(etcd,), root=f"/{domain}")
        store = await enter(connect(config))
        citadels = [
            await enter(citadel(etcd, own, flags, name=f"c{number}")) for number in range(replicas)
        ]
        pilot = await enter(_pilot(etcd, own, citadels[0], root))
        made = Mesh(domain, own, store, citadels, pilot)
        await made.settings()
        await made.apply(STRICT)
        yield made


@asynccontextmanager
async def _pilot(
    etcd: str, directory: Path, ca: Citadel, root: Sequence[str]
) -> AsyncIterator[ServiceProcess]:
    (directory / "roots.pem").write_bytes(await ca.roots())
    token = await ca.join_token("istio-system", "istio-pilot-service-account")
    (directory / "pilot-token").write_text(token)
    here = "127.0.0.1:0"
    async with forked_service(
        "pilot",
        *("--listen", here, "--secure-listen", here, "--http-listen", here),
        *("--monitoring-listen", here, "--etcd-endpoints", etcd, *root),
        *("--ca-address", await ca.service.address("ca")),
        *("--ca-root-file", directory / "roots.pem", "--ca-token-file", directory / "pilot-token"),
        *("--status-interval", "100ms", "--identity", directory.name),
    ) as running:
        await running.address("grpc-tls")
        yield running


@asynccontextmanager
async def workload(made: Mesh, name: str, **environment: str) -> AsyncIterator[Workload]:
    """A program with a sidecar, which is a service of the mesh by its name."""
    address, work = loopback(), made.directory / name
    secrets = work / "var/run/secrets"
    (secrets / "tokens").mkdir(parents=True)
    (secrets / "istio").mkdir()
    (secrets / "istio/root-cert.pem").write_bytes(await made.citadel.roots())
    token = await made.citadel.join_token(NAMESPACE, name)
    (secrets / "tokens/istio-token").write_text(token)
    program = EchoServer(name)
    async with serving(program.serve) as port:
        env = _environment(
            made,
            name,
            address,
            port,
            await made.citadel.service.address("ca"),
            await made.pilot.address("grpc-tls"),
        )
        async with agent(work, {**env, **environment}) as running:
            found = made.workloads[name] = Workload(name, made.domain, running, program)
            await made.knows(made, name)
            await running.ready()
            await running.until(15000, "/listeners", lambda _, text: f"{address}:{PORT}" in text)
            yield found


def _environment(
    made: Mesh, name: str, address: str, port: int, ca: str, pilot: str
) -> dict[str, str]:
    config = {"discoveryAddress": pilot, "terminationDrainDuration": "1s"}
    return {
        **inherited(),
        "INSTANCE_IP": address,
        "MAST_BIND_ADDRESS": address,
        "POD_NAME": f"{name}-1",
        "POD_NAMESPACE": NAMESPACE,
        "SERVICE_ACCOUNT": name,
        "TRUST_DOMAIN": made.domain,
        "CA_ADDR": ca,
        "PROXY_CONFIG": json.dumps(config),
        "ISTIO_META_INTERCEPTION_MODE": "NONE",
        "ISTIO_META_CLUSTER_ID": "laptop",
        "ISTIO_META_OUTBOUND_BIND": address,
        "ISTIO_META_HTTP_PROXY_PORT": str(PROXY_PORT),
        "ISTIO_META_APP_ENDPOINTS": json.dumps({str(PORT): f"127.0.0.1:{port}"}),
    }


def client_context(pair: Pair, directory: Path) -> ssl.SSLContext:
    """TLS of a client that a test plays. Whom it calls is not what is tested."""
    file = directory / "pair.pem"
    file.write_bytes(pair.chain + pair.key)
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.load_cert_chain(file)
    return context


async def admitted(address: str, context: ssl.SSLContext) -> bool:
    """Whether a sidecar takes a new connection with this certificate."""
    try:
        reader, writer = await asyncio.open_connection(address, PORT, ssl=context)
    except (ssl.SSLError, ConnectionError):
        return False
    try:
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        await writer.drain()
        return (await reader.readline()).startswith(b"HTTP/1.1 200")
    except (ssl.SSLError, ConnectionError):
        return False
    finally:
        writer.transport.abort()


async def refused(address: str, context: ssl.SSLContext) -> bool:
    """Whether it does not."""
    return not await admitted(address, context)
