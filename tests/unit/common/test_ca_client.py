"""The CA client against a real gRPC server (citadel-and-agent.md B2, B3)."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from istio.auth.v1 import ca_pb2, ca_pb2_grpc
from mast.common.ca_client import (
    Algorithm,
    CaClient,
    CaError,
    Certificate,
    KeyPair,
    WorkloadCertificates,
    encrypted,
    new_key_and_csr,
    renewal_at,
    renewal_backoff,
    retry_backoff,
    server_name,
    service_certificates,
)
from mast.common.spiffe import SpiffeId
from mast.common.tls_front import Material, PeerTable, tls_front
from tests.support.pki import DAY, Ca, Pair, pem, wall_clock

ME = "spiffe://cluster.local/ns/shop/sa/reviews"
HOUR = timedelta(hours=1)
NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
Context = grpc.aio.ServicerContext[Any, Any]


@dataclass
class FakeCa(ca_pb2_grpc.IstioCertificateServiceServicer):
    """Answers as the script says, then with ``chain``; records what it was asked."""

    script: list[grpc.StatusCode] = field(default_factory=list)
    chain: Sequence[str] = ("leaf\n", "issuer\n", "roots\n")
    table: PeerTable | None = None
    requests: list[ca_pb2.IstioCertificateRequest] = field(default_factory=list)
    metadata: list[dict[str, str]] = field(default_factory=list)
    peers: list[str] = field(default_factory=list)
    identities: list[tuple[str, ...]] = field(default_factory=list)

    async def CreateCertificate(
        self, request: ca_pb2.IstioCertificateRequest, context: Context
    ) -> ca_pb2.IstioCertificateResponse:
        self.requests.append(request)
        self.metadata.append({k: str(v) for k, v in context.invocation_metadata() or ()})
        self.peers.append(context.peer())
        if self.table is not None:
            self.identities.append(self.table.identities(context.peer()))
        if self.script and (code := self.script.pop(0)) is not grpc.StatusCode.OK:
            await context.abort(code, "as the script says")
        return ca_pb2.IstioCertificateResponse(cert_chain=self.chain)


@dataclass
class Clock:
    """Time that moves only while somebody waits."""

    now: datetime = NOON
    waits: list[timedelta] = field(default_factory=list)

    def __call__(self) -> datetime:
        return self.now

    async def sleep(self, delay: timedelta) -> None:
        self.waits.append(delay)
        self.now += delay

    async def wait(self, wake: asyncio.Event, delay: timedelta) -> None:
        if not wake.is_set():
            await self.sleep(delay)


@asynccontextmanager
async def serving(ca: FakeCa, address: str = "127.0.0.1:0") -> AsyncIterator[int]:
    server = grpc.aio.server()
    ca_pb2_grpc.add_IstioCertificateServiceServicer_to_server(ca, server)
    port = server.add_insecure_port(address)
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


@pytest.fixture
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="ca-") as name:
        yield Path(name)


def client_of(address: str, clock: Clock, **changes: Any) -> CaClient:
    client = CaClient(
        address=address,
        root_pem=lambda: b"",
        token=lambda: None,
        client_cert=lambda: None,
        now=clock,
        random=lambda: 0.5,
        sleep=clock.sleep,
    )
    return replace(client, **changes)


@asynccontextmanager
async def plain(ca: FakeCa, directory: Path, **changes: Any) -> AsyncIterator[CaClient]:
    """A client of a fake CA on a Unix socket."""
    address = f"unix:{directory}/ca.sock"
    async with serving(ca, address):
        yield client_of(address, changes.pop("clock", Clock()), **changes)


@asynccontextmanager
async def behind_tls(ca: FakeCa, authority: Ca, directory: Path) -> AsyncIterator[str]:
    """The address of a fake CA behind a TLS front with istiod's name."""
    own = authority.leaf(dns=["istiod.istio-system.svc"])
    material = Material(own.chain, own.key, {"cluster.local": authority.pem})
    async with (
        tls_front("127.0.0.1:0", directory / "grpc.sock", lambda: material) as front,
        serving(ca, f"unix:{directory}/grpc.sock"),
    ):
        ca.table = front.peers
        yield f"127.0.0.1:{front.port}"


# Keys and CSRs (B2.2).


