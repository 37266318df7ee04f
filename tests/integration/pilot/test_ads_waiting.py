"""What a real Envoy waits for, and what goes on meanwhile (pilot.md B4, B5, B7, B16).

Acceptance 4. One Envoy for each protocol goes through it all.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from dnslib import QTYPE, RR, A, DNSRecord
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.extensions.clusters.dns.v3.dns_cluster_pb2 import DnsCluster
from envoy.extensions.network.dns_resolver.cares.v3.cares_dns_resolver_pb2 import (
    CaresDnsResolverConfig,
)

from mast.pilot.core.clusters.dns import apply_dns
from mast.pilot.core.clusters.endpoints import address
from mast.pilot.core.model.mesh import Mesh
from mast.pilot.core.packing import packed
from mast.pilot.core.xds.resources import CDS, LDS, RDS, Resource, resource
from tests.fakes.pilot_views import FakeMesh, assignment, eds_cluster, proxy, routes, static_cluster
from tests.support.ads_server import Ads, ads_server, bootstrap, http_listener, load, until
from tests.support.envoy_server import EnvoyServer, envoy_server
from tests.support.http_probe import EchoServer, echo_server, fetch

DEAD = "dead.test"


class NameServer(asyncio.DatagramProtocol):
    """Knows every name to be on the loopback address, and is silent about one."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        question = DNSRecord.parse(data)
        if question.q.qname == DEAD:
            return
        answer = question.reply()
        if question.q.qtype == QTYPE.A:
            answer.add_answer(RR(question.q.qname, rdata=A("127.0.0.1"), ttl=60))
        self.transport.sendto(answer.pack(), addr)


@asynccontextmanager
async def name_server() -> AsyncIterator[int]:
    """Runs one; gives its port."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(NameServer, local_addr=("127.0.0.1", 0))
    try:
        yield transport.get_extra_info("sockname")[1]
    finally:
        transport.close()


def dns_cluster(host: str, port: int, resolver: int, stat: str = "") -> Resource:
    """A cluster as Pilot makes it, but that it asks the name server of the test."""
    cluster = Cluster(name=host, alt_stat_name=stat)
    cluster.connect_timeout.FromSeconds(1)
    apply_dns(cluster, Mesh(), proxy(), single_endpoint=False)
    group = cluster.load_assignment.endpoints.add()
    cluster.load_assignment.cluster_name = host
    group.lb_endpoints.add().endpoint.address.CopyFrom(address(host, port))
    config, asking = DnsCluster(), CaresDnsResolverConfig()
    assert cluster.cluster_type.typed_config.Unpack(config)
    assert config.typed_dns_resolver_config.typed_config.Unpack(asking)
    asking.resolvers.append(address("127.0.0.1", resolver))
    config.typed_dns_resolver_config.typed_config.CopyFrom(packed(asking))
    cluster.cluster_type.typed_config.CopyFrom(packed(config))
    return resource(host, CDS, cluster)


async def warming(envoy: EnvoyServer, number: int) -> bool:
    return await envoy.stat("cluster_manager.warming_clusters") == number


async def ports(envoy: EnvoyServer) -> dict[str, int]:
    """Ports of the listeners it has now."""
    statuses = json.loads(await envoy.get("/listeners?format=json")).get("listener_statuses", [])
    return {
        each["name"]: each["local_address"]["socket_address"]["port_value"] for each in statuses
    }


def synced(ads: Ads, type_url: str) -> bool:
    return ads.watch(type_url).quiet


@pytest.mark.parametrize("delta", [True, False], ids=["delta", "sotw"])
async def test_waiting(tmp_path, delta):
    mesh = FakeMesh()
    async with name_server() as dns, echo_server("web") as web, echo_server("a") as other:
        mesh.put(dns_cluster("web.test", web.port, dns), dns_cluster(DEAD, 1, dns))
        mesh.put(eds_cluster("a"), assignment("a", [other.port]))
        mesh.put(http_listener("in", "r"), routes("r", "web.test"))
        async with ads_server(mesh) as ads:
            began = time.monotonic()
            async with envoy_server(bootstrap(ads.port, delta=delta), tmp_path) as envoy:
                assert time.monotonic() - began < 10, "a dead name holds up the start"
                async with load(envoy.ports["in"]):
                    await changes_of_a_healthy_name(ads, mesh, envoy, (web.port, dns))
                    await changes_beside_a_dead_name(ads, mesh, envoy, other, dns)
                await a_listener_that_comes_back(ads, mesh, envoy)
                assert await envoy.stat("cluster_manager.cds.update_rejected") == 0
        assert ads.metric("pilot_total_xds_rejects") == 0


async def changes_of_a_healthy_name(
    ads: Ads, mesh: FakeMesh, envoy: EnvoyServer, where: tuple[int, int]
) -> None:
    """The new cluster is used once its name is resolved; no request fails."""
    for number in range(3):
        mesh.put(dns_cluster("web.test", *where, stat=f"web{number}"))
        await ads.push()
        await until(lambda: synced(ads, CDS))
        await until(lambda: warming(envoy, 0))


async def changes_beside_a_dead_name(
    ads: Ads, mesh: FakeMesh, envoy: EnvoyServer, other: EchoServer, dns: int
) -> None:
    """Clusters are acknowledged late; whatever is pushed meanwhile takes effect at once (B4)."""
    mesh.put(dns_cluster(DEAD, 1, dns, stat="changed"))
    await ads.push()
    await until(lambda: warming(envoy, 1))
    mesh.put(routes("r", "a"))
    await ads.push()
    await other.wait_for(3)
    assert ads.watch(CDS).outstanding, "Envoy accepts clusters when they are ready"
    mesh.put(static_cluster("late"))
    await ads.push()
    await until(lambda: has_cluster(envoy, "late"))
    await until(lambda: synced(ads, CDS))
    assert await warming(envoy, 0)


async def has_cluster(envoy: EnvoyServer, name: str) -> bool:
    return any(line.startswith(f"{name}::") for line in (await envoy.get("/clusters")).splitlines())


async def a_listener_that_comes_back(ads: Ads, mesh: FakeMesh, envoy: EnvoyServer) -> None:
    """Envoy keeps its routes subscribed while the old listener drains and does not ask (B7)."""
    old = mesh.resources[LDS, "in"]
    mesh.remove(LDS, "in")
    await ads.push()
    await until(lambda: no_ports(envoy))
    assert ads.watch(RDS).names == {"r"}
    mesh.put(old)
    await ads.push()
    await until(lambda: synced(ads, LDS))
    await until(lambda: ports(envoy))
    reply = await fetch((await ports(envoy))["in"], "web")
    assert reply.status == 200


async def no_ports(envoy: EnvoyServer) -> bool:
    return not await ports(envoy)
