"""Whom a client's Envoy sends requests to (pilot.md G3 to G6, H4, checklist 21 to 24).

A sidecar without capture gets the configuration of its view; endpoints are echo servers.
"""

import asyncio
import json
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from mast.pilot.core.model.proxy import Proxy
from mast.pilot.core.xds.resources import CDS, EDS, LDS, RDS, Resource, resource
from tests.fakes.pilot_views import FakeMesh
from tests.support.ads_server import ads_server, bootstrap, until
from tests.support.envoy_server import EnvoyServer, complaints, envoy_server
from tests.support.golden_view import resources_of, static
from tests.support.http_probe import EchoServer, Reply, echo_server, fetch, serving
from tests.support.mesh_yaml import sidecar_proxy, world
from tests.support.pki import Ca
from tests.support.secret_files import cluster_with_secret_files, with_secret_files, write_secrets

HOST = "web.default.svc.cluster.local"
WEB = "spiffe://cluster.local/ns/default/sa/web"
FAILOVER = (
    "outlierDetection: {consecutive5xxErrors: 1, interval: 0.100s, baseEjectionTime: 2s,"
    " maxEjectionPercent: 100}"
)


@dataclass
class Site:
    """A client's Envoy in front of echo servers `a`, `b` and so on."""

    envoy: EnvoyServer
    servers: Sequence[EchoServer]

    async def get(self, path: str = "/", **headers: str) -> Reply:
        """The answer to a request for the service."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await fetch(self.envoy.ports["127.0.0.1_8080"], HOST, path, headers=named)

    async def who(self, **headers: str) -> str:
        """The server that answers."""
        return (await self.get(**headers)).header("x-upstream")

    async def shares(self, count: int) -> Counter[str]:
        """How many of so many requests each server gets."""
        return Counter([await self.who() for _ in range(count)])


def service(*endpoints: str) -> str:
    """The service with endpoints, each the rest of a YAML mapping."""
    listed = "".join(f"\n  - {{address: 127.0.0.1, {each}}}" for each in endpoints)
    return f"""
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: web, namespace: default}}
spec:
  hosts: [{HOST}]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{{number: 8080, name: http, protocol: HTTP}}]
  endpoints:{listed}
"""


def rule(policy: str) -> str:
    """A DestinationRule with a traffic policy."""
    return f"""
{{apiVersion: networking.istio.io/v1, kind: DestinationRule,
 metadata: {{name: web, namespace: default}}, spec: {{host: {HOST}, trafficPolicy: {{{policy}}}}}}}
"""


@asynccontextmanager
async def site(directory: Path, endpoints: Sequence[str], *texts: str) -> AsyncIterator[Site]:
    """The client and a server for each endpoint; `PORT` in it stands for the server's."""
    async with AsyncExitStack() as stack:
        servers = [
            await stack.enter_async_context(echo_server(chr(ord("a") + number)))
            for number in range(len(endpoints))
        ]
        placed = [
            each.replace("PORT", f"ports: {{http: {server.port}}}")
            for each, server in zip(endpoints, servers, strict=True)
        ]
        envoy = await stack.enter_async_context(client(directory, service(*placed), *texts))
        yield Site(envoy, servers)


def caller(**metadata: object) -> Proxy:
    """A sidecar without capture, in zone eu/a."""
    labels = {"app": "client", "istio-locality": "eu.a"}
    return sidecar_proxy(
        "default", ip="127.0.0.2", labels=labels, INTERCEPTION_MODE="NONE", **metadata
    )


@asynccontextmanager
async def client(
    directory: Path, *texts: str, ca: Ca | None = None, **metadata: object
) -> AsyncIterator[EnvoyServer]:
    """An Envoy with what the sidecar of a client gets, secrets in files."""
    authority = ca or Ca.root()
    write_secrets(
        directory,
        authority,
        authority.leaf(uris=["spiffe://cluster.local/ns/default/sa/client"]),
    )
    config = static(resources_of(world(*texts).snapshot(1).view(caller(**metadata))))
    for each in config.static_resources.listeners:
        each.CopyFrom(with_secret_files(each, directory))
        each.address.socket_address.port_value = 0
    for each in config.static_resources.clusters:
        each.CopyFrom(cluster_with_secret_files(each, directory))
    async with envoy_server(config, directory) as envoy:
        yield envoy
        assert complaints(envoy.log.read_text()) == []