@pytest.mark.parametrize(
    ("algorithm", "size", "label"),
    [
        pytest.param("P256", 256, "EC PRIVATE KEY", id="P256"),
        pytest.param("P384", 384, "EC PRIVATE KEY", id="P384"),
        pytest.param("RSA2048", 2048, "RSA PRIVATE KEY", id="RSA2048"),
        pytest.param("RSA3072", 3072, "RSA PRIVATE KEY", id="RSA3072"),
    ],
)
def test_key_and_csr(algorithm: Algorithm, size: int, label: str) -> None:
    key_pem, csr_pem = new_key_and_csr(ME, algorithm, dns=["reviews.shop.svc"])
    key = serialization.load_pem_private_key(key_pem, None)
    csr = x509.load_pem_x509_csr(csr_pem)
    assert isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey)
    assert key.key_size == size
    assert key_pem.startswith(f"-----BEGIN {label}-----\n".encode())
    assert csr.is_signature_valid
    assert csr.public_key() == key.public_key()
    assert list(csr.subject) == []
    names = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [ME]
    assert names.get_values_for_type(x509.DNSName) == ["reviews.shop.svc"]


def test_pkcs8_key() -> None:
    key_pem, _ = new_key_and_csr(ME, pkcs8=True)
    assert key_pem.startswith(b"-----BEGIN PRIVATE KEY-----\n")


def test_every_key_is_new() -> None:
    assert new_key_and_csr(ME)[0] != new_key_and_csr(ME)[0]


def test_unknown_algorithm_is_named() -> None:
    unknown: Any = "RSA1024"
    with pytest.raises(ValueError, match=r"'RSA1024': want one of P256, .*RSA2048"):
        new_key_and_csr(ME, unknown)


# Addresses (B2.3).


@pytest.mark.parametrize(
    ("address", "tls", "name"),
    [
        pytest.param("istiod.istio-system.svc:15012", True, "istiod.istio-system.svc", id="host"),
        pytest.param("istio-citadel:8060", True, "istio-citadel", id="1.4"),
        pytest.param("localhost:8060", True, "istiod.istio-system.svc", id="localhost"),
        pytest.param("127.0.0.1:8060", True, "istiod.istio-system.svc", id="loopback"),
        pytest.param("[::1]:8060", True, "istiod.istio-system.svc", id="loopback-v6"),
        pytest.param("10.0.0.7:15012", True, "10.0.0.7", id="address"),
        pytest.param("dns:///ca.example:443", True, "ca.example", id="grpc-target"),
        pytest.param("istiod.istio-system.svc:15010", False, "istiod.istio-system.svc", id="15010"),
        pytest.param("unix:/run/mast/citadel.sock", False, "", id="unix"),
    ],
)
def test_address(address: str, tls: bool, name: str) -> None:
    assert encrypted(address) is tls
    assert server_name(address) == name or not tls
    assert server_name(address, "istiod-canary.istio-system.svc") == (
        "istiod-canary.istio-system.svc"
    )


# Retries (B2.3).


def test_waits_between_attempts_double() -> None:
    backoff = retry_backoff()
    assert [backoff.next(0.5) / timedelta(milliseconds=1) for _ in range(5)] == [
        100, 200, 400, 800, 800,
    ]  # fmt: skip


@given(st.floats(0, 1, exclude_max=True))
def test_waits_between_attempts_move_by_a_tenth(random: float) -> None:
    delay = retry_backoff().next(random) / timedelta(milliseconds=1)
    assert 90 - 0.01 <= delay <= 110 + 0.01


@pytest.mark.parametrize("code", list(grpc.StatusCode)[1:], ids=lambda code: code.name)
async def test_statuses_that_may_pass_are_tried_five_times(
    directory: Path, code: grpc.StatusCode
) -> None:
    clock = Clock()
    ca = FakeCa(script=[code] * 9)
    async with plain(ca, directory, clock=clock) as client:
        with pytest.raises(CaError, match="as the script says") as caught:
            await client.sign(b"csr", HOUR)
    assert caught.value.code is code
    again = code.name in {"RESOURCE_EXHAUSTED", "ABORTED", "INTERNAL", "UNAVAILABLE"}
    assert len(ca.requests) == (5 if again else 1)
    assert [w / timedelta(milliseconds=1) for w in clock.waits] == (
        [100, 200, 400, 800] if again else []
    )


