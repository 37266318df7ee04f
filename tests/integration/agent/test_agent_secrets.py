"""Secrets of a running agent: rotation under traffic, files, an external server (B3, D12, D13)."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import grpc.aio
import pytest
from cryptography import x509
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest, DiscoveryResponse
from google.protobuf.message import Message
from google.rpc.status_pb2 import Status

from mast.agent.core import secrets
from tests.integration.agent.application import Application
from tests.integration.agent.control_plane import ControlPlane
from tests.integration.agent.envoy_config import CDS, LDS, application_cluster, inbound_listener
from tests.integration.agent.running import RunningAgent, agent, environment, loopback
from tests.support.pki import Ca

Call = grpc.aio.StreamStreamCall[Message, DiscoveryResponse]

SERVICE = "/envoy.service.secret.v3.SecretDiscoveryService"
PORT = 9080
OFTEN = {"SECRET_GRACE_PERIOD_RATIO": "0.9", "SECRET_GRACE_PERIOD_RATIO_JITTER": "0"}
"""Certificates of 20 s, which begin 2 s back, are renewed 0.2 s after they came."""

CLIENT = "spiffe://cluster.local/ns/shop/sa/productpage"


def client_context(plane: ControlPlane, directory: Path) -> ssl.SSLContext:
    """TLS of another workload of the mesh; names are checked by SPIFFE ID, not by host."""
    pair = plane.root.leaf(uris=[CLIENT])
    (directory / "client.pem").write_bytes(pair.chain + pair.key)
    context = ssl.create_default_context(cadata=plane.certificates.roots.decode())
    context.check_hostname = False
    context.load_cert_chain(directory / "client.pem")
    return context


async def exchange(address: str, context: ssl.SSLContext) -> tuple[bytes, int]:
    """One HTTP request over a new TLS connection: its status line and the server's serial."""
    reader, writer = await asyncio.open_connection(address, PORT, ssl=context)
    try:
        writer.write(b"GET / HTTP/1.1\r\nhost: reviews\r\nconnection: close\r\n\r\n")
        await writer.drain()
        answer = await reader.read()
        shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return answer.splitlines()[0], x509.load_der_x509_certificate(shown).serial_number
    finally:
        writer.close()
        await writer.wait_closed()


async def exchange_until_refused(address: str, context: ssl.SSLContext) -> None:
    """Make requests until one fails: then its error is raised."""
    async with asyncio.timeout(10):
        while True:
            await exchange(address, context)


async def serve_mutual_tls(
    plane: ControlPlane, running: RunningAgent, application: Application
) -> None:
    listener = inbound_listener(running.address, PORT, mutual_tls=True)
    plane.discovery.set(CDS, {"application": application_cluster(application.port)})
    plane.discovery.set(LDS, {listener.name: listener})
    await running.ready()
    await running.until(15000, "/listeners", lambda _, text: f":{PORT}" in text)


async def test_rotation_under_traffic(
    plane: ControlPlane, work: Path, application: Application, tmp_path: Path
) -> None:
    """Certificates are renewed again and again; requests on new connections never fail."""
    plane.certificates.life = timedelta(seconds=20)
    async with agent(work, environment(plane, loopback(), **OFTEN)) as running:
        await serve_mutual_tls(plane, running, application)
        context = client_context(plane, tmp_path)
        serials: set[int] = set()
        requests = 0
        async with asyncio.timeout(30):
            while len(serials) < 4 or requests < 10:
                status, serial = await exchange(running.address, context)
                assert status == b"HTTP/1.1 200 OK"
                serials.add(serial)
                requests += 1
        assert plane.certificates.callers[0] == (), "first by token"
        assert set(plane.certificates.callers[1:]) == {
            ("spiffe://cluster.local/ns/shop/sa/reviews",)
        }, "then by its own certificate"


