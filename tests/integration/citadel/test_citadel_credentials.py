"""Callers of a real Citadel, over TLS and over the socket (citadel-and-agent.md A4-A6, D2, D5)."""

from __future__ import annotations

import asyncio
import stat
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from cryptography import x509
from grpc_health.v1 import health_pb2, health_pb2_grpc

from istio.auth.v1 import ca_pb2, ca_service_pb2, ca_service_pb2_grpc
from mast.common.identity.ca_client import (
    CaError,
    Certificate,
    WorkloadCertificates,
    new_key_and_csr,
)
from mastapi.citadel.v1 import citadel_pb2, citadel_pb2_grpc
from tests.integration.citadel.process import Citadel, citadel
from tests.support.etcd_server import EtcdServer
from tests.support.pki import Ca, wall_clock

DOMAIN = "spiffe://cluster.local/ns"
REVIEWS = f"{DOMAIN}/shop/sa/reviews"
HOUR = timedelta(hours=1)
Status = grpc.StatusCode


def identities(certificate: Certificate) -> list[str]:
    names = certificate.leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return [str(name.value) for name in names.value]


async def failure(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), caught.value.details() or ""


def request(csr_pem: bytes | None = None, **fields: Any) -> ca_pb2.IstioCertificateRequest:
    csr = csr_pem or new_key_and_csr(REVIEWS)[1]
    asked = ca_pb2.IstioCertificateRequest(csr=csr.decode(), validity_duration=3600)
    asked.metadata.update(fields)
    return asked


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),)


async def test_token_only(ca: Citadel) -> None:
    """What a CSR says of itself does not matter (D2)."""
    _, certificate = await ca.new_pair(await ca.join_token(), uri=f"{DOMAIN}/istio-system/sa/root")
    assert identities(certificate) == [REVIEWS]
    assert certificate.roots_pem.encode() == await ca.roots()


async def test_own_certificate_only(ca: Citadel) -> None:
    first, _ = await ca.new_pair(await ca.join_token())
    second, certificate = await ca.new_pair(pair=first)
    assert identities(certificate) == [REVIEWS]
    third, _ = await ca.new_pair(pair=second)
    assert len({first.key, second.key, third.key}) == 3


async def test_both_the_certificate_counts_and_the_token_is_left(ca: Citadel) -> None:
    own, _ = await ca.new_pair(await ca.join_token())
    token = await ca.join_token("shop", "ratings")
    _, by_both = await ca.new_pair(token, own)
    _, by_token = await ca.new_pair(token)
    assert identities(by_both) == [REVIEWS]
    assert identities(by_token) == [f"{DOMAIN}/shop/sa/ratings"]


async def test_nothing(ca: Citadel) -> None:
    async with ca.stub() as stub:
        told = await failure(stub.CreateCertificate(request(), timeout=10))
    assert told == (Status.UNAUTHENTICATED, "request authenticate failure")
    line = await ca.service.logged("certificate.refused", kind="Unauthenticated", peer="127.0.0.1")
    assert line["reason"] == "client certificate: none; join token: none"


async def test_foreign_certificate_does_not_even_connect(ca: Citadel) -> None:
    foreign = Ca.root().leaf(uris=[REVIEWS])
    client = await ca.client(token=await ca.join_token(), pair=foreign)
    with pytest.raises(CaError) as caught:
        await client.sign(new_key_and_csr(REVIEWS)[1], HOUR)
    assert caught.value.code is Status.UNAVAILABLE


async def test_token_serves_once(ca: Citadel) -> None:
    token = await ca.join_token()
    await ca.new_pair(token)
    async with ca.stub() as stub:
        told = await failure(stub.CreateCertificate(request(), metadata=bearer(token), timeout=10))
    assert told == (Status.UNAUTHENTICATED, "request authenticate failure")
    await ca.service.stop()
    assert token not in "".join(ca.service.output)


async def test_token_is_not_lost_to_a_bad_csr(ca: Citadel) -> None:
    token = await ca.join_token()
    async with ca.stub() as stub:
        told = await failure(
            stub.CreateCertificate(request(b"nothing"), metadata=bearer(token), timeout=10)
        )
    assert told[0] is Status.INVALID_ARGUMENT
    await ca.new_pair(token)


async def test_workloads_may_not_impersonate(ca: Citadel) -> None:
    own, _ = await ca.new_pair(await ca.join_token())
    async with ca.stub(own) as stub:
        asked = request(ImpersonatedIdentity=f"{DOMAIN}/shop/sa/ratings")
        told = await failure(stub.CreateCertificate(asked, timeout=10))
    assert told == (Status.UNAUTHENTICATED, "request impersonation authentication failure")