async def test_a_later_attempt_may_succeed_on_a_new_connection(directory: Path) -> None:
    ca, authority = FakeCa(script=[grpc.StatusCode.UNAVAILABLE] * 4), Ca.root()
    async with behind_tls(ca, authority, directory) as address:
        client = client_of(address, Clock(), root_pem=lambda: authority.pem)
        certificate = await client.sign(b"csr", HOUR)
    assert certificate == Certificate(("leaf\n", "issuer\n"), "roots\n")
    assert len(set(ca.peers)) == 5


async def test_roots_are_read_again_for_every_attempt(directory: Path) -> None:
    ca, authority = FakeCa(), Ca.root()
    roots = iter([Ca.root("outdated").pem, authority.pem])
    async with behind_tls(ca, authority, directory) as address:
        await client_of(address, Clock(), root_pem=lambda: next(roots)).sign(b"csr", HOUR)
    assert len(ca.requests) == 1


async def test_a_server_of_another_name_is_refused(directory: Path) -> None:
    ca, authority = FakeCa(), Ca.root()
    async with behind_tls(ca, authority, directory) as address:
        client = client_of(
            address, Clock(), root_pem=lambda: authority.pem, tls_server_name="other.svc"
        )
        with pytest.raises(CaError) as caught:
            await client.sign(b"csr", HOUR)
    assert caught.value.code is grpc.StatusCode.UNAVAILABLE
    assert ca.requests == []


async def test_a_server_that_does_not_answer_is_given_up(directory: Path) -> None:
    class Silent(FakeCa):
        async def CreateCertificate(self, request: Any, context: Context) -> Any:
            await asyncio.Event().wait()

    async with plain(Silent(), directory, timeout=timedelta(milliseconds=50)) as client:
        with pytest.raises(CaError) as caught:
            await client.sign(b"csr", HOUR)
    assert caught.value.code is grpc.StatusCode.DEADLINE_EXCEEDED


# Requests and credentials (B2.1, B2.3).


async def test_request(directory: Path) -> None:
    ca = FakeCa()
    async with plain(
        ca,
        directory,
        cluster_id="east",
        metadata=(("x-tenant", "blue"),),
        request_metadata={"CertSigner": "acme"},
    ) as client:
        await client.sign(b"the csr", timedelta(hours=24))
    (request,) = ca.requests
    assert (request.csr, request.validity_duration) == ("the csr", 86400)
    assert dict(request.metadata) == {"CertSigner": "acme"}
    assert ca.metadata[0]["clusterid"] == "east"
    assert ca.metadata[0]["x-tenant"] == "blue"
    assert "authorization" not in ca.metadata[0]


async def test_token_is_read_again_for_every_attempt(directory: Path) -> None:
    tokens = iter(["old", None, "new"])
    ca = FakeCa(script=[grpc.StatusCode.UNAVAILABLE] * 2)
    async with plain(ca, directory, token=lambda: next(tokens)) as client:
        await client.sign(b"csr", HOUR)
    assert [m.get("authorization") for m in ca.metadata] == ["Bearer old", None, "Bearer new"]


async def test_missing_root_file_is_reported(directory: Path) -> None:
    client = client_of(
        "127.0.0.1:1", Clock(), root_pem=lambda: (directory / "root-cert.pem").read_bytes()
    )
    with pytest.raises(FileNotFoundError, match=r"root-cert\.pem"):
        await client.sign(b"csr", HOUR)


@pytest.mark.parametrize(
    ("life", "identities"),
    [
        pytest.param((-HOUR, HOUR), (ME,), id="valid"),
        pytest.param((-2 * HOUR, -HOUR), (), id="expired-is-not-presented"),
    ],
)
async def test_own_certificate(
    directory: Path, life: tuple[timedelta, timedelta], identities: tuple[str, ...]
) -> None:
    ca, authority = FakeCa(), Ca.root()
    own: Pair = authority.leaf(uris=[ME], valid=life)
    async with behind_tls(ca, authority, directory) as address:
        client = client_of(
            address,
            Clock(wall_clock()),
            root_pem=lambda: authority.pem,
            client_cert=lambda: (own.chain, own.key),
        )
        await client.sign(b"csr", HOUR)
    assert ca.identities == [identities]


@pytest.mark.parametrize("chain", [[], ["leaf\n"]], ids=["empty", "leaf-only"])
async def test_answers_without_roots_are_refused(directory: Path, chain: list[str]) -> None:
    async with plain(FakeCa(chain=chain), directory) as client:
        with pytest.raises(CaError, match=f"answer has {len(chain)} certificates"):
            await client.sign(b"csr", HOUR)


