"""Citadel behind an Envoy, behind gateways, and before a cluster's signers (A5, A6, A7, D5).

Section numbers are those of citadel-and-agent.md.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import envoy.extensions.filters.http.router.v3.router_pb2
import envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2
import envoy.extensions.transport_sockets.tls.v3.tls_pb2
import envoy.extensions.upstreams.http.v3.http_protocol_options_pb2  # noqa: F401 - types of Any
import grpc
import grpc.aio
import pytest
from cryptography import x509
from envoy.config.bootstrap.v3.bootstrap_pb2 import Bootstrap
from google.protobuf.json_format import ParseDict

from istio.auth.v1 import ca_pb2, ca_pb2_grpc, ca_service_pb2, ca_service_pb2_grpc
from istio.mcp.v1alpha1.resource_pb2 import Resource
from istio.mesh.v1alpha1.config_pb2 import MeshConfig
from mast.common import kinds
from mast.common.etcd import Store
from mast.common.identity.ca_client import CaError, new_key_and_csr
from mast.common.keys import config_key
from mast.common.kubernetes.objects import CERTIFICATE_SIGNING_REQUESTS
from tests.fakes.kubernetes.server import api_server
from tests.integration.citadel.process import SERVER_NAME, Citadel, citadel
from tests.support.envoy_server import envoy_server
from tests.support.etcd_server import EtcdServer
from tests.support.pki import DAY, Ca, Pair

REVIEWS = "spiffe://cluster.local/ns/shop/sa/reviews"
ROOT_ACCOUNT = "spiffe://cluster.local/ns/istio-system/sa/root"
HOUR = timedelta(hours=1)
Status = grpc.StatusCode
TYPES = "type.googleapis.com/envoy.extensions."


def front(socket: Path, own: Pair, roots: bytes) -> Bootstrap:
    """The Envoy beside Citadel, as A6 has it: optional client certificates, XFCC of its own."""
    router = {"name": "router", "typed_config": {"@type": f"{TYPES}filters.http.router.v3.Router"}}
    manager = {
        "@type": TYPES + "filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "ca",
        "codec_type": "HTTP2",
        "use_remote_address": True,
        "forward_client_cert_details": "SANITIZE_SET",
        "set_current_client_cert_details": {"uri": True, "dns": True, "subject": True},
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "ca",
                    "domains": ["*"],
                    "routes": [
                        {"match": {"prefix": "/"}, "route": {"cluster": "ca", "timeout": "0s"}}
                    ],
                }
            ]
        },
        "http_filters": [router],
    }
    tls = {
        "@type": f"{TYPES}transport_sockets.tls.v3.DownstreamTlsContext",
        "require_client_certificate": False,
        "common_tls_context": {
            "alpn_protocols": ["h2"],
            "tls_certificates": [
                {
                    "certificate_chain": {"inline_string": own.chain.decode()},
                    "private_key": {"inline_string": own.key.decode()},
                }
            ],
            "validation_context": {"trusted_ca": {"inline_string": roots.decode()}},
        },
    }
    options = {
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": f"{TYPES}upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}},
        }
    }
    endpoint = {"endpoint": {"address": {"pipe": {"path": str(socket)}}}}
    cluster = {
        "name": "ca",
        "type": "STATIC",
        "typed_extension_protocol_options": options,
        "load_assignment": {"cluster_name": "ca", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
    listener = {
        "name": "ca",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
        "filter_chains": [
            {
                "filters": [{"name": "hcm", "typed_config": manager}],
                "transport_socket": {"name": "tls", "typed_config": tls},
            }
        ],
    }
    resources = {"listeners": [listener], "clusters": [cluster]}
    return ParseDict({"static_resources": resources}, Bootstrap())


@asynccontextmanager
async def stub_at(
    address: str, roots: bytes, pair: Pair | None = None
) -> AsyncIterator[ca_pb2_grpc.IstioCertificateServiceStub]:
    credentials = grpc.ssl_channel_credentials(
        roots, pair.key if pair else None, pair.chain if pair else None
    )
    options = [
        ("grpc.ssl_target_name_override", SERVER_NAME),
        ("grpc.use_local_subchannel_pool", 1),
    ]
    async with grpc.aio.secure_channel(address, credentials, options) as channel:
        yield ca_pb2_grpc.IstioCertificateServiceStub(channel)


def asked(ttl: timedelta = HOUR, **metadata: str) -> ca_pb2.IstioCertificateRequest:
    request = ca_pb2.IstioCertificateRequest(
        csr=new_key_and_csr(REVIEWS)[1].decode(), validity_duration=int(ttl.total_seconds())
    )
    request.metadata.update(metadata)
    return request


def names(answer: ca_pb2.IstioCertificateResponse) -> list[str]:
    leaf = x509.load_pem_x509_certificate(answer.cert_chain[0].encode())
    san = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [str(name.value) for name in san]


async def refusal(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), caught.value.details() or ""


FORGED = (("x-forwarded-client-cert", f"URI={ROOT_ACCOUNT}"),)
OPAQUE = (Status.UNAUTHENTICATED, "request authenticate failure")


async def identity_pair(ca: Citadel, identity: str) -> Pair:
    key, csr = new_key_and_csr(identity)
    client = await ca.client(
        address=f"unix:{ca.admin_socket}", request_metadata={"ImpersonatedIdentity": identity}
    )
    certificate = await client.sign(csr, HOUR)
    return Pair("".join(certificate.chain_pem).encode(), key)


async def test_behind_an_envoy(etcd: EtcdServer, directory: Path) -> None:
    """Token, certificate, forged XFCC, foreign CA: as A6, with a stock Envoy in front."""
    socket = directory / "front" / "grpc.sock"
    async with citadel(etcd.endpoint, directory, ["--front-socket", str(socket)]) as ca:
        roots = await ca.roots()
        # istiod's name is in the certificates of its account.
        own = await identity_pair(
            ca, "spiffe://cluster.local/ns/istio-system/sa/istio-pilot-service-account"
        )
        mine, _ = await ca.new_pair(await ca.join_token())
        await ca.service.address("front")
        async with envoy_server(front(socket, own, roots), directory) as envoy:
            address = f"127.0.0.1:{envoy.ports['ca']}"
            bearer = (("authorization", f"Bearer {await ca.join_token('shop', 'ratings')}"),)
            async with stub_at(address, roots) as stub:
                assert await refusal(stub.CreateCertificate(asked(), timeout=30)) == OPAQUE
                forged = stub.CreateCertificate(asked(), metadata=FORGED, timeout=30)
                assert await refusal(forged) == OPAQUE
                answer = await stub.CreateCertificate(
                    asked(), metadata=(*FORGED, *bearer), timeout=30
                )
                assert names(answer) == ["spiffe://cluster.local/ns/shop/sa/ratings"]
            async with stub_at(address, roots, mine) as stub:
                answer = await stub.CreateCertificate(asked(), metadata=FORGED, timeout=30)
                assert names(answer) == [REVIEWS]
            stranger = Ca.root().leaf(uris=[REVIEWS])
            async with stub_at(address, roots, stranger) as stub:
                code, _ = await refusal(stub.CreateCertificate(asked(), timeout=30))
                assert code is Status.UNAVAILABLE
        lines = [line for line in ca.service.log if line.get("authenticator") == "XFCC"]
        # Envoy tells the address of its caller; for one on the same machine it names its own.
        assert {line["peer"] for line in lines}.isdisjoint({"", "unix"})


async def test_gateways_of_a_trusted_network(etcd: EtcdServer, directory: Path) -> None:
    """TRUSTED_GATEWAY_CIDR: then this machine is believed, without TLS only if that is allowed."""
    flags = [
        *("--trusted-gateway-cidr", "10.0.0.0/8", "--plaintext-listen", "127.0.0.1:0"),
        *("--xds-auth-plaintext", "true"),
    ]
    header = (("x-forwarded-client-cert", f'URI={REVIEWS},Subject="CN=web.example"'),)
    async with citadel(etcd.endpoint, directory, flags) as ca:
        address = await ca.service.address("plaintext")
        async with grpc.aio.insecure_channel(address) as channel:
            stub = ca_pb2_grpc.IstioCertificateServiceStub(channel)
            answer = await stub.CreateCertificate(asked(), metadata=header, timeout=30)
            assert names(answer) == [REVIEWS, "web.example"]
            assert await refusal(stub.CreateCertificate(asked(), timeout=30)) == OPAQUE
        async with ca.stub() as stub:
            answer = await stub.CreateCertificate(asked(), metadata=header, timeout=30)
            assert names(answer) == [REVIEWS, "web.example"]


async def test_leaves_that_are_cas(etcd: EtcdServer, directory: Path) -> None:
    """1.4's --sign-ca-certs."""
    async with citadel(etcd.endpoint, directory, ["--sign-ca-certs", "true"]) as ca:
        _, certificate = await ca.new_pair(await ca.join_token())
    extensions = certificate.leaf.extensions
    assert extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign


