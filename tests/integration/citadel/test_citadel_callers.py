"""Every kind of caller at every way into one Citadel (citadel-and-agent.md A4-A7, D2, D5, D6).

An API server over TLS stands for Kubernetes; it is the issuer of the OIDC tokens as well.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import jwt
import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from istio.auth.v1 import ca_pb2, ca_pb2_grpc
from mast.common.identity.ca_client import new_key_and_csr
from mast.common.kubernetes.objects import NAMESPACES, PODS, SECRETS, SERVICE_ACCOUNTS, Object
from mastapi.citadel.v1 import issued_pb2, issued_pb2_grpc, relay_pb2_grpc
from tests.fakes.kubernetes.callers import User
from tests.fakes.kubernetes.server import Cluster, api_server
from tests.integration.citadel.process import Citadel, citadel
from tests.support.etcd_server import etcd_server
from tests.support.pki import Pair, wall_clock
from tests.support.until import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

DOMAIN = "cluster.local"
Status = grpc.StatusCode
Metadata = tuple[tuple[str, str], ...]


def account(namespace: str, name: str) -> str:
    return f"spiffe://{DOMAIN}/ns/{namespace}/sa/{name}"


REVIEWS = account("shop", "reviews")
ZTUNNEL = account("istio-system", "ztunnel")
GALLEY = account("istio-system", "istio-galley-service-account")
PILOT = account("istio-system", "istio-pilot-service-account")
CALLER = ("x-forwarded-for", "10.1.2.3")
OPAQUE = (Status.UNAUTHENTICATED, "request authenticate failure")


@dataclass
class Site:
    """A Citadel with every way in, the clusters it knows, and what they run."""

    ca: Citadel
    home: Cluster
    east: Cluster
    directory: Path
    pod: Object
    mesh_key: ec.EllipticCurvePrivateKey
    roots: bytes

    @asynccontextmanager
    async def stub(
        self, way: str = "tls", pair: Pair | None = None
    ) -> AsyncIterator[
        ca_pb2_grpc.IstioCertificateServiceStub | relay_pb2_grpc.CertificateRelayStub
    ]:
        """The certificate service at a way in."""
        if way in {"tls", "relay"}:
            async with self.ca.channel(self.roots, pair) as channel:
                if way == "relay":
                    yield relay_pb2_grpc.CertificateRelayStub(channel)
                else:
                    yield ca_pb2_grpc.IstioCertificateServiceStub(channel)
            return
        address = await self.ca.service.address(way)
        async with grpc.aio.insecure_channel(address) as channel:
            yield ca_pb2_grpc.IstioCertificateServiceStub(channel)

    async def names(
        self, *metadata: tuple[str, str], way: str = "tls", pair: Pair | None = None, **fields: Any
    ) -> list[str]:
        """The SANs of what a caller gets."""
        async with self.stub(way, pair) as stub:
            answer = await stub.CreateCertificate(request(**fields), metadata=metadata, timeout=30)
        leaf = x509.load_pem_x509_certificate(answer.cert_chain[0].encode())
        san = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return [str(name.value) for name in san]

    async def refused(
        self, *metadata: tuple[str, str], way: str = "tls", pair: Pair | None = None, **fields: Any
    ) -> tuple[grpc.StatusCode, str]:
        """What a caller is told who gets nothing."""
        async with self.stub(way, pair) as stub:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.CreateCertificate(request(**fields), metadata=metadata, timeout=30)
        return caught.value.code(), caught.value.details() or ""

    async def pair(self, identity: str) -> Pair:
        """A certificate for any identity, from the administrator."""
        key, csr = new_key_and_csr(identity)
        client = await self.ca.client(
            address=f"unix:{self.ca.admin_socket}",
            request_metadata={"ImpersonatedIdentity": identity},
        )
        certificate = await client.sign(csr, timedelta(hours=1))
        return Pair("".join(certificate.chain_pem).encode(), key)

    def token(self, cluster: Cluster | None = None, **changes: Any) -> str:
        """A token of the pod of shop/reviews."""
        wanted: dict[str, Any] = {"audiences": ["istio-ca"], "pod": self.pod} | changes
        where = cluster or self.home
        return where.callers.token("shop", "reviews", **wanted)


def request(**fields: Any) -> ca_pb2.IstioCertificateRequest:
    csr = fields.pop("csr", None) or new_key_and_csr(REVIEWS)[1].decode()
    made = ca_pb2.IstioCertificateRequest(csr=csr, validity_duration=fields.pop("seconds", 3600))
    made.metadata.update(fields)
    return made


def bearer(token: str) -> tuple[str, str]:
    return ("authorization", f"Bearer {token}")


def forwarded(header: str) -> tuple[str, str]:
    return ("x-forwarded-client-cert", header)


def furnish(cluster: Cluster) -> Object:
    """Namespaces, accounts, and pods on two nodes; returns the pod of reviews."""
    objects = cluster.objects
    for namespace in ("shop", "istio-system"):
        objects.create(NAMESPACES, "", {"metadata": {"name": namespace}})
    pods = {}
    for namespace, name, node in (
        ("shop", "reviews", "node-1"),
        ("shop", "ratings", "node-2"),
        ("istio-system", "ztunnel", "node-1"),
    ):
        objects.create(SERVICE_ACCOUNTS, namespace, {"metadata": {"name": name}})
        spec = {"serviceAccountName": name, "nodeName": node}
        pod = {"metadata": {"name": f"{name}-1"}, "spec": spec}
        pods[name] = objects.create(PODS, namespace, pod)
    return pods["reviews"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site() -> AsyncIterator[Site]:
    mesh_key = ec.generate_private_key(ec.SECP256R1())
    public = mesh_key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    with tempfile.TemporaryDirectory(prefix="ca-") as name:
        directory = Path(name)
        async with api_server() as home, api_server() as east, etcd_server(directory) as etcd:
            pod = furnish(home)
            furnish(east)
            (directory / "kubeconfig").write_text(home.kubeconfig())
            (directory / "kubernetes.pem").write_bytes(home.authority.pem)
            (directory / "mesh.pem").write_bytes(public)
            rule = {"issuer": home.callers.issuer, "jwksUri": f"{home.url}/openid/v1/jwks"}
            rule["audiences"] = ["mesh-oidc"]
            async with citadel(
                etcd.endpoint,
                directory,
                [
                    *("--kubeconfig", str(directory / "kubeconfig")),
                    *("--cluster-id", "home", "--cluster-aliases", "old-home=home"),
                    *("--trusted-node-accounts", "istio-system/ztunnel"),
                    *("--registrars", GALLEY),
                    *("--relays", PILOT),
                    *("--jwt-rule", json.dumps(rule)),
                    *("--jwt-ca-file", str(directory / "kubernetes.pem")),
                    *("--mesh-jwt-keys", str(directory / "mesh.pem")),
                    *("--front-socket", str(directory / "front" / "grpc.sock")),
                    *("--plaintext-listen", "127.0.0.1:0"),
                    *("--workload-socket", str(directory / "w" / "ca.sock")),
                    *("--socket-identities", f"{os.getuid()}:vms/local"),
                    *("--liveness-file", str(directory / "alive")),
                    *("--attest-burst", "1000"),
                ],
            ) as ca:
                found = Site(ca, home, east, directory, pod, mesh_key, await ca.roots())
                yield found


async def test_a_pods_token(site: Site) -> None:
    assert await site.names(bearer(site.token())) == [REVIEWS]
    line = await site.ca.service.logged(
        "certificate.issued", authenticator="Kubernetes token", identity=REVIEWS
    )
    assert {"peer", "serial", "ttl_seconds", "not_after"} <= set(line)


@pytest.mark.parametrize(
    "cluster", [pytest.param("home", id="own-id"), pytest.param("old-home", id="alias")]
)
async def test_clusters_that_are_the_local_one(site: Site, cluster: str) -> None:
    assert await site.names(bearer(site.token()), ("clusterid", cluster)) == [REVIEWS]


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"audiences": ["https://kubernetes.default.svc"]}, id="audience"),
        pytest.param({"seconds": -10}, id="expired"),
    ],
)
async def test_kubernetes_tokens_that_are_not_good(site: Site, changes: dict[str, Any]) -> None:
    assert await site.refused(bearer(site.token(**changes))) == OPAQUE


async def test_a_user_that_is_no_service_account(site: Site) -> None:
    site.home.callers.static["jane.a.b"] = User("jane", ("system:authenticated",))
    assert await site.refused(bearer("jane.a.b")) == OPAQUE


async def test_an_unknown_cluster(site: Site) -> None:
    assert await site.refused(bearer(site.token()), ("clusterid", "mars")) == OPAQUE
    lines = [line for line in site.ca.service.log if "'mars' is not known" in str(line)]
    assert lines[0]["event"] == "certificate.refused"


async def test_a_remote_cluster_once_its_secret_is_there(site: Site) -> None:
    pod = site.east.objects.get(PODS, "shop", "reviews-1")
    token = site.token(site.east, pod=pod)
    assert await site.refused(bearer(token)) == OPAQUE
    data = {"east": base64.b64encode(site.east.kubeconfig().encode()).decode()}
    metadata = {"name": "east", "labels": {"istio/multiCluster": "true"}}
    site.home.objects.create(SECRETS, "istio-system", {"metadata": metadata, "data": data})
    await site.ca.service.logged("remote_cluster.added", cluster="east")
    assert await site.names(bearer(token), ("clusterid", "east")) == [REVIEWS]


async def test_a_review_is_asked_for_once_a_minute(site: Site) -> None:
    token = site.token(jti="once")
    before = site.home.asked("POST /apis/authentication.k8s.io/v1/tokenreviews")
    for _ in range(3):
        await site.names(bearer(token))
    after = site.home.asked("POST /apis/authentication.k8s.io/v1/tokenreviews")
    assert after == before + 1


# The OIDC rule: the same issuer, another audience, so that Kubernetes does not know the tokens.


def oidc(site: Site, **changes: Any) -> str:
    return site.token(**({"audiences": ["mesh-oidc"], "pod": None} | changes))


def forged(site: Site, kind: str) -> str:
    """A good token made better by somebody who does not have the key."""
    header, body, signature = oidc(site).split(".")

    def encoded(part: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()

    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    claims["sub"] = "system:serviceaccount:istio-system:root"
    if kind == "claims":
        return f"{header}.{encoded(claims)}.{signature}"
    if kind == "alg-none":
        return f"{encoded({'alg': 'none', 'typ': 'JWT'})}.{encoded(claims)}."
    if kind == "own-key":
        return jwt.encode(claims, ec.generate_private_key(ec.SECP256R1()), "ES256")
    public = site.home.callers.key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    signed = f"{encoded({'alg': 'HS256', 'kid': 'fake-key'})}.{encoded(claims)}"
    mac = hmac.new(public, signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


async def test_a_token_of_the_issuer(site: Site) -> None:
    assert await site.names(bearer(oidc(site))) == [REVIEWS]
    await site.ca.service.logged("certificate.issued", authenticator="OIDC JWT")


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"audiences": ["elsewhere"]}, id="audience"),
        pytest.param({"seconds": -10}, id="expired"),
        pytest.param({"nbf": 99999999999}, id="not-yet"),
        pytest.param({"iss": "https://other.example"}, id="issuer"),
        pytest.param({"sub": "jane"}, id="no-service-account"),
    ],
)
async def test_tokens_that_are_not_good(site: Site, changes: dict[str, Any]) -> None:
    assert await site.refused(bearer(oidc(site, **changes))) == OPAQUE


@pytest.mark.parametrize("kind", ["claims", "alg-none", "own-key", "key-confusion"])
async def test_forged_tokens(site: Site, kind: str) -> None:
    assert await site.refused(bearer(forged(site, kind))) == OPAQUE


# Keys of the mesh.


async def test_a_token_of_a_mesh_key(site: Site) -> None:
    end = (wall_clock() + timedelta(hours=1)).timestamp()
    claims = {"iss": DOMAIN, "sub": account("vms", "db"), "aud": "istio-ca", "exp": end}
    token = jwt.encode(claims, site.mesh_key, "ES256")
    assert await site.names(bearer(token)) == [account("vms", "db")]
    stranger = jwt.encode(claims, ec.generate_private_key(ec.SECP256R1()), "ES256")
    assert await site.refused(bearer(stranger)) == OPAQUE


# XFCC.


@pytest.mark.parametrize("way", ["tls", "plaintext", "workload-socket"])
async def test_a_forged_header_is_not_believed(site: Site, way: str) -> None:
    """Nobody but our own front is: there is no trusted network (A5)."""
    header = forwarded(f"URI={account('istio-system', 'root')}")
    if way == "workload-socket":
        assert await site.names(header, way=way) == [account("vms", "local")]
    else:
        assert await site.refused(header, way=way) == OPAQUE
    assert await site.names(header, bearer(site.token())) == [REVIEWS]


async def test_our_own_front_is_believed(site: Site) -> None:
    header = f'By=x;Subject="";URI={REVIEWS};DNS=reviews.example'
    peer = ("x-forwarded-for", "192.0.2.7")
    assert await site.names(forwarded(header), peer, way="front") == [REVIEWS, "reviews.example"]
    await site.ca.service.logged("certificate.issued", authenticator="XFCC", peer="192.0.2.7")
    foreign = forwarded("URI=spiffe://partner.example/ns/a/sa/b")
    assert await site.refused(foreign, way="front") == OPAQUE
    assert await site.refused(forwarded('URI="'), way="front") == OPAQUE
    mode = (site.directory / "front" / "grpc.sock").stat().st_mode & 0o777
    assert (mode, (site.directory / "front").stat().st_mode & 0o777) == (0o600, 0o700)


async def test_callers_without_tls_are_nobody(site: Site) -> None:
    """XDS_AUTH_PLAINTEXT is off."""
    assert await site.refused(bearer(site.token()), way="plaintext") == OPAQUE


# Sockets.


async def test_users_of_this_machine(site: Site) -> None:
    assert await site.names(way="workload-socket") == [account("vms", "local")]
    await site.ca.service.logged(
        "certificate.issued", authenticator="socket user", peer=f"unix:{os.getuid()}"
    )


# Impersonation.


async def test_a_node_proxy_speaks_for_its_node(site: Site) -> None:
    pod = site.home.objects.get(PODS, "istio-system", "ztunnel-1")
    proxy = site.home.callers.token("istio-system", "ztunnel", ["istio-ca"], pod=pod)
    asked = {"ImpersonatedIdentity": REVIEWS}
    assert await site.names(bearer(proxy), **asked) == [REVIEWS]
    line = await site.ca.service.logged("certificate.issued", caller=ZTUNNEL)
    assert line["identity"] == REVIEWS

    refusal = (Status.UNAUTHENTICATED, "request impersonation authentication failure")
    elsewhere = {"ImpersonatedIdentity": account("shop", "ratings")}
    assert await site.refused(bearer(proxy), **elsewhere) == refusal
    unbound = site.home.callers.token("istio-system", "ztunnel", ["istio-ca"])
    assert await site.refused(bearer(unbound), **asked) == refusal
    assert await site.refused(bearer(site.token()), **asked) == refusal
    by_certificate = await site.pair(ZTUNNEL)
    assert await site.refused(pair=by_certificate, **asked) == refusal


async def test_a_registrar_speaks_for_anybody_by_its_certificate(site: Site) -> None:
    galley = await site.pair(GALLEY)
    names = await site.names(pair=galley, ImpersonatedIdentity=account("shop", "ratings"))
    assert names == [account("shop", "ratings")]
    foreign = "spiffe://partner.example/ns/a/sa/b"
    told = await site.refused(pair=galley, ImpersonatedIdentity=foreign)
    assert told == (Status.UNAUTHENTICATED, "request impersonation authentication failure")


async def test_a_relay_passes_on_what_a_token_proves(site: Site) -> None:
    pilot = await site.pair(PILOT)
    token = bearer(site.token())
    assert await site.names(token, CALLER, way="relay", pair=pilot) == [REVIEWS]
    assert await site.names(token, CALLER, ("clusterid", "home"), way="relay", pair=pilot)
    await site.ca.service.logged("certificate.issued", identity=REVIEWS, peer="10.1.2.3")


@pytest.mark.parametrize(
    "metadata",
    [
        pytest.param((), id="nothing"),
        pytest.param((bearer("no token"),), id="bad-token"),
        pytest.param((forwarded(f"URI={REVIEWS}"),), id="xfcc"),
    ],
)
async def test_a_relay_is_nobody_itself(site: Site, metadata: Metadata) -> None:
    """Neither its own certificate nor its word counts, and it may not name anybody."""
    pilot = await site.pair(PILOT)
    assert await site.refused(*metadata, CALLER, way="relay", pair=pilot) == OPAQUE
    named = {"ImpersonatedIdentity": REVIEWS}
    assert await site.refused(*metadata, CALLER, way="relay", pair=pilot, **named) == OPAQUE


async def test_others_are_no_relays(site: Site) -> None:
    token = bearer(site.token())
    told = (Status.PERMISSION_DENIED, "the caller is no relay")
    assert await site.refused(token, CALLER, way="relay") == told
    galley = await site.pair(GALLEY)
    assert await site.refused(token, CALLER, way="relay", pair=galley) == told


@pytest.mark.parametrize("address", ["", "web", "10.0.0.1,10.0.0.2"])
async def test_a_relay_tells_who_called(site: Site, address: str) -> None:
    pilot = await site.pair(PILOT)
    given = ("x-forwarded-for", address)
    told = await site.refused(bearer(site.token()), given, way="relay", pair=pilot)
    assert told == (Status.INVALID_ARGUMENT, "metadata x-forwarded-for: want one IP address")


# What is told and kept.


async def test_a_csr_says_nothing_about_its_caller(site: Site) -> None:
    """D2: other SAN, CA:true, subject; broken; too long."""
    key = ec.generate_private_key(ec.SECP256R1())
    csr = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "root")]))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName(
                [x509.UniformResourceIdentifier(account("istio-system", "root"))]
            ),
            critical=True,
        )
        .sign(key, hashes.SHA256())
    )
    text = csr.public_bytes(serialization.Encoding.PEM).decode()
    async with site.stub() as stub:
        answer = await stub.CreateCertificate(
            request(csr=text), metadata=(bearer(site.token()),), timeout=30
        )
    leaf = x509.load_pem_x509_certificate(answer.cert_chain[0].encode())
    constraints = leaf.extensions.get_extension_for_class(x509.BasicConstraints).value
    san = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert not constraints.ca
    assert [name.value for name in san] == [REVIEWS]
    assert [attribute.value for attribute in leaf.subject] == [REVIEWS]
    code, _ = await site.refused(bearer(site.token()), csr="-----BEGIN nothing")
    assert code is Status.INVALID_ARGUMENT
    code, _ = await site.refused(bearer(site.token()), seconds=2161 * 3600)
    assert code is Status.INVALID_ARGUMENT


async def test_the_ledger_knows_what_was_issued(site: Site) -> None:
    pair = await site.pair(account("shop", "ledger"))
    serial = x509.load_pem_x509_certificate(pair.chain).serial_number
    await site.ca.service.address("admin")
    async with grpc.aio.insecure_channel(f"unix:{site.ca.admin_socket}") as channel:
        ledger = issued_pb2_grpc.CitadelLedgerStub(channel)
        found: list[issued_pb2.IssuedCertificate] = []

        async def listed() -> bool:
            asked = issued_pb2.ListIssuedRequest(identity=account("shop", "ledger"))
            found[:] = (await ledger.ListIssued(asked, timeout=10)).certificates
            return bool(found)

        await until(listed)
        every = await ledger.ListIssued(issued_pb2.ListIssuedRequest(limit=1), timeout=10)
    (record,) = found
    assert int(record.serial, 16) == serial
    assert (record.authenticator, record.peer, record.key) == ("admin socket", "unix", "P-256")
    assert len(every.certificates) == 1
    assert every.left_out > 0


async def test_it_lives(site: Site) -> None:
    await until((site.directory / "alive").exists)


async def test_no_token_is_in_the_log(site: Site) -> None:
    token = site.token(jti="never-logged")
    await site.names(bearer(token))
    await site.refused(bearer(token), ("clusterid", "venus"))
    await site.ca.service.logged("certificate.refused", peer="127.0.0.1")
    log = "".join(site.ca.service.output)
    assert token not in log
    assert token.split(".")[2] not in log
    assert "PRIVATE KEY" not in log