# Renewal (B3.3, B3.4).


@pytest.mark.parametrize(
    ("random", "ratio", "jitter", "hours_left"),
    [
        pytest.param(0.5, 0.5, 0.01, 12.0, id="half-life"),
        pytest.param(0.0, 0.5, 0.01, 11.76, id="latest"),
        pytest.param(1.0, 0.5, 0.01, 12.24, id="earliest"),
        pytest.param(1.0, 1.0, 0.2, 24.0, id="not-before-it-began"),
        pytest.param(0.0, 0.0, 0.2, 0.0, id="not-after-it-ended"),
    ],
)
def test_renewal_at(random: float, ratio: float, jitter: float, hours_left: float) -> None:
    end = NOON + DAY
    due = renewal_at(NOON, end, random, ratio=ratio, jitter=jitter)
    assert (end - due) / HOUR == pytest.approx(hours_left)


def test_failed_renewals_wait_half_a_second_to_a_minute() -> None:
    backoff = renewal_backoff()
    delays = [backoff.next(0.5).total_seconds() for _ in range(10)]
    assert delays == [0.5, 1, 2, 4, 8, 16, 32, 60, 60, 60]


@dataclass
class Signer:
    """Signs for real, for as long as the wish says; fails as the script says."""

    clock: Clock
    ca: Ca = field(default_factory=Ca.root)
    failures: list[Exception] = field(default_factory=list)
    times: list[datetime] = field(default_factory=list)
    in_flight: int = 0
    other_keys: int = 0
    watched: Callable[[], Any] = lambda: None
    seen: list[Any] = field(default_factory=list)

    async def sign(self, csr_pem: bytes, ttl: timedelta) -> Certificate:
        assert self.in_flight == 0
        self.in_flight += 1
        self.times.append(self.clock.now)
        self.seen.append(self.watched())
        try:
            await asyncio.to_thread(bool)  # gives a second call the chance to come
            if self.failures:
                raise self.failures.pop(0)
            if self.other_keys:
                self.other_keys -= 1
                csr_pem = new_key_and_csr(ME)[1]
            leaf = self._leaf(x509.load_pem_x509_csr(csr_pem).public_key(), ttl)
            return Certificate((pem(leaf).decode(),), self.ca.pem.decode())
        finally:
            self.in_flight -= 1

    def _leaf(self, key: Any, ttl: timedelta) -> x509.Certificate:
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self.ca.certificate.subject)
            .public_key(key)
            .serial_number(len(self.times))
            .not_valid_before(self.clock.now)
            .not_valid_after(self.clock.now + ttl)
            .add_extension(
                x509.SubjectAlternativeName([x509.UniformResourceIdentifier(ME)]), critical=True
            )
            .sign(self.ca.key, hashes.SHA256())
        )


def workload(signer: Signer, **changes: Any) -> WorkloadCertificates:
    clock = signer.clock
    return WorkloadCertificates(
        sign=signer.sign, spiffe_id=ME, now=clock, random=lambda: 0.5, wait=clock.wait, **changes
    )


@asynccontextmanager
async def kept(certificates: WorkloadCertificates) -> AsyncIterator[None]:
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        running = tasks.create_task(certificates.run(), name="certificates")
        yield
        running.cancel()


async def test_renewed_at_half_life_with_a_new_key() -> None:
    signer = Signer(Clock())
    certificates = workload(signer)
    seen: list[KeyPair] = []
    pair: KeyPair | None = None
    assert certificates.current is None
    async with kept(certificates):
        for _ in range(3):
            pair = await certificates.changed(pair)
            seen.append(pair)
    assert signer.times[:3] == [NOON, NOON + 12 * HOUR, NOON + 24 * HOUR]
    assert max(signer.clock.waits) <= timedelta(minutes=1)
    assert len({pair.key_pem for pair in seen}) == 3
    assert seen[1].not_after == NOON + 36 * HOUR
    key = serialization.load_pem_private_key(seen[0].key_pem, None)
    assert seen[0].certificate.leaf.public_key() == key.public_key()
    assert seen[0].chain_pem == seen[0].certificate.chain_pem[0].encode()