ZONES = ("locality: eu/a, PORT", "locality: eu/b, PORT")


async def test_failover_on_the_loss_of_a_zone_and_back(tmp_path: Path) -> None:
    async with site(tmp_path, ZONES, rule(FAILOVER)) as found:
        assert await found.shares(10) == {"a": 10}
        found.servers[0].statuses.append(500)
        assert (await found.get()).status == 500

        async def diverted() -> bool:
            return await found.who() == "b"

        async def returned() -> bool:
            return await found.who() == "a"

        await until(diverted, 20)
        await until(returned, 20)
        assert await found.shares(10) == {"a": 10}


async def test_without_outlier_detection_there_is_no_failover(tmp_path: Path) -> None:
    locality = "loadBalancer: {simple: ROUND_ROBIN, localityLbSetting: {failoverPriority: [x]}}"
    async with site(tmp_path, ZONES, rule(locality)) as found:
        assert await found.shares(10) == {"a": 5, "b": 5}


async def test_shares_of_localities(tmp_path: Path) -> None:
    setting = "distribute: [{from: eu/a, to: {eu/a: 20, eu/b: 80}}]"
    policy = f"loadBalancer: {{simple: ROUND_ROBIN, localityLbSetting: {{{setting}}}}}"
    async with site(tmp_path, (*ZONES, "locality: us/c, PORT"), rule(policy)) as found:
        shares = await found.shares(50)
    assert set(shares) == {"a", "b"}
    assert 32 <= shares["b"] <= 48


async def test_requests_above_the_limits_are_refused(tmp_path: Path) -> None:
    limits = "connectionPool: {tcp: {maxConnections: 1}, http: {http1MaxPendingRequests: 1}}"
    async with site(tmp_path, ("PORT",), rule(limits)) as found, asyncio.TaskGroup() as tasks:
        waiting = [tasks.create_task(found.get("/hang"))]
        await found.servers[0].wait_for(1)
        waiting.append(tasks.create_task(found.get("/hang")))
        stat = f"cluster.outbound|8080||{HOST};.upstream_rq_pending_active"

        async def queued() -> bool:
            return await found.envoy.stat(stat) == 1

        await until(queued)
        refused = await found.get()
        assert refused.status == 503
        assert refused.header("x-envoy-overloaded") == "true"
        for each in waiting:
            each.cancel()


@pytest.mark.parametrize(
    "key", ["httpHeaderName: x-user", "httpHeaderName: x-user, maglev: {tableSize: 101}"]
)
async def test_a_hash_sticks(key: str, tmp_path: Path) -> None:
    policy = rule(f"loadBalancer: {{consistentHash: {{{key}}}}}")
    async with site(tmp_path, ("PORT", "PORT", "PORT"), policy) as found:
        users = {user: await found.who(x_user=str(user)) for user in range(30)}
        assert set(users.values()) == {"a", "b", "c"}
        for user, server in users.items():
            assert await found.who(x_user=str(user)) == server


async def test_a_new_endpoint_warms_up(tmp_path: Path) -> None:
    policy = rule("loadBalancer: {simple: ROUND_ROBIN, warmup: {duration: 6s}}")
    async with (
        echo_server("a") as old,
        echo_server("b") as new,
        ads_server(FakeMesh(), synced=False) as pilot,
    ):
        one, both = (
            [f"ports: {{http: {each.port}}}" for each in servers] for servers in ([old], [old, new])
        )
        pilot.mesh.put(*resources(service(*one), policy))
        await pilot.push()
        async with envoy_server(bootstrap(pilot.port, delta=True), tmp_path) as envoy:
            found = Site(envoy, (old, new))
            assert await found.shares(20) == {"a": 20}

            async def is_warm() -> bool:
                info = json.loads(await envoy.get("/server_info"))
                return int(info["uptime_current_epoch"].removesuffix("s")) > 7

            await until(is_warm, 30)
            pilot.mesh.put(*resources(service(*both), policy))
            await pilot.push()
            added = f"cluster.outbound|8080||{HOST};.membership_total"

            async def is_known() -> bool:
                return await envoy.stat(added) == 2

            await until(is_known, 30)
            cold = await found.shares(20)

            async def is_even() -> bool:
                return (await found.shares(20))["b"] == 10

            await until(is_even, 30)
    assert cold["b"] < 8


