"""The ADS proxy between a real Envoy and a control plane: names, health, headers (B4, B8, B9)."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from dnslib import QTYPE, DNSQuestion, DNSRecord
from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import StringValue

from istio.mesh.v1alpha1.proxy_pb2 import ProxyConfig
from istio.networking.nds.v1.nds_pb2 import NameTable
from mast.agent.core import ads
from tests.integration.agent.application import Application
from tests.integration.agent.control_plane import ControlPlane
from tests.integration.agent.running import RunningAgent, agent, environment, loopback
from tests.support.pki import Ca


def capturing(plane: ControlPlane, work: Path, address: str, **more: str) -> dict[str, str]:
    (work / "resolv.conf").write_text("nameserver 127.0.0.9\nsearch shop.svc.cluster.local\n")
    return environment(
        plane,
        address,
        ISTIO_META_DNS_CAPTURE="true",
        DNS_PROXY_ADDR=f"{address}:15053",
        MAST_RESOLV_CONF="resolv.conf",
        **more,
    )


def name_table(host: str, *ips: str) -> NameTable:
    table = NameTable()
    table.table[host].ips.extend(ips)
    table.table[host].registry = "External"
    return table


async def addresses(running: RunningAgent, name: str) -> list[str]:
    """What the agent's DNS proxy says over TCP; it stands at the agent's own address."""
    reader, writer = await asyncio.open_connection(running.address, 15053)
    data = DNSRecord(q=DNSQuestion(name, QTYPE.A)).pack()
    writer.write(len(data).to_bytes(2, "big") + data)
    async with asyncio.timeout(20):
        size = int.from_bytes(await reader.readexactly(2), "big")
        reply = DNSRecord.parse(await reader.readexactly(size))
    writer.close()
    return [str(each.rdata) for each in reply.rr]


async def test_names_come_over_the_same_stream(plane: ControlPlane, work: Path) -> None:
    async with agent(work, capturing(plane, work, loopback())) as running:
        plane.discovery.silence(ads.NDS)
        plane.discovery.set(ads.NDS, {"": name_table("db.example.com", "240.240.0.7")})
        await running.until(
            15020, "/healthz/ready", lambda status, text: status == 503 and "name table" in text
        )
        assert await addresses(running, "db.example.com") == []
        plane.discovery.speak(ads.NDS)
        await running.ready()
        assert await addresses(running, "db.example.com") == ["240.240.0.7"]
        plane.discovery.set(ads.NDS, {"": name_table("db.example.com", "240.240.0.8")})
        await running.logged("names.updated", lambda _: len(running.events("names.updated")) > 1)
        assert await addresses(running, "db.example.com") == ["240.240.0.8"]
        _, page = await running.get(15020, "/debug/ndsz")
        assert json.loads(page)["table"]["db.example.com"]["ips"] == ["240.240.0.8"]
        assert len(plane.discovery.streams) == 1


async def test_unreadable_names_are_rejected(plane: ControlPlane, work: Path) -> None:
    plane.discovery.set(ads.NDS, {"": name_table("db.example.com", "240.240.0.7")})
    async with agent(work, capturing(plane, work, loopback())) as running:
        await running.ready()
        wrong: dict[str, Message] = {"": StringValue(value="not a name table")}
        plane.discovery.set(ads.NDS, wrong)
        refusal = await plane.discovery.asked(
            lambda each: each.type_url == ads.NDS and each.error_detail.message != ""
        )
        assert refusal.error_detail.code == 13
        assert "StringValue" in refusal.error_detail.message
        assert await addresses(running, "db.example.com") == ["240.240.0.7"], "the last good one"


async def test_health_is_told_when_it_changes(
    plane: ControlPlane, work: Path, application: Application
) -> None:
    probe = {
        "periodSeconds": 1,
        "httpGet": {"port": 9080, "path": "/", "scheme": "http"},
    }
    env = environment(plane, loopback())
    config = json.loads(env["PROXY_CONFIG"]) | {"readinessProbe": probe}
    env |= {
        "PROXY_CONFIG": json.dumps(config),
        "ISTIO_META_APP_ENDPOINTS": json.dumps({"9080": f"127.0.0.1:{application.port}"}),
    }
    async with agent(work, env) as running:
        healthy = await plane.discovery.asked(lambda each: each.type_url == ads.HEALTH)
        assert not healthy.HasField("error_detail")
        application.ill = True
        ill = await plane.discovery.asked(
            lambda each: each.type_url == ads.HEALTH and each.HasField("error_detail")
        )
        assert ill.error_detail.message == "HTTP status 503"
        seen = len(plane.discovery.requests)
        plane.discovery.end_streams()
        again = await plane.discovery.asked(lambda each: each.type_url == ads.HEALTH, after=seen)
        assert again.error_detail.message == "HTTP status 503", "told again after a reconnect"
        assert len(running.events("workload.health")) == 2


async def test_mesh_roots_arrive_as_proxy_config(plane: ControlPlane, work: Path) -> None:
    """A new mesh bundle joins ROOTCA and asks for a new certificate (B3.4, A8)."""
    async with agent(
        work, environment(plane, loopback(), PROXY_CONFIG_XDS_AGENT="true")
    ) as running:
        await running.ready()
        await running.logged("secret.published", lambda each: each["name"] == "default")
        other = Ca.root("another mesh")
        plane.discovery.set(ads.PCDS, {"": ProxyConfig(ca_certificates_pem=[other.pem.decode()])})
        await running.logged(
            "certificate.renewed", lambda _: len(running.events("certificate.renewed")) > 1
        )
        published = [each["name"] for each in running.events("secret.published")]
        assert published.count("ROOTCA") == 2


async def test_headers_and_cluster(plane: ControlPlane, work: Path) -> None:
    env = environment(plane, loopback(), XDS_HEADER_X_TEAM="shop", CA_HEADER_X_TEAM="shop")
    async with agent(work, env) as running:
        await running.ready()
        await running.logged("certificate.renewed")
    assert plane.discovery.metadata[-1]["clusterid"] == "laptop"
    assert plane.discovery.metadata[-1]["x_team"] == "shop"
    assert plane.certificates.metadata[-1]["clusterid"] == "laptop"
    assert plane.certificates.metadata[-1]["x_team"] == "shop"
    assert "authorization" not in plane.discovery.metadata[-1], "the certificate is enough"