async def test_serves_on_without_citadel(
    plane: ControlPlane, work: Path, application: Application, tmp_path: Path
) -> None:
    """Renewals fail, requests do not: the last certificate counts until it ends (D12)."""
    plane.certificates.life = timedelta(seconds=60)  # and 2 s back: renewed after 3.7 s
    early = {"SECRET_GRACE_PERIOD_RATIO": "0.94", "SECRET_GRACE_PERIOD_RATIO_JITTER": "0"}
    async with agent(work, environment(plane, loopback(), **early)) as running:
        await serve_mutual_tls(plane, running, application)
        context = client_context(plane, tmp_path)
        _, serial = await exchange(running.address, context)
        plane.certificates.down = True
        await running.logged("certificate.refused", lambda each: "UNAVAILABLE" in each["error"])
        status, again = await exchange(running.address, context)
        assert status == b"HTTP/1.1 200 OK"
        assert (running.process.returncode, again) == (None, serial)
        plane.certificates.down = False
        async with asyncio.timeout(30):
            while serial == again:
                _, again = await exchange(running.address, context)


async def test_new_root_goes_first(
    plane: ControlPlane, work: Path, application: Application, tmp_path: Path
) -> None:
    """A root that joins the bundle is trusted by Envoy before a leaf of it is shown (B3.4)."""
    plane.certificates.life = timedelta(seconds=20)
    async with agent(work, environment(plane, loopback(), **OFTEN)) as running:
        await serve_mutual_tls(plane, running, application)
        old = client_context(plane, tmp_path)
        plane.rotate(Ca.root("second root"))
        both = client_context(plane, tmp_path)
        published: list[str] = []
        async with asyncio.timeout(30):
            while published.count("ROOTCA") < 2 or published[-1] != "default":
                status, _ = await exchange(running.address, both)
                assert status == b"HTTP/1.1 200 OK"
                published = [each["name"] for each in running.events("secret.published")]
        new_root = [index for index, name in enumerate(published) if name == "ROOTCA"][1]
        assert published[new_root + 1] == "default", "the root, then the leaf"
        assert not running.events("secret.unconfirmed"), "Envoy took the root before the leaf"
        with pytest.raises(ssl.SSLCertVerificationError):
            await exchange_until_refused(running.address, old)


@asynccontextmanager
async def secrets_of(work: Path) -> AsyncIterator[grpc.aio.Channel]:
    path = (work / "var/run/secrets/workload-spiffe-uds/socket").resolve()
    link = work.parent / "s"  # Unix socket paths are short
    link.symlink_to(path)
    async with grpc.aio.insecure_channel(f"unix:{link}") as channel:
        yield channel


def stream(
    channel: grpc.aio.Channel,
) -> Call:
    open_stream = channel.stream_stream(
        f"{SERVICE}/StreamSecrets",
        request_serializer=DiscoveryRequest.SerializeToString,
        response_deserializer=DiscoveryResponse.FromString,
    )
    call: Call = open_stream()
    return call


def ask(*names: str, **more: object) -> DiscoveryRequest:
    return DiscoveryRequest(type_url=secrets.TYPE_URL, resource_names=names, **more)  # type: ignore[arg-type]


def only(response: DiscoveryResponse) -> Secret:
    (resource,) = response.resources
    secret = Secret()
    assert resource.Unpack(secret)
    return secret


async def read(
    call: Call,
) -> DiscoveryResponse:
    async with asyncio.timeout(20):
        response = await call.read()
    assert isinstance(response, DiscoveryResponse)
    return response


