"""A running mesh gives nothing away: ports, files, logs, pages (docs/security.md)."""

from __future__ import annotations

import asyncio
import base64
import ssl
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

import aiohttp
import grpc.aio
import psutil
import pytest
import pytest_asyncio
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest

from istio.auth.v1 import ca_pb2, ca_pb2_grpc
from istio.mixer.v1 import mixer_pb2, mixer_pb2_grpc
from mast.cli.local.etcd import certificate
from mast.cli.local.home import NAMESPACES
from mast.cli.local.plan import etcd_pki
from mast.common.etcd import EtcdConfig, Rejected, connect
from mast.pilot.api.ads import SERVICE as ADS
from tests.support.credentials import secret_yaml
from tests.support.laptop import BOOKINFO, MODES, Laptop, mesh
from tests.support.listening import listening
from tests.support.pki import Ca

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.xdist_group("hardening"),  # they share a mesh
]

HEADER = "PRIVATE KEY-----"
PASSWORD = "correct-horse-battery"  # noqa: S105
TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJub2JvZHkifQ.c2lnbmF0dXJlLW9mLW5vYm9keQ"  # noqa: S105
SECURE = ("citadel", "pilot-secure", "mixer-secure", "galley")
"""What is encrypted; in namespaces mode all but the last leave loopback for the bridge."""

OBJECTS = f"""
apiVersion: config.istio.io/v1alpha2
kind: handler
metadata: {{name: versions, namespace: istio-system}}
spec:
  compiledAdapter: listchecker
  params: {{providerUrl: "http://mesh:{PASSWORD}@127.0.0.1:1/list", blacklist: false}}
"""
ASK = (
    "import urllib.request as u;"
    f"u.urlopen(u.Request('http://details:9080/details/0', headers={{'authorization':"
    f" 'Bearer {TOKEN}'}}), timeout=20).read()"
)


@dataclass
class Site:
    """A mesh with a workload and a gateway in it, which know secrets."""

    machine: Laptop
    secrets: dict[str, str]
    broken: Path


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    scratch = tmp_path_factory.mktemp("hardening")
    scratch.chmod(0o755)
    async with mesh(MODES[0]) as machine:
        pair = Ca.root().leaf(dns=["bookinfo.test"])
        (scratch / "objects.yaml").write_text(
            secret_yaml("bookinfo", "default", tls_crt=pair.chain, tls_key=pair.key)
            + "\n---\n"
            + OBJECTS
        )
        for arguments in (
            ("apply", "-f", str(scratch / "objects.yaml")),
            (
                "run",
                "-d",
                "--service",
                "details",
                "--port",
                "9080",
                "--",
                "python3",
                f"{BOOKINFO}/apps/details.py",
            ),
            ("run", "--service", "client", "--", "python3", "-c", ASK),
        ):
            ended = await machine.mastctl(*arguments)
            assert ended.status == 0, ended.err
        body = pair.key.decode().split("\n")[1]
        broken = scratch / "broken.yaml"
        stranger = Ca.root().leaf(dns=["bookinfo.test"])
        broken.write_text(
            secret_yaml("broken", "default", tls_crt=stranger.chain, tls_key=pair.key)
        )
        yield Site(
            machine,
            {
                "a key": HEADER,
                "a key in base64": base64.b64encode(pair.key).decode()[:40],
                "a line of a key": body,
                "a password in a URL": PASSWORD,
                "a caller's token": TOKEN,
            },
            broken,
        )


async def test_only_encrypted_ports_leave_the_machine(site: Site) -> None:
    """Every socket of every process of the control plane is accounted for."""
    home, known = site.machine.home, site.machine.home.running().addresses
    by_port = {
        int(each.rpartition(":")[2]): name for name, each in known.items() if "/" not in each
    }
    found = {}
    for service in home.services().values():
        process = psutil.Process(service.pid)
        for each in (process, *process.children(recursive=True)):
            found |= {port: address for address, port in listening(each.pid)}
    assert {by_port.get(port, str(port)) for port in found} == set(by_port.values())
    away = {by_port[port] for port, address in found.items() if not address.is_loopback}
    assert away == ({*SECURE} - {"galley"} if site.machine.mode == NAMESPACES else set())


async def test_beside_a_workload_only_istios_ports_are_open(site: Site) -> None:
    """Envoy and agent listen as in a pod; administration and DNS are for the workload itself."""
    (workload,) = [each for each in site.machine.home.workloads() if each.service == "details"]
    agent = psutil.Process(workload.processes["agent"].pid)
    found = {
        (str(address), port)
        for each in (agent, *agent.children(recursive=True))
        for address, port in listening(each.pid)
    }
    open_to_all = {port for address, port in found if address in ("0.0.0.0", "::")}  # noqa: S104
    if site.machine.mode == NAMESPACES:
        assert open_to_all == {15001, 15006, 15020, 15021, 15090}
    else:
        assert open_to_all == set()
    assert 15000 in {port for address, port in found if ip_address(address).is_loopback}


async def test_services_have_users_in_etcd(site: Site) -> None:
    """Mixer's certificate opens its own prefixes of the running mesh's store, not the CA's."""
    home = site.machine.home
    chain, key = certificate(etcd_pki(home), "mixer")
    config = EtcdConfig(
        endpoints=(home.running().addresses["etcd"],),
        ca=etcd_pki(home) / "ca.pem",
        cert=chain,
        key=key,
    )
    async with connect(config) as store:
        assert (await store.list("config/")).entries
        for prefix in ("ca/", "secrets/", ""):
            with pytest.raises(Rejected, match="permission denied"):
                await store.list(prefix)