SIGNER = "signers.example/mesh"


@pytest.fixture
def external_flags(directory: Path) -> Mapping[str, str]:
    return {
        "--kubeconfig": str(directory / "kubeconfig"),
        "--external-ca": "ISTIOD_RA_KUBERNETES_API",
        "--cert-signer-domain": "signers.example",
        "--external-ca-root": str(directory / "outer.pem"),
    }


async def test_signers_of_a_cluster(
    etcd: EtcdServer, directory: Path, external_flags: Mapping[str, str]
) -> None:
    """A7: requests are checked, made, approved and removed; their certificates let callers in."""
    outer = Ca.root("outer")
    inner = outer.intermediate("inner", valid=(-DAY, 30 * DAY))
    (directory / "outer.pem").write_bytes(outer.pem)
    async with api_server() as cluster:
        cluster.signers.by_name[SIGNER] = inner
        (directory / "kubeconfig").write_text(cluster.kubeconfig())
        flags = [text for pair in external_flags.items() for text in pair]
        async with citadel(etcd.endpoint, directory, flags) as ca:
            token = await ca.join_token()
            key, csr = new_key_and_csr(REVIEWS)
            client = await ca.client(token=token, request_metadata={"CertSigner": "mesh"})
            certificate = await client.sign(csr, HOUR)
            assert certificate.roots_pem.encode() == outer.pem
            assert outer.pem in await ca.roots()
            certificate.leaf.verify_directly_issued_by(inner.certificate)

            pair = Pair("".join(certificate.chain_pem).encode(), key)
            async with ca.stub(pair) as stub:
                answer = await stub.CreateCertificate(asked(CertSigner="mesh"), timeout=30)
                assert names(answer) == [REVIEWS]
                told = await refusal(stub.CreateCertificate(asked(), timeout=30))
                assert told == (Status.INTERNAL, "CSR signing error (signing failed)")
                evil = asked(CertSigner="mesh")
                evil.csr = new_key_and_csr(ROOT_ACCOUNT)[1].decode()
                code, _ = await refusal(stub.CreateCertificate(evil, timeout=30))
                assert code is Status.INVALID_ARGUMENT
            assert cluster.objects.list(CERTIFICATE_SIGNING_REQUESTS, "", lambda _: True) == []


