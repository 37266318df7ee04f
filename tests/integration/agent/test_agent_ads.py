"""The ADS proxy between a real Envoy and a control plane: names, health, headers (B4, B8, B9)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import grpc
import grpc.aio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from dnslib import QTYPE, DNSQuestion, DNSRecord
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse
from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import StringValue

from istio.mesh.v1alpha1.proxy_pb2 import ProxyConfig
from istio.networking.nds.v1.nds_pb2 import NameTable
from mast.agent.core import ads
from tests.integration.agent.application import Application
from tests.integration.agent.control_plane import ControlPlane
from tests.integration.agent.envoy_config import CDS, application_cluster, inbound_listener
from tests.integration.agent.running import RunningAgent, agent, environment, loopback
from tests.support.pki import Ca

Call = grpc.aio.StreamStreamCall[bytes, bytes]


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


@pytest.mark.parametrize(
    ("env", "kind", "bits"),
    [
        pytest.param({}, ec.EllipticCurvePublicKey, 256, id="default"),
        pytest.param({"WORKLOAD_RSA_KEY_SIZE": "2048"}, rsa.RSAPublicKey, 2048, id="rsa"),
        pytest.param(
            {"ECC_SIGNATURE_ALGORITHM": "ECDSA", "ECC_CURVE": "P384"},
            ec.EllipticCurvePublicKey,
            384,
            id="p384",
        ),
    ],
)
async def test_what_citadel_is_asked(
    plane: ControlPlane, work: Path, env: dict[str, str], kind: type, bits: int
) -> None:
    """Key, life and signer are those of the variables; the identity is the workload's (B2.2)."""
    asking = {"SECRET_TTL": "2h", "ISTIO_META_CERT_SIGNER": "mesh", "DISABLE_ENVOY": "true", **env}
    async with agent(work, environment(plane, loopback(), **asking)) as running:
        await running.logged("certificate.renewed")
    (request,) = plane.certificates.requests
    assert request.validity_duration == 7200
    assert dict(request.metadata) == {"CertSigner": "mesh"}
    csr = x509.load_pem_x509_csr(request.csr.encode())
    key = csr.public_key()
    assert isinstance(key, kind)
    assert key.key_size == bits
    names = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [each.value for each in names] == ["spiffe://cluster.local/ns/shop/sa/reviews"]


@asynccontextmanager
async def streams(work: Path) -> AsyncIterator[Callable[[], Call]]:
    """Opens raw delta streams to the agent, as another client than Envoy."""
    link = work.parent / "x"  # Unix socket paths are short
    link.symlink_to(work / "etc/istio/proxy")
    options = [("grpc.max_receive_message_length", -1)]
    async with grpc.aio.insecure_channel(f"unix:{link}/XDS", options=options) as channel:
        open_stream: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(
            "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
        )

        def opened() -> Call:
            call: Call = open_stream()
            return call

        yield opened


async def test_grpc_library_finds_its_way(plane: ControlPlane, work: Path) -> None:
    """A program whose gRPC speaks xDS: it reads the agent's bootstrap and asks through it."""
    env = environment(
        plane,
        loopback(),
        GRPC_XDS_BOOTSTRAP="./etc/istio/proxy/grpc-bootstrap.json",
        OUTPUT_CERTS="./certs",
        DISABLE_ENVOY="true",
    )
    path = work / "etc/istio/proxy/grpc-bootstrap.json"
    async with agent(work, env) as running:
        await running.logged("secret.published", lambda each: each["name"] == "default")
        bootstrap = json.loads(path.read_text())
        certificates = bootstrap["certificate_providers"]["default"]["config"]
        assert Path(certificates["private_key_file"]).exists()
        uri = bootstrap["xds_servers"][0]["server_uri"]
        assert uri == f"unix://{work}/etc/istio/proxy/XDS"
        async with streams(work) as open_stream:
            request = DeltaDiscoveryRequest(type_url=ads.LDS)
            request.node.id = bootstrap["node"]["id"]
            await open_stream().write(request.SerializeToString())
            seen = await plane.discovery.asked(lambda each: each.type_url == ads.LDS)
            assert seen.node.id == bootstrap["node"]["id"]
    assert not path.exists()


async def test_a_grpc_library_has_a_stream_for_each_target(plane: ControlPlane, work: Path) -> None:
    """None of them ends another, nor that of an Envoy (pilot.md B29)."""
    async with agent(work, environment(plane, loopback(), DISABLE_ENVOY="true")) as running:
        await running.logged("secret.published", lambda each: each["name"] == "default")
        async with streams(work) as open_stream:
            envoy = open_stream()
            await envoy.write(DeltaDiscoveryRequest(type_url=CDS).SerializeToString())
            library = [open_stream(), open_stream()]
            for number, each in enumerate(library):
                request = DeltaDiscoveryRequest(type_url=ads.LDS)
                request.node.metadata["GENERATOR"] = "grpc"
                request.resource_names_subscribe.append(f"target-{number}")
                await each.write(request.SerializeToString())
                await plane.discovery.asked(
                    lambda asked, number=number: (
                        asked.resource_names_subscribe == [f"target-{number}"]
                    )
                )
            plane.discovery.set(CDS, {"a": StringValue(value="a")})
            plane.discovery.set(ads.LDS, {"a": StringValue(value="a")})
            async with asyncio.timeout(10):
                for each in (envoy, *library):
                    assert isinstance(await each.read(), bytes)