@pytest.mark.parametrize("name", SECURE)
async def test_encrypted_ports_speak_no_plain_text(name: str, site: Site) -> None:
    host, _, port = site.machine.home.running().addresses[name].rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        async with asyncio.timeout(20):
            writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9))
            with suppress(ConnectionError):
                # A TLS alert perhaps, never a frame of HTTP/2.
                assert (await reader.read(9))[:1] in (b"", b"\x15")
    finally:
        writer.transport.abort()


async def test_old_versions_of_tls_are_refused(site: Site) -> None:
    for name in SECURE:
        host, _, port = site.machine.home.running().addresses[name].rpartition(":")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.open_connection(host, int(port), ssl=context)


async def test_callers_without_an_identity_get_nothing(site: Site) -> None:
    """A certificate or a token is wanted on every port that leaves the machine."""
    running = site.machine.home.running()
    roots = site.machine.home.path("root-cert.pem").read_bytes()
    credentials = grpc.ssl_channel_credentials(roots)

    async def code(name: str, server: str, call: str) -> grpc.StatusCode:
        options = [("grpc.ssl_target_name_override", server)]
        address = running.addresses[name]
        async with grpc.aio.secure_channel(address, credentials, options=options) as channel:
            if call == "sign":
                sign = ca_pb2_grpc.IstioCertificateServiceStub(channel).CreateCertificate
                return await sign(ca_pb2.IstioCertificateRequest(csr="x"), timeout=20).code()
            if call == "check":
                check = mixer_pb2_grpc.MixerStub(channel).Check
                return await check(mixer_pb2.CheckRequest(), timeout=20).code()
            request = DiscoveryRequest(
                type_url="type.googleapis.com/envoy.config.cluster.v3.Cluster"
            )
            request.node.id = "sidecar~10.0.0.1~x.default~default.svc.cluster.local"
            # A stream may end before it is written to; gRPC then calls that INTERNAL.
            ask = channel.unary_unary(f"/{ADS}/StreamAggregatedResources")
            return await ask(request.SerializeToString(), timeout=20).code()

    refused = grpc.StatusCode.UNAUTHENTICATED
    assert await code("citadel", "istio-citadel", "sign") is refused
    assert await code("pilot-secure", "istiod.istio-system.svc", "stream") is refused
    # These end the handshake.
    assert await code("mixer-secure", "istio-mixer", "check") is grpc.StatusCode.UNAVAILABLE


def files(root: Path) -> Iterator[Path]:
    for each in root.rglob("*"):
        with suppress(FileNotFoundError):
            if stat.S_ISREG(each.lstat().st_mode):
                yield each


async def test_keys_are_for_their_owner_only(site: Site) -> None:
    """Private keys and the keys that seal others: 0600. The store holds none in the clear."""
    home = site.machine.home
    keys = []
    for path in files(home.root):
        with suppress(FileNotFoundError):
            content = path.read_bytes()
            if HEADER.encode() in content or path.suffix == ".key" or "token" in path.name:
                keys.append(path)
                assert stat.S_IMODE(path.stat().st_mode) & 0o177 == 0, path
            assert HEADER.encode() not in content or path.parent == home.path("data", "etcd-pki")
    names = {path.name for path in keys}
    assert {"ca.key", "secrets.key", "pilot-key.pem"} <= names
    assert "root-key.pem" not in names
    for folder in ("data", "logs", "tokens", "sockets"):
        assert stat.S_IMODE(home.path(folder).stat().st_mode) == 0o700
    for path in home.path("sockets").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) & 0o177 == 0


async def outputs(machine: Laptop, broken: Path) -> AsyncIterator[tuple[str, str]]:
    """Everything that an operator might put into a report of a problem.

    `broken` is a file that Galley refuses.
    """
    home = machine.home
    for path in home.path("logs").iterdir():
        yield f"log {path.name}", path.read_text(errors="replace")
    for name in ("mesh.json", "services.json"):
        yield name, home.path(name).read_text()
    addresses = home.running().addresses
    (workload,) = [each for each in home.workloads() if each.service == "details"]
    proxy = f"{workload.name}.{workload.namespace}"
    async with aiohttp.ClientSession() as session:
        for name in ("citadel", "galley", "pilot", "mixer"):
            for path in ("/metrics", "/ready"):
                async with session.get(f"http://{addresses[f'{name}-monitoring']}{path}") as answer:
                    yield f"{name}{path}", await answer.text()
        async with session.get(f"http://{addresses['pilot-http']}/debug/list") as answer:
            pages = [str(each).rpartition("/")[2] for each in await answer.json()]
        assert "config_dump" in pages
        for each in sorted({*pages, "config_dump"}):
            if each == "force_disconnect":
                continue
            url = f"http://{addresses['pilot-http']}/debug/{each}?proxyID={proxy}&include_eds=true"
            async with session.get(url) as answer:
                yield f"page {each}", await answer.text()
    for line in (
        ("status", "-o", "json"),
        ("apply", "-f", str(broken)),
        # What authors wrote they get back, but for Secrets.
        ("get", "all", "-A"),
        ("get", "secrets", "-A", "-o", "yaml"),
        ("proxy-status", "-o", "json"),
        ("proxy-config", "all", workload.name, "-o", "json"),
        ("proxy-config", "secret", workload.name, "-o", "json"),
    ):
        ended = await machine.mastctl(*line)
        yield " ".join(line), ended.out + ended.err


async def test_secrets_are_told_to_nobody(site: Site) -> None:
    """Logs, pages, dumps and commands are free of keys, tokens and passwords."""
    told, seen = [], 0
    async for where, text in outputs(site.machine, site.broken):
        told += [f"{what} in {where}" for what, secret in site.secrets.items() if secret in text]
        seen += len(text)
    assert told == []
    assert seen > 100_000