async def test_streams_by_name(plane: ControlPlane, work: Path) -> None:
    async with agent(work, environment(plane, loopback(), DISABLE_ENVOY="true")) as running:
        await running.logged("secret.published", lambda each: each["name"] == "default")
        async with secrets_of(work) as channel:
            default, roots = stream(channel), stream(channel)
            await default.write(ask("default"))
            await roots.write(ask("ROOTCA"))
            chain = only(await read(default)).tls_certificate.certificate_chain.inline_bytes
            assert x509.load_pem_x509_certificate(chain)
            answer = await read(roots)
            bundle = only(answer).validation_context.trusted_ca.inline_bytes
            assert bundle == secrets.bundle([plane.root.pem])
            refusal = ask(
                "ROOTCA",
                response_nonce=answer.nonce,
                error_detail=Status(code=13, message="no good"),
            )
            await roots.write(refusal)
            rejected = await running.logged("secret.rejected")
            assert rejected["error"] == "no good"
            wrong = stream(channel)
            await wrong.write(ask("kubernetes://x"))
            assert await wrong.code() is grpc.StatusCode.INVALID_ARGUMENT
            fetch: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
                f"{SERVICE}/FetchSecrets"
            )
            assert await fetch(b"").code() is grpc.StatusCode.UNIMPLEMENTED


async def test_secrets_of_files(plane: ControlPlane, work: Path, tmp_path: Path) -> None:
    """A file secret follows its files; a pair that does not match is not pushed."""
    first, second = (plane.root.leaf(dns=["first"]), plane.root.leaf(dns=["second"]))
    chain, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    async with agent(work, environment(plane, loopback(), DISABLE_ENVOY="true")) as running:
        await running.logged("service.listening", lambda each: each["name"] == "sds")
        async with secrets_of(work) as channel:
            call = stream(channel)
            name = f"file-cert:{chain}~{key}"
            await call.write(ask(name))
            await running.logged("secret.unavailable")
            chain.write_bytes(first.chain)
            key.write_bytes(first.key)
            answer = await read(call)
            assert only(answer).tls_certificate.private_key.inline_bytes == first.key
            await call.write(
                ask(name, version_info=answer.version_info, response_nonce=answer.nonce)
            )
            chain.write_bytes(second.chain)
            await running.logged("secret.unavailable", lambda each: "not the key" in each["error"])
            key.write_bytes(second.key)
            shown = only(await read(call)).tls_certificate
            assert shown.certificate_chain.inline_bytes == second.chain
            assert shown.private_key.inline_bytes == second.key


async def test_mounted_certificates_need_no_ca(plane: ControlPlane, work: Path) -> None:
    pair = plane.root.leaf(uris=["spiffe://cluster.local/ns/shop/sa/reviews"])
    mounted = work / "etc/certs"
    mounted.mkdir(parents=True)
    (mounted / "cert-chain.pem").write_bytes(pair.chain)
    (mounted / "key.pem").write_bytes(pair.key)
    (mounted / "root-cert.pem").write_bytes(plane.root.pem)
    async with agent(work, environment(plane, loopback())) as running:
        await running.ready()
        assert plane.certificates.callers == []
        assert plane.discovery.streams[0].identities == (
            "spiffe://cluster.local/ns/shop/sa/reviews",
        )


@pytest.mark.parametrize(
    ("where", "mode"), [({}, 0o600), ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, 0o644)]
)
async def test_output_certs(
    plane: ControlPlane, work: Path, where: dict[str, str], mode: int
) -> None:
    """Copies for others, in a pod for its other users; the agent itself keeps asking the CA."""
    chosen = {"OUTPUT_CERTS": "./etc/certs", "DISABLE_ENVOY": "true", **where}
    env = environment(plane, loopback(), **chosen)
    async with agent(work, env) as running:
        await running.logged("secret.published", lambda each: each["name"] == "default")
        written = sorted((work / "etc/certs").iterdir())
        assert [each.name for each in written] == ["cert-chain.pem", "key.pem", "root-cert.pem"]
        assert {each.stat().st_mode & 0o777 for each in written} == {mode}
    async with agent(work, env) as running:
        await running.logged("certificate.renewed")
        own = ("spiffe://cluster.local/ns/shop/sa/reviews",)
        first, *later = plane.certificates.callers
        assert (first, set(later)) == ((), {own}), "what it left is what it shows"