async def test_roots_of_a_signer_by_the_mesh_settings(
    etcd: EtcdServer, store: Store, directory: Path, external_flags: Mapping[str, str]
) -> None:
    """meshConfig.caCertificates[] of the signer: its answers need not bring the root."""
    outer = Ca.root("outer")
    entry = MeshConfig.CertificateData(pem=outer.pem.decode(), cert_signers=[SIGNER])
    resource = Resource()
    resource.body.Pack(MeshConfig(ca_certificates=[entry]))
    kind = kinds.BY_GROUP_KIND["mesh.istio.io", "MeshConfig"]
    key = config_key(kind.collection, "istio-system", "mesh")
    await store.put(key, resource.SerializeToString())
    async with api_server() as cluster:
        cluster.signers.by_name[SIGNER] = Ca(outer.certificate, outer.key)
        cluster.signers.without_roots.add(SIGNER)
        (directory / "kubeconfig").write_text(cluster.kubeconfig())
        flags = [text for pair in external_flags.items() for text in pair]
        async with citadel(etcd.endpoint, directory, flags) as ca:
            mine = await ca.join_token()
            client = await ca.client(token=mine, request_metadata={"CertSigner": "mesh"})
            certificate = await client.sign(new_key_and_csr(REVIEWS)[1], HOUR)
    assert certificate.roots_pem.encode() == outer.pem
    assert len(certificate.chain_pem) == 1


async def test_settings_that_cannot_work_end_the_process(etcd: EtcdServer, directory: Path) -> None:
    flags = ["--external-ca", "ISTIOD_RA_KUBERNETES_API"]
    async with citadel(etcd.endpoint, directory, flags) as ca:
        assert await ca.service.ended() == 1
    line = await ca.service.logged("process.crashed")
    assert "--kubeconfig" in line["error"]


async def test_attestation_is_limited_and_renewal_is_not(etcd: EtcdServer, directory: Path) -> None:
    """A12: with nothing but a token one peer may ask less often; replayed tokens are refused."""
    flags = ["--attest-rate", "0.001", "--attest-burst", "3"]
    async with citadel(etcd.endpoint, directory, flags) as ca:
        token = await ca.join_token()
        mine, _ = await ca.new_pair(token)
        async with ca.stub() as stub:
            bearer = (("authorization", f"Bearer {token}"),)
            codes = [
                (await refusal(stub.CreateCertificate(asked(), metadata=bearer, timeout=30)))[0]
                for _ in range(3)
            ]
        assert codes == [Status.UNAUTHENTICATED] * 2 + [Status.RESOURCE_EXHAUSTED]
        for _ in range(3):
            mine, _ = await ca.new_pair(pair=mine)
        with pytest.raises(CaError) as caught:
            await (await ca.client(token=await ca.join_token())).sign(
                new_key_and_csr(REVIEWS)[1], HOUR
            )
        assert caught.value.code is Status.RESOURCE_EXHAUSTED


async def test_handle_csr_by_certificate(ca: Citadel) -> None:
    """1.4's node agents: what was signed, and apart what is above it; a CSR needs a SAN."""
    mine, _ = await ca.new_pair(await ca.join_token())
    request = ca_service_pb2.CsrRequest(
        csr_pem=new_key_and_csr(REVIEWS)[1], requested_ttl_minutes=2161 * 60
    )
    async with ca.channel(await ca.roots(), mine) as channel:
        stub = ca_service_pb2_grpc.IstioCAServiceStub(channel)
        assert (await refusal(stub.HandleCSR(request, timeout=30)))[0] is Status.INTERNAL
        request.requested_ttl_minutes = 60
        answer = await stub.HandleCSR(request, timeout=30)
        assert (answer.is_approved, answer.HasField("status")) == (True, False)
        request.csr_pem = b"nothing"
        assert (await refusal(stub.HandleCSR(request, timeout=30)))[0] is Status.INVALID_ARGUMENT