async def test_failures_back_off_and_leave_the_last_good_certificate() -> None:
    signer = Signer(Clock())
    certificates = workload(signer)
    async with kept(certificates):
        first = await certificates.changed(None)
        signer.failures = [
            CaError(grpc.StatusCode.UNAUTHENTICATED, "request authenticate failure"),
            FileNotFoundError("root-cert.pem"),
            CaError(grpc.StatusCode.UNAVAILABLE, "down"),
        ]
        signer.watched = lambda: certificates.current
        second = await certificates.changed(first)
    half = NOON + 12 * HOUR
    steps = [timedelta(), timedelta(seconds=0.5), timedelta(seconds=1.5), timedelta(seconds=3.5)]
    assert signer.times[1:5] == [half + step for step in steps]
    assert signer.seen[1:5] == [first] * 4
    assert second is not first


async def test_renewal_may_be_asked_for() -> None:
    signer = Signer(Clock())
    asked = asyncio.Event()

    async def wait(wake: asyncio.Event, delay: timedelta) -> None:
        asked.set()
        await wake.wait()

    certificates = workload(signer)
    certificates.wait = wait
    async with kept(certificates):
        first = await certificates.changed(None)
        await asked.wait()
        certificates.renew()
        second = await certificates.changed(first)
    assert signer.times == [NOON, NOON]
    assert second.key_pem != first.key_pem


async def test_a_certificate_for_another_key_is_refused() -> None:
    signer = Signer(Clock(), other_keys=2)
    certificates = workload(signer)
    with capture_logs() as logs:
        async with kept(certificates):
            await certificates.changed(None)
    refusals = [log["error"] for log in logs if log["event"] == "certificate.refused"]
    assert refusals == ["the CA's certificate is for another key than the CSR's"] * 2


async def test_the_default_wait_ends_by_time_or_by_waking() -> None:
    signer = Signer(Clock(wall_clock()), failures=[CaError(grpc.StatusCode.UNAVAILABLE, "down")])
    certificates = WorkloadCertificates(
        sign=signer.sign, spiffe_id=ME, now=signer.clock, random=lambda: 0.0
    )
    async with kept(certificates):
        first = await certificates.changed(None)  # after a real wait of 0.4 s
        certificates.renew()
        await certificates.changed(first)
    assert len(signer.times) == 3


# Certificates of a control-plane service.


class SigningCa(FakeCa):
    """Signs whatever it is asked to, for an hour."""

    authority: Ca

    async def CreateCertificate(
        self, request: ca_pb2.IstioCertificateRequest, context: Context
    ) -> ca_pb2.IstioCertificateResponse:
        now = wall_clock()
        signer = Signer(Clock(now), ca=self.authority)
        certificate = await signer.sign(request.csr.encode(), HOUR)
        self.chain = (*certificate.chain_pem, certificate.roots_pem)
        return await super().CreateCertificate(request, context)


async def test_a_service_begins_with_its_token_and_goes_on_by_certificate(
    directory: Path,
) -> None:
    ca, authority = SigningCa(), Ca.root()
    ca.authority = authority
    root_file, token_file = directory / "root-cert.pem", directory / "token"
    root_file.write_bytes(authority.pem)
    token_file.write_text("one-use\n")
    identity = SpiffeId("cluster.local", "istio-system", "istio-pilot-service-account")
    async with behind_tls(ca, authority, directory) as address:
        certificates = service_certificates(
            address=address,
            identity=identity,
            root_file=root_file,
            token_file=token_file,
            now=wall_clock,
        )
        async with kept(certificates):
            first = await certificates.changed(None)
            token_file.unlink()
            certificates.renew()
            await certificates.changed(first)
    assert [m.get("authorization") for m in ca.metadata] == ["Bearer one-use", None]
    csr = x509.load_pem_x509_csr(ca.requests[0].csr.encode())
    names = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [str(identity)]
    assert ca.identities == [(), (ME,)]  # the fake signs for this one, whoever asks


async def test_a_service_without_token_file_calls_without_token(directory: Path) -> None:
    ca = SigningCa()
    ca.authority = Ca.root()
    address = f"unix:{directory}/ca.sock"
    async with serving(ca, address):
        certificates = service_certificates(
            address=address,
            identity=SpiffeId("cluster.local", "a", "b"),
            root_file=None,
            token_file=None,
            now=wall_clock,
        )
        async with kept(certificates):
            await certificates.changed(None)
    assert "authorization" not in ca.metadata[0]
