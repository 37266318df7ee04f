"""What MeshConfig says of TLS, in real handshakes with a sidecar (`meshMTLS`, `tlsDefaults`)."""

import json
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.envoy_server import EnvoyServer
from tests.support.http_probe import Closed, EchoServer, echo_server, fetch, serving
from tests.support.mesh_yaml import sidecar_proxy
from tests.support.pki import Ca, Pair
from tests.support.secret_files import write_secrets
from tests.support.sidecars import sidecar

WEB = "web.default.svc.cluster.local"
ME = "spiffe://cluster.local/ns/default/sa/client"
STRONG, FAST = "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-GCM-SHA256"
MUTUAL, SIMPLE = 8080, 9443
"""Ports of the sidecar: one with mutual TLS, one that ends TLS with a certificate of its own."""

CHOSEN = f"""
meshMTLS: {{cipherSuites: [{STRONG}], ecdhCurves: [P-384]}},
tlsDefaults: {{cipherSuites: [{FAST}], ecdhCurves: [P-256]}}
"""
NEWEST = """
meshMTLS: {minProtocolVersion: TLSV1_3}, tlsDefaults: {minProtocolVersion: TLSV1_3}
"""

MESH = """
{apiVersion: mesh.istio.io/v1alpha1, kind: MeshConfig,
 metadata: {name: default, namespace: istio-system}, spec: {SETTINGS}}
---
{apiVersion: security.istio.io/v1, kind: PeerAuthentication, metadata: {name: web},
 spec: {selector: {matchLabels: {app: web}}, mtls: {mode: STRICT},
        portLevelMtls: {"9443": {mode: DISABLE}}}}
---
{apiVersion: networking.istio.io/v1, kind: Sidecar, metadata: {name: web},
 spec: {workloadSelector: {labels: {app: web}}, egress: [{hosts: ["./*"]}],
        ingress: [
          {port: {number: 8080, protocol: HTTP, name: http}, defaultEndpoint: "127.0.0.1:BEHIND"},
          {port: {number: 9443, protocol: HTTPS, name: https}, defaultEndpoint: "127.0.0.1:BEHIND",
           tls: {mode: SIMPLE, serverCertificate: cert, privateKey: key}}]}}
"""
ELSEWHERE = """
---
{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: NAME},
 spec: {hosts: [NAME.test], location: MESH_EXTERNAL, resolution: STATIC,
        ports: [{number: NUMBER, name: http, protocol: HTTP}],
        endpoints: [{address: 127.0.0.1, ports: {http: PORT}}]}}
---
{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: NAME},
 spec: {host: NAME.test,
        trafficPolicy: {tls: {mode: SIMPLE, sni: NAME.test, insecureSkipVerify: true}}}}
"""


@dataclass
class Site:
    """A sidecar, with applications behind it and servers beyond it."""

    envoy: EnvoyServer
    roots: Path
    pair: Path

    def client(self) -> ssl.SSLContext:
        """What a workload of the mesh calls with; names are not what is shown here."""
        context = ssl.create_default_context(cafile=str(self.roots))
        context.check_hostname = False
        context.load_cert_chain(self.pair)
        return context

    async def answers(self, port: int, context: ssl.SSLContext) -> bool:
        """Whether a port of the sidecar takes the caller."""
        try:
            reply = await fetch(self.envoy.ports[f"127.0.0.1_{port}"], WEB, tls=context)
        except (Closed, ssl.SSLError, ConnectionError):
            return False
        return reply.status == 200

    async def reaches(self, name: str, number: int) -> bool:
        """Whether the sidecar gets through to a server beyond it."""
        reply = await fetch(self.envoy.ports[f"127.0.0.1_{number}"], f"{name}.test")
        return reply.status == 200


def beyond(ca: Ca, directory: Path, curve: str) -> ssl.SSLContext:
    """A server that agrees on one curve only, with TLS 1.2."""
    pair = ca.leaf(dns=["elsewhere.test"])
    (directory / "server.pem").write_bytes(pair.chain + pair.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "server.pem")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ecdh_curve(curve)
    return context


def write_server_pair(directory: Path, own: Pair) -> None:
    """The files that a server's settings name, as the agent would serve them."""
    certificate = {
        "certificate_chain": {"inline_string": own.chain.decode()},
        "private_key": {"inline_string": own.key.decode()},
    }
    name = "file-cert:cert~key"
    resource = {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
        "name": name,
        "tls_certificate": certificate,
    }
    (directory / f"{name}.json").write_text(json.dumps({"resources": [resource]}))


@asynccontextmanager
async def site(directory: Path, settings: str) -> AsyncIterator[Site]:
    ca = Ca.root()
    me = ca.leaf(uris=[ME])
    (directory / "me.pem").write_bytes(me.chain + me.key)
    (directory / "roots.pem").write_bytes(ca.pem)
    write_secrets(directory, ca, ca.leaf(uris=["spiffe://cluster.local/ns/default/sa/web"]))
    write_server_pair(directory, ca.leaf(dns=[WEB]))
    async with AsyncExitStack() as stack:
        behind = await stack.enter_async_context(echo_server("web"))
        texts = [MESH.replace("SETTINGS", settings).replace("BEHIND", str(behind.port))]
        for number, (name, curve) in enumerate(
            {"p256": "prime256v1", "p384": "secp384r1"}.items(), 7000
        ):
            tls = beyond(ca, directory, curve)
            port = await stack.enter_async_context(serving(EchoServer(name).serve, tls))
            text = ELSEWHERE.replace("NAME", name).replace("NUMBER", str(number))
            texts.append(text.replace("PORT", str(port)))
        proxy = sidecar_proxy(
            "default", ip="127.0.0.1", labels={"app": "web"}, INTERCEPTION_MODE="NONE"
        )
        envoy = await stack.enter_async_context(sidecar(directory, proxy, *texts))
        yield Site(envoy, directory / "roots.pem", directory / "me.pem")


def older(context: ssl.SSLContext, suite: str = "") -> ssl.SSLContext:
    """A client that offers TLS 1.2 only, and perhaps one suite only."""
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    if suite:
        context.set_ciphers(suite)
    return context


def curved(context: ssl.SSLContext, curve: str) -> ssl.SSLContext:
    """A client that agrees on one curve only. Certificates are on another one: TLS 1.3."""
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_ecdh_curve(curve)
    return context


async def test_suites_and_curves(tmp_path: Path) -> None:
    """Mutual TLS of the mesh has its own, every other TLS those of `tlsDefaults`."""
    async with site(tmp_path, CHOSEN) as found:
        for port, suite, curve in ((MUTUAL, STRONG, "secp384r1"), (SIMPLE, FAST, "prime256v1")):
            for each in (STRONG, FAST):
                answers = await found.answers(port, older(found.client(), each))
                assert answers == (each == suite), (port, each)
            for each in ("secp384r1", "prime256v1"):
                answers = await found.answers(port, curved(found.client(), each))
                assert answers == (each == curve), (port, each)
        assert await found.reaches("p256", 7000)
        assert not await found.reaches("p384", 7001)


@pytest.mark.parametrize("port", [MUTUAL, SIMPLE])
async def test_versions(port: int, tmp_path: Path) -> None:
    async with site(tmp_path, NEWEST) as found:
        assert await found.answers(port, found.client())
        assert not await found.answers(port, older(found.client()))
