"""Certificates that are renewed: of workloads and of control-plane services (B3)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from structlog.testing import capture_logs

from istio.auth.v1 import ca_pb2
from mast.common.identity.ca_client import (
    CaError,
    Certificate,
    KeyPair,
    WorkloadCertificates,
    ca_roots,
    new_key_and_csr,
    renewal_at,
    renewal_backoff,
    service_certificates,
)
from mast.common.identity.spiffe import SpiffeId
from tests.fakes.ca import HOUR, ME, NOON, Clock, Context, FakeCa, behind_tls, serving
from tests.support.pki import DAY, Ca, pem, wall_clock

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
            mesh_roots=lambda: b"",
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


async def test_a_service_verifies_the_ca_by_the_roots_of_the_store(directory: Path) -> None:
    """Nothing but etcd has to be there before the first certificate."""
    ca, authority = SigningCa(), Ca.root()
    ca.authority = authority
    known: list[bytes] = [b"", authority.pem]
    async with behind_tls(ca, authority, directory) as address:
        certificates = service_certificates(
            address=address,
            identity=SpiffeId("cluster.local", "istio-system", "istio-galley-service-account"),
            root_file=None,
            token_file=None,
            now=wall_clock,
            mesh_roots=lambda: known.pop(0) if len(known) > 1 else known[0],
        )
        async with kept(certificates):
            await certificates.changed(None)
    assert ca.requests


@pytest.mark.parametrize(
    ("file", "stored", "found"),
    [
        pytest.param(b"old", b"new", b"old\nnew", id="both"),
        pytest.param(b"old", b"", b"old\n", id="file"),
        pytest.param(None, b"new", b"new", id="store"),
        pytest.param(None, b"", None, id="neither"),
    ],
)
def test_roots_of_the_ca(
    directory: Path, file: bytes | None, stored: bytes, found: bytes | None
) -> None:
    path = directory / "root.pem" if file is not None else None
    if path is not None:
        path.write_bytes(file or b"")
    if found is not None:
        assert ca_roots(path, lambda: stored) == found
        return
    with pytest.raises(OSError, match="no roots of the mesh yet"):
        ca_roots(path, lambda: stored)


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
            mesh_roots=lambda: b"",
        )
        async with kept(certificates):
            await certificates.changed(None)
    assert "authorization" not in ca.metadata[0]