async def test_administration_is_on_the_socket_only(ca: Citadel) -> None:
    own, _ = await ca.new_pair(await ca.join_token())
    async with ca.channel(await ca.roots(), own) as channel:
        stub = citadel_pb2_grpc.CitadelAdminStub(channel)
        made = stub.CreateJoinToken(citadel_pb2.CreateJoinTokenRequest(), timeout=10)
        assert (await failure(made))[0] is Status.UNIMPLEMENTED
    assert stat.S_IMODE(ca.admin_socket.stat().st_mode) == 0o600
    assert stat.S_IMODE(ca.admin_socket.parent.stat().st_mode) == 0o700


async def test_administrator_gets_certificates_for_any_identity(ca: Citadel) -> None:
    pilot = f"{DOMAIN}/istio-system/sa/istio-pilot-service-account"
    client = await ca.client(
        address=f"unix:{ca.admin_socket}", request_metadata={"ImpersonatedIdentity": pilot}
    )
    certificate = await client.sign(new_key_and_csr(pilot)[1], HOUR)
    assert identities(certificate) == [
        pilot,
        "istiod.istio-system.svc",
        "istiod.istio-system",
        "istio-pilot.istio-system.svc",
        "istio-pilot.istio-system",
        "localhost",
    ]


async def test_handle_csr(ca: Citadel) -> None:
    """1.4's service on the same port (D10)."""
    asked = ca_service_pb2.CsrRequest(csr_pem=new_key_and_csr(REVIEWS)[1], requested_ttl_minutes=30)
    token = await ca.join_token()
    async with ca.channel(await ca.roots()) as channel:
        stub = ca_service_pb2_grpc.IstioCAServiceStub(channel)
        answer = await stub.HandleCSR(asked, metadata=bearer(token), timeout=10)
    assert answer.is_approved
    leaf = x509.load_pem_x509_certificate(answer.signed_cert)
    left = leaf.not_valid_after_utc - wall_clock()
    assert timedelta(minutes=29) < left <= timedelta(minutes=30)


async def test_health(ca: Citadel) -> None:
    async with ca.channel(await ca.roots()) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        asked = health_pb2.HealthCheckRequest(service="istio.v1.auth.IstioCertificateService")
        answer = await stub.Check(asked, timeout=10)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_a_workload_begins_with_a_token_and_goes_on_by_certificate(ca: Citadel) -> None:
    """The agent's way (B2): the token is gone after the first certificate."""
    token = await ca.join_token()
    client = await ca.client(token=token)
    certificates: WorkloadCertificates

    def own() -> tuple[bytes, bytes] | None:
        pair = certificates.current
        return (pair.chain_pem, pair.key_pem) if pair else None

    client = type(client)(**{**vars(client), "client_cert": own})
    certificates = WorkloadCertificates(
        sign=client.sign, spiffe_id=REVIEWS, now=wall_clock, ttl=HOUR
    )
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        keeping = tasks.create_task(certificates.run())
        pair = await certificates.changed(None)
        for _ in range(2):
            certificates.renew()
            newer = await certificates.changed(pair)
            assert newer.certificate.leaf.serial_number != pair.certificate.leaf.serial_number
            assert identities(newer.certificate) == [REVIEWS]
            pair = newer
        keeping.cancel()


async def test_rate_limit(etcd: EtcdServer, directory: Path) -> None:
    async with citadel(etcd.endpoint, directory, ["--sign-rate", "2"]) as ca, ca.stub() as stub:
        calls = [await failure(stub.CreateCertificate(request(), timeout=10)) for _ in range(4)]
    codes = [code for code, _ in calls]
    assert codes[:2] == [Status.UNAUTHENTICATED] * 2
    assert Status.RESOURCE_EXHAUSTED in codes[2:]


async def test_identity_under_an_alias_is_signed_under_our_own_domain(
    etcd: EtcdServer, directory: Path
) -> None:
    """A mesh that was renamed (A3)."""
    async with citadel(etcd.endpoint, directory, ["--trust-domain", "old.example"]) as before:
        old, certificate = await before.new_pair(await before.join_token())
        assert identities(certificate) == ["spiffe://old.example/ns/shop/sa/reviews"]
        await before.service.stop()
    aliases = ["--trust-domain", "new.example", "--trust-domain-aliases", "old.example"]
    async with citadel(etcd.endpoint, directory, aliases) as after:
        _, certificate = await after.new_pair(pair=old)
        assert identities(certificate) == ["spiffe://new.example/ns/shop/sa/reviews"]
    async with citadel(etcd.endpoint, directory, ["--trust-domain", "new.example"]) as strict:
        with pytest.raises(CaError):
            await strict.new_pair(pair=old)