async def test_endpoints_with_and_without_sidecar(tmp_path: Path) -> None:
    ca = Ca.root()
    async with (
        echo_server("plain") as plain,
        tls_server("mesh", ca, tmp_path) as mesh,
        client(
            tmp_path,
            service(
                f"ports: {{http: {plain.port}}}",
                f"serviceAccount: web, labels: {ISTIO}, ports: {{http: {mesh}}}",
            ),
            rule("loadBalancer: {simple: ROUND_ROBIN}"),
            ca=ca,
        ) as envoy,
    ):
        assert await Site(envoy, ()).shares(10) == {"plain": 5, "mesh": 5}


NETWORKS = """
apiVersion: mesh.istio.io/v1alpha1
kind: MeshNetworks
metadata: {name: default, namespace: istio-system}
spec:
  networks:
    far:
      endpoints: [{fromCidr: 10.2.0.0/16}]
      gateways: [{address: 127.0.0.1, port: PORT}]
"""


async def test_another_network_is_reached_through_its_gateway(tmp_path: Path) -> None:
    ca = Ca.root()
    async with (
        echo_server("near") as near,
        tls_server("gateway", ca, tmp_path) as gateway,
        client(
            tmp_path,
            service(
                f"network: here, ports: {{http: {near.port}}}",
            )
            + f"""
  - {{address: 10.2.0.1, serviceAccount: web, labels: {ISTIO}}}
  - {{address: 10.2.0.2, serviceAccount: web, labels: {ISTIO}, weight: 2}}
  - {{address: 10.2.0.3}}
""",
            NETWORKS.replace("PORT", str(gateway)),
            rule("loadBalancer: {simple: ROUND_ROBIN}"),
            ca=ca,
            NETWORK="here",
        ) as envoy,
    ):
        # One near endpoint, weights of three behind the gateway; the one without TLS is left out.
        assert await Site(envoy, ()).shares(40) == {"near": 10, "gateway": 30}
        name = f"cluster.outbound|8080||{HOST};.membership_total"
        assert await envoy.stat(name) == 2


ISTIO = "{security.istio.io/tlsMode: istio}"


WITHOUT_TLS = """
{apiVersion: mesh.istio.io/v1alpha1, kind: MeshConfig,
 metadata: {name: default, namespace: istio-system}, spec: {enableAutoMtls: false}}
"""


def resources(*texts: str) -> list[Resource]:
    """What the caller gets, over ADS; its listener has a port of its own choice."""
    found = resources_of(world(WITHOUT_TLS, *texts).snapshot(1).view(caller()))
    listener = found.listeners["127.0.0.1_8080"]
    listener.address.socket_address.port_value = 0
    return [
        *(resource(name, CDS, each) for name, each in found.clusters.items()),
        *(resource(name, EDS, each) for name, each in found.endpoints.items()),
        *(resource(name, RDS, each) for name, each in found.routes.items()),
        resource(listener.name, LDS, listener),
    ]


@asynccontextmanager
async def tls_server(name: str, ca: Ca, directory: Path) -> AsyncIterator[int]:
    """An echo server that demands a certificate of the mesh."""
    own = ca.leaf(uris=[WEB])
    for file, content in (("chain", own.chain), ("key", own.key), ("roots", ca.pem)):
        (directory / f"{name}-{file}.pem").write_bytes(content)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / f"{name}-chain.pem", directory / f"{name}-key.pem")
    context.load_verify_locations(directory / f"{name}-roots.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    async with serving(EchoServer(name).serve, context) as port:
        yield port