async def test_unusable_files_do_not_end_the_agent(plane: ControlPlane, work: Path) -> None:
    """A directory where copies cannot be written, a secret that is a directory: only logged."""
    (work / "taken").write_text("a file, not a directory")
    env = environment(plane, loopback(), OUTPUT_CERTS="./taken", DISABLE_ENVOY="true")
    async with agent(work, env) as running:
        await running.logged("certificate.not_written")
        await running.logged("secret.published", lambda each: each["name"] == "default")
        async with secrets_of(work) as channel:
            for name in (f"file-root:{work}", f"file-cert:{work}~{work}"):
                await stream(channel).write(ask(name))
            await running.logged("secret.unavailable", lambda each: each["file"] == str(work))
            roots = stream(channel)
            await roots.write(ask("ROOTCA"))
            assert only(await read(roots)).name == "ROOTCA"
        assert running.process.returncode is None


LIST = b"-----BEGIN X509 CRL-----\nMIIB\n-----END X509 CRL-----\n"


async def test_revocations_go_along(plane: ControlPlane, work: Path) -> None:
    """A CRL joins every validation context when it comes, and leaves with its file (B3.5)."""
    path = work / "var/run/secrets/istio/crl/ca-crl.pem"
    async with agent(work, environment(plane, loopback(), DISABLE_ENVOY="true")) as running:
        await running.logged("secret.published", lambda each: each["name"] == "default")
        async with secrets_of(work) as channel:
            roots = stream(channel)
            await roots.write(ask("ROOTCA"))
            assert not only(await read(roots)).validation_context.HasField("crl")
            path.parent.mkdir(parents=True)
            path.write_bytes(b"# ours\n" + LIST * 2)
            assert only(await read(roots)).validation_context.crl.inline_bytes == LIST


async def test_roots_wait_for_their_revocations(plane: ControlPlane, work: Path) -> None:
    """Roots of a file that has revocations of its own are not trusted without them."""
    (work / "roots.pem").write_bytes(b"the roots")
    async with agent(work, environment(plane, loopback(), DISABLE_ENVOY="true")) as running:
        await running.logged("secret.published", lambda each: each["name"] == "default")
        async with secrets_of(work) as channel:
            roots = stream(channel)
            await roots.write(ask(f"file-root:{work}/roots.pem~{work}/crl.pem"))
            missing = str(work / "crl.pem")
            await running.logged("secret.unavailable", lambda each: each["file"] == missing)
            (work / "crl.pem").write_bytes(b"the list")
            found = only(await read(roots)).validation_context
            assert found.trusted_ca.inline_bytes == b"the roots"
            assert found.crl.inline_bytes == b"the list"


async def test_key_stays_in_memory(plane: ControlPlane, work: Path) -> None:
    async with agent(work, environment(plane, loopback())) as running:
        await running.ready()
        await running.logged("secret.published", lambda each: each["name"] == "default")
        kept = [path for path in work.rglob("*") if path.is_file()]
        assert [path for path in kept if b"PRIVATE KEY" in path.read_bytes()] == []
        assert not any(
            "PRIVATE" in str(each) or "a-join-token" in str(each) for each in running.log
        )


@pytest.mark.parametrize("name", ["socket", "spire"])
async def test_external_server_is_used(plane: ControlPlane, work: Path, name: str) -> None:
    """A live socket, SPIRE's for example, stays; the agent serves files on its own (B3.1)."""
    path = work / "var/run/secrets/workload-spiffe-uds" / name
    path.parent.mkdir(parents=True)
    link = work.parent / "other"
    link.symlink_to(path.parent)
    asked = asyncio.Event()

    async def taken(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        writer.close()

    server = await asyncio.start_unix_server(taken, link / name)
    async with server:
        env = environment(plane, loopback(), WORKLOAD_IDENTITY_SOCKET_FILE=name)
        async with agent(work, env) as running:
            await running.logged(
                "service.listening", lambda each: "files-socket" in each["address"]
            )
            assert asked.is_set()
            assert path.is_socket()
            assert plane.certificates.callers == []
