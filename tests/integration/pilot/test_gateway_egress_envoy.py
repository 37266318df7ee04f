"""Gateways in a real Envoy: the way out, HTTP/3, what stands before a gateway (pilot.md I, G5).

Acceptance 19 (egress).
"""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from envoy.config.bootstrap.v3.bootstrap_pb2 import Bootstrap
from envoy.config.core.v3.address_pb2 import SocketAddress
from envoy.config.route.v3.route_components_pb2 import Route, RouteAction, RouteMatch
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.transport_sockets.quic.v3.quic_transport_pb2 import QuicUpstreamTransport
from envoy.extensions.upstreams.http.v3.http_protocol_options_pb2 import HttpProtocolOptions

from mast.pilot.core.packing import packed
from mast.pilot.core.security.server_tls import QUIC
from mast.pilot.core.xds.resources import RDS
from tests.support.credentials import secret_yaml
from tests.support.envoy_server import complaints, envoy_server
from tests.support.envoy_static import answering_listener, bootstrap, cluster
from tests.support.etcd_server import free_port
from tests.support.gateway_envoy import IDENTITY, router
from tests.support.http_probe import Closed, EchoServer, echo_server, fetch, serving
from tests.support.mesh_yaml import sidecar_proxy
from tests.support.pki import DAY, Ca, Pair, key_pem, wall_clock
from tests.support.sds_server import workload
from tests.support.tls_contexts import tls_client, tls_server

CA, MESH_CA = Ca.root(), Ca.root("mesh")
CLIENT, REVOKED = CA.leaf(dns=["client.test"]), CA.leaf(dns=["revoked.test"])
PEER = MESH_CA.leaf(uris=["spiffe://cluster.local/ns/shop/sa/web"])
HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

EGRESS = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: egress, namespace: edge}}
spec:
  selector: {{istio: ingressgateway}}
  servers:
  - port: {{number: {port}, name: https, protocol: HTTPS}}
    hosts: [api.outside.test]
    tls: {{mode: ISTIO_MUTUAL}}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: api, namespace: edge}}
spec:
  hosts: [api.outside.test]
  location: MESH_EXTERNAL
  resolution: STATIC
  ports:
  - {{number: 80, name: http, protocol: HTTP}}
  - {{number: 443, name: http-tls, protocol: HTTP}}
  endpoints: [{{address: 127.0.0.1, ports: {{http: 1, http-tls: {backend}}}}}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: egress, namespace: edge}}
spec:
  hosts: [egress.edge.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{{number: {port}, name: http, protocol: HTTP}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: api, namespace: edge}}
spec:
  host: api.outside.test
  trafficPolicy:
    portLevelSettings:
    - port: {{number: 443}}
      tls: {{mode: MUTUAL, credentialName: outside, sni: api.outside.test}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: api, namespace: edge}}
spec:
  hosts: [api.outside.test]
  gateways: [mesh, egress]
  http:
  - match: [{{gateways: [mesh], port: 80}}]
    route: [{{destination: {{host: egress.edge.svc.cluster.local, port: {{number: {port}}}}}}}]
  - match: [{{gateways: [egress], port: {port}}}]
    route: [{{destination: {{host: api.outside.test, port: {{number: 443}}}}}}]
"""

INGRESS = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: web, namespace: edge}}
spec:
  selector: {{istio: ingressgateway}}
  servers:
  - port: {{number: {port}, name: https, protocol: HTTPS}}
    hosts: [web.test]
    tls: {tls}
  - port: {{number: {plain}, name: http, protocol: HTTP}}
    hosts: ["*"]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: web, namespace: edge}}
spec:
  hosts: [web.test]
  gateways: [web]
  http: [{{route: [{{destination: {{host: web}}}}]}}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: web, namespace: edge}}
spec:
  hosts: [web.edge.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  endpoints: [{{address: 127.0.0.1, ports: {{http: {backend}}}}}]
"""


def secret(name: str, pair: Pair, **more: bytes) -> str:
    return secret_yaml(name, "edge", tls_crt=pair.chain, tls_key=pair.key, **more)


def rsa_leaf() -> Pair:
    """A certificate of the authority with an RSA key."""
    other = Ca.root(rsa_bits=2048)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(CA.certificate.subject)
        .public_key(other.certificate.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(wall_clock() - DAY)
        .not_valid_after(wall_clock() + DAY)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("web.test")]), critical=True)
    )
    leaf = builder.sign(CA.key, hashes.SHA256())  # type: ignore[arg-type]
    return Pair(leaf.public_bytes(serialization.Encoding.PEM), key_pem(other.key))


def revocations(*revoked: Pair) -> bytes:
    now = wall_clock()
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(CA.certificate.subject)
        .last_update(now - DAY)
        .next_update(now + DAY)
    )
    for each in revoked:
        (leaf,) = x509.load_pem_x509_certificates(each.chain)
        entry = x509.RevokedCertificateBuilder().serial_number(leaf.serial_number)
        builder = builder.add_revoked_certificate(entry.revocation_date(now - DAY).build())
    made = builder.sign(CA.key, hashes.SHA256())  # type: ignore[arg-type]
    return made.public_bytes(serialization.Encoding.PEM)


@asynccontextmanager
async def secure_echo() -> AsyncIterator[int]:
    """A server outside of the mesh that wants to know its clients."""
    context = tls_server(CA.leaf(dns=["api.outside.test"]))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=CA.pem.decode())
    async with serving(EchoServer("outside").serve, context) as port:
        yield port