async def test_ready_once_a_grpc_library_finds_its_files(plane: ControlPlane, work: Path) -> None:
    """It reads them when it starts, and certificates only every quarter of an hour after that."""
    plane.certificates.down = True
    env = environment(
        plane,
        loopback(),
        GRPC_XDS_BOOTSTRAP="./grpc.json",
        OUTPUT_CERTS="./certs",
        DISABLE_ENVOY="true",
    )
    async with agent(work, env) as running:
        problem = await running.until(15020, "/healthz/ready", lambda status, _: status == 503)
        assert "certs/cert-chain.pem" in problem
        plane.certificates.down = False
        await running.until(15020, "/healthz/ready", lambda status, _: status == 200)
        assert (work / "grpc.json").exists()
        assert (work / "certs/key.pem").stat().st_mode & 0o777 == 0o600


async def test_a_newer_stream_ends_the_older(plane: ControlPlane, work: Path) -> None:
    async with agent(work, environment(plane, loopback(), DISABLE_ENVOY="true")) as running:
        await running.logged("secret.published", lambda each: each["name"] == "default")
        async with streams(work) as open_stream:
            first = open_stream()
            await first.write(DeltaDiscoveryRequest(type_url=ads.LDS).SerializeToString())
            await plane.discovery.asked(lambda each: each.type_url == ads.LDS)
            second = open_stream()
            await second.write(DeltaDiscoveryRequest(type_url=ads.LDS).SerializeToString())
            async with asyncio.timeout(10):
                with suppress(grpc.aio.AioRpcError):
                    while True:
                        await first.read()
                assert await first.code() is grpc.StatusCode.CANCELLED
            garbage = open_stream()
            await garbage.write(b"\x0b")
            async with asyncio.timeout(10):
                assert await garbage.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_bytes_pass_unchanged_whatever_their_size(plane: ControlPlane, work: Path) -> None:
    """Fields that the agent does not know survive; there is no size limit (B4.2)."""
    unknown = b"\xfa\x3e\x05extra"  # field 1007
    big = StringValue(value="x" * 12_000_000)
    plane.discovery.set(CDS, {"big": big})
    async with agent(work, environment(plane, loopback(), DISABLE_ENVOY="true")) as running:
        await running.logged("secret.published", lambda each: each["name"] == "default")
        async with streams(work) as open_stream:
            call = open_stream()
            request = DeltaDiscoveryRequest(type_url=CDS).SerializeToString() + unknown
            await call.write(request)
            async with asyncio.timeout(20):
                data = await call.read()
            assert isinstance(data, bytes)
            (resource,) = DeltaDiscoveryResponse.FromString(data).resources
            assert StringValue.FromString(resource.resource.value) == big
            assert plane.discovery.requests[0].SerializeToString() == request


async def test_state_of_the_world_variant(
    plane: ControlPlane, work: Path, application: Application
) -> None:
    """Envoy speaks the older variant; names and listeners come the same way."""
    plane.discovery.set(ads.NDS, {"": name_table("db.example.com", "240.240.0.7")})
    env = capturing(plane, work, loopback(), ISTIO_DELTA_XDS="false")
    async with agent(work, env) as running:
        await running.ready()
        await running.logged("ads.connected")
        assert {each["method"] for each in running.events("ads.connected")} == {
            "StreamAggregatedResources"
        }
        assert await addresses(running, "db.example.com") == ["240.240.0.7"]
        listener = inbound_listener(running.address, 9080, mutual_tls=False)
        plane.discovery.set(CDS, {"application": application_cluster(application.port)})
        plane.discovery.set(ads.LDS, {listener.name: listener})
        await running.until(9080, "/", lambda status, _: status == 200)


async def test_proxy_config_of_pilot_before_envoy_starts(plane: ControlPlane, work: Path) -> None:
    """It wins over the mesh file; what the proxy itself says wins over it (pilot.md B, PCDS)."""
    told = ProxyConfig(discovery_address="elsewhere:1", stat_name_length=1)
    told.drain_duration.FromSeconds(33)
    told.proxy_stats_matcher.inclusion_prefixes.append("http")
    told.extra_stat_tags.append("flavour")
    told.proxy_metadata["FROM_PILOT"] = "yes"
    told.runtime_values["a.b"] = "7"
    plane.discovery.set(ads.PCDS, {"": told})
    env = environment(plane, loopback(), PROXY_CONFIG_XDS_AGENT="true")
    own = json.loads(env["PROXY_CONFIG"])
    env["PROXY_CONFIG"] = json.dumps(own | {"extraStatTags": ["own"]})
    async with agent(work, env) as running:
        taken = await running.logged("proxy_config.taken")
        assert taken["fields"] == [
            "drainDuration",
            "extraStatTags",
            "proxyMetadata",
            "proxyStatsMatcher",
            "runtimeValues",
        ]
        await running.ready()
        bootstrap = json.loads((work / "etc/istio/proxy/envoy-rev.json").read_text())
        tags = [each["tag_name"] for each in bootstrap["stats_config"]["stats_tags"]]
        assert "own" in tags
        assert "flavour" not in tags
        assert bootstrap["layered_runtime"]["layers"][0]["static_layer"]["a.b"] == "7"
        seen = bootstrap["node"]["metadata"]["PROXY_CONFIG"]
        assert seen["discoveryAddress"] == own["discoveryAddress"]
        process = Path(f"/proc/{running.events('envoy.started')[0]['pid']}")
        assert b"FROM_PILOT=yes" in (process / "environ").read_bytes().split(b"\0")
        command = (process / "cmdline").read_bytes().split(b"\0")
        assert command[command.index(b"--drain-time-s") + 1] == b"33"