async def test_an_egress_gateway_ends_the_tls_of_the_mesh_and_begins_its_own(
    tmp_path: Path,
) -> None:
    port = free_port()
    outside = secret("outside", CLIENT, ca_crt=CA.pem)
    async with secure_echo() as backend:
        mesh = EGRESS.format(port=port, backend=backend)
        agent = workload(MESH_CA, IDENTITY)
        async with router(tmp_path, mesh, outside, secrets=agent) as egress:
            inside = tls_client(MESH_CA, PEER)
            inside.check_hostname = False
            reply = await fetch(
                port, "api.outside.test", tls=inside, server_name="api.outside.test"
            )
            assert (reply.status, reply.echo.server) == (200, "outside")
            assert complaints(egress.envoy.log.read_text()) == []
            work = egress.ads.connections.facilities.work
            view = (await work(egress.world.snapshot)).view(sidecar_proxy("edge"))
            found = await work(lambda: view.named(RDS, "80"))
            assert found is not None
            assert leads_to(found.body, "api.outside.test:80") == [
                f"outbound|{port}||egress.edge.svc.cluster.local"
            ]


def leads_to(body: bytes, name: str) -> list[str]:
    """Clusters of the routes of a virtual host."""
    found = RouteConfiguration.FromString(body).virtual_hosts
    return [route.route.cluster for each in found if each.name == name for route in each.routes]


async def test_a_certificate_for_every_kind_of_client(tmp_path: Path) -> None:
    port, plain = free_port(), free_port()
    tls = "{mode: SIMPLE, credentialNames: [rsa, ecdsa]}"
    secrets = secret("rsa", rsa_leaf()), secret("ecdsa", CA.leaf(dns=["web.test"]))
    async with echo_server("web") as web:
        mesh = INGRESS.format(port=port, plain=plain, tls=tls, backend=web.port)
        async with router(tmp_path, mesh, *secrets):
            for kind in ("ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256"):
                client = tls_client(CA)
                client.maximum_version = ssl.TLSVersion.TLSv1_2
                client.set_ciphers(kind)
                reply = await fetch(port, "web.test", tls=client, server_name="web.test")
                assert reply.status == 200


async def test_revoked_clients_are_refused(tmp_path: Path) -> None:
    port, plain = free_port(), free_port()
    credential = secret(
        "web", CA.leaf(dns=["web.test"]), ca_crt=CA.pem, ca_crl=revocations(REVOKED)
    )
    tls = "{mode: MUTUAL, credentialName: web}"
    async with echo_server("web") as web:
        mesh = INGRESS.format(port=port, plain=plain, tls=tls, backend=web.port)
        async with router(tmp_path, mesh, credential):
            good, bad = tls_client(CA, CLIENT), tls_client(CA, REVOKED)
            reply = await fetch(port, "web.test", tls=good, server_name="web.test")
            assert reply.status == 200
            with pytest.raises(Closed):
                await fetch(port, "web.test", tls=bad, server_name="web.test")


async def test_what_stands_before_a_gateway_is_believed(tmp_path: Path) -> None:
    port, plain = free_port(), free_port()
    topology = {"numTrustedProxies": 1, "proxyProtocol": {}}
    async with echo_server("web") as web:
        mesh = INGRESS.format(port=port, plain=plain, tls="{mode: PASSTHROUGH}", backend=web.port)
        config = {"gatewayTopology": topology}
        async with router(tmp_path, mesh, PROXY_CONFIG=config):
            told = {"x-forwarded-for": "203.0.113.9"}
            where = f"127.0.0.1:{plain}"
            reply = await fetch(plain, "web.test", headers=told, captured_for=where)
            assert reply.echo.header("x-forwarded-for") == "203.0.113.9,192.0.2.1"
            assert reply.echo.header("x-envoy-external-address") == "203.0.113.9"


async def test_http_3(tmp_path: Path) -> None:
    port, plain = free_port(), free_port()
    tls = "{mode: SIMPLE, credentialName: web}"
    credential = secret("web", CA.leaf(dns=["web.test"]))
    client = tmp_path / "client"
    client.mkdir()
    async with echo_server("web") as web:
        mesh = INGRESS.format(port=port, plain=plain, tls=tls, backend=web.port)
        async with (
            router(tmp_path, mesh, credential, quic=True) as gateway,
            envoy_server(http_3_client(port), client) as proxy,
        ):
            over_tcp = await fetch(port, "web.test", tls=tls_client(CA), server_name="web.test")
            assert over_tcp.header("alt-svc") == f'h3=":{port}"; ma=86400'
            over_udp = await fetch(proxy.ports["test"], "web.test")
            assert over_udp.status == 200
            assert await proxy.stat("cluster.gateway.upstream_cx_http3_total") == 1
            assert complaints(gateway.envoy.log.read_text()) == []


def http_3_client(port: int) -> Bootstrap:
    """An Envoy that passes requests on over HTTP/3."""
    target = cluster("gateway", port)
    endpoint = target.load_assignment.endpoints[0].lb_endpoints[0].endpoint
    endpoint.address.socket_address.protocol = SocketAddress.UDP
    options = HttpProtocolOptions()
    options.explicit_http_config.http3_protocol_options.SetInParent()
    target.typed_extension_protocol_options[HTTP_OPTIONS].CopyFrom(packed(options))
    transport = QuicUpstreamTransport()
    transport.upstream_tls_context.sni = "web.test"
    validation = transport.upstream_tls_context.common_tls_context.validation_context
    validation.trusted_ca.inline_bytes = CA.pem
    target.transport_socket.name = QUIC
    target.transport_socket.typed_config.CopyFrom(packed(transport))
    route = Route(match=RouteMatch(prefix="/"), route=RouteAction(cluster="gateway"))
    return bootstrap([answering_listener([route])], [target])
