"""The gRPC services over a real channel (citadel-and-agent.md A4)."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from cryptography import x509
from google.protobuf import duration_pb2

from istio.auth.v1 import ca_pb2, ca_pb2_grpc, ca_service_pb2, ca_service_pb2_grpc
from mast.citadel.api import admin, certificates
from mast.citadel.api.authenticators import AdminSocket, JoinToken
from mast.citadel.api.entrances import on_socket
from mast.citadel.api.status import CA_SERVICE, CERTIFICATE_SERVICE
from mast.citadel.core import refusals
from mast.citadel.core.authority import Authority, Slot, State, pem
from mast.citadel.core.knowledge import Knowledge
from mast.citadel.core.rotation import Overview
from mast.common.identity.spiffe import SpiffeId
from mastapi.citadel.v1 import citadel_pb2, citadel_pb2_grpc
from mastapi.trust.v1.trust_pb2 import TrustBundle
from tests.support.pki import Ca, wall_clock
from tests.unit.citadel.examples import DOMAIN, HOUR, NOW, authority, csr_pem
from tests.unit.citadel.fakes import Desk

VM = SpiffeId(DOMAIN, "vms", "db")
TOKEN = (("authorization", "Bearer t"),)
Status = grpc.StatusCode


async def seen(authority: Authority) -> Overview:
    """One of two proxies trusts what is published."""
    bundle = TrustBundle(trust_domain=DOMAIN, sequence=4)
    return Overview(authority, bundle, Knowledge(2, 1, lagging=("web-1",)))


@asynccontextmanager
async def served(desk: Desk) -> AsyncIterator[grpc.aio.Channel]:
    """All services on an administrator's socket, with a join token ``t`` for VM."""
    desk.tokens.give("t", VM, HOUR, desk.clock.time)
    by_token = JoinToken(DOMAIN, desk.tokens.find, desk.clock)
    entrance = certificates.Entrance((by_token, AdminSocket()), on_socket())
    service = admin.AdminService(
        authority=lambda: desk.authority,
        add=desk.tokens.add,
        commands=lambda: None,
        seen=seen,
        passing=(),
        trust_domain=DOMAIN,
        now=desk.clock,
        entropy=bytes,
    )
    server = grpc.aio.server()
    certificates.register(server, desk.issuance(), entrance)
    admin.register(server, service)
    with tempfile.TemporaryDirectory() as directory:
        address = f"unix:{Path(directory, 'grpc.sock')}"
        server.add_insecure_port(address)
        await server.start()
        async with grpc.aio.insecure_channel(address) as channel:
            yield channel
        await server.stop(None)


async def create(
    channel: grpc.aio.Channel, metadata: Any = TOKEN, **fields: Any
) -> ca_pb2.IstioCertificateResponse:
    request = ca_pb2.IstioCertificateRequest(
        csr=fields.pop("csr", csr_pem().decode()), validity_duration=fields.pop("seconds", 3600)
    )
    request.metadata.update(fields)
    stub = ca_pb2_grpc.IstioCertificateServiceStub(channel)
    return await stub.CreateCertificate(request, metadata=metadata, timeout=10)


async def handle(
    channel: grpc.aio.Channel,
    metadata: Any = TOKEN,
    *,
    csr: bytes | None = None,
    minutes: int = 60,
) -> ca_service_pb2.CsrResponse:
    request = ca_service_pb2.CsrRequest(
        csr_pem=csr_pem() if csr is None else csr, requested_ttl_minutes=minutes
    )
    stub = ca_service_pb2_grpc.IstioCAServiceStub(channel)
    return await stub.HandleCSR(request, metadata=metadata, timeout=10)


def leaf_of(text: str | bytes) -> x509.Certificate:
    return x509.load_pem_x509_certificate(text.encode() if isinstance(text, str) else text)


def below(depth: int) -> tuple[Authority, list[str]]:
    """An authority ``depth`` intermediates below its root, and their PEM."""
    root = ca = Ca.root()
    for step in range(depth):
        ca = ca.intermediate(f"step {step}")
    slot = Slot(
        State.ACTIVE,
        ca.certificate,
        ca.key,  # type: ignore[arg-type]
        ca.issuers[:-1],
        (root.certificate,),
        wall_clock(),
    )
    chain = [pem(c) for c in (ca.certificate, *ca.issuers)]
    return Authority(DOMAIN, (slot,)), chain


@pytest.mark.parametrize("depth", [0, 1, 2])
async def test_create_certificate_chain(depth: int) -> None:
    """[leaf, each intermediate, the roots] (A4, D3)."""
    signing, chain = below(depth)
    desk = Desk(authority=signing)
    desk.clock.time = wall_clock()
    async with served(desk) as channel:
        answer = await create(channel)
    assert list(answer.cert_chain)[1:] == chain
    assert all(element.endswith("-----\n") for element in answer.cert_chain)
    leaf_of(answer.cert_chain[0]).verify_directly_issued_by(signing.active.certificate)


@pytest.mark.parametrize("depth", [0, 2])
async def test_handle_csr_answer(depth: int) -> None:
    signing, chain = below(depth)
    desk = Desk(authority=signing)
    desk.clock.time = wall_clock()
    async with served(desk) as channel:
        answer = await handle(channel)
    assert answer.is_approved
    assert not answer.HasField("status")
    leaf_of(answer.signed_cert).verify_directly_issued_by(signing.active.certificate)
    assert answer.cert_chain.decode() == "".join(chain[:-1])


@pytest.mark.parametrize(
    ("seconds", "life"),
    [
        pytest.param(7200, 2 * HOUR, id="seconds"),
        pytest.param(0, 24 * HOUR, id="nothing-asked"),
        pytest.param(-1, 24 * HOUR, id="negative"),
        pytest.param(-(2**63), 24 * HOUR, id="smallest"),
    ],
)
async def test_validity_duration(seconds: int, life: timedelta) -> None:
    async with served(Desk()) as channel:
        answer = await create(channel, seconds=seconds)
    assert leaf_of(answer.cert_chain[0]).not_valid_after_utc == NOW + life


async def test_requested_ttl_minutes() -> None:
    async with served(Desk()) as channel:
        answer = await handle(channel, minutes=120)
    assert leaf_of(answer.signed_cert).not_valid_after_utc == NOW + 2 * HOUR


def no_authority(desk: Desk) -> None:
    desk.authority = None


def etcd_down(desk: Desk) -> None:
    desk.tokens.down = True


def expired_ca(desk: Desk) -> None:
    desk.authority = authority(ttl=HOUR)
    desk.clock.time = NOW + HOUR - timedelta(seconds=1)
    desk.tokens.give("t", VM, HOUR, desk.clock.time)
    desk.clock.time = NOW + HOUR


Arrange = Callable[[Desk], None]


@pytest.mark.parametrize(
    ("arrange", "call", "code", "detail"),
    [
        pytest.param(
            None,
            lambda c: create(c, ()),
            Status.UNAUTHENTICATED,
            "request authenticate failure",
            id="no-credentials",
        ),
        pytest.param(
            None,
            lambda c: create(c, (("authorization", "Bearer guess"),)),
            Status.UNAUTHENTICATED,
            "request authenticate failure",
            id="bad-token",
        ),
        pytest.param(
            None,
            lambda c: create(c, ImpersonatedIdentity=f"spiffe://{DOMAIN}/ns/a/sa/b"),
            Status.UNAUTHENTICATED,
            "request impersonation authentication failure",
            id="impersonation",
        ),
        pytest.param(
            no_authority,
            create,
            Status.INTERNAL,
            "CSR signing error (the CA is not ready)",
            id="not-ready",
        ),
        pytest.param(
            expired_ca,
            create,
            Status.INTERNAL,
            "CSR signing error (the CA's own certificate has expired)",
            id="expired-ca",
        ),
        pytest.param(
            None,
            lambda c: create(c, csr="nothing"),
            Status.INVALID_ARGUMENT,
            "CSR signing error (CSR has 0 PEM blocks, want one CERTIFICATE REQUEST)",
            id="bad-csr",
        ),
        pytest.param(
            None,
            lambda c: create(c, seconds=2161 * 3600),
            Status.INVALID_ARGUMENT,
            "CSR signing error (requested TTL 90 days, 1:00:00 is above the maximum "
            "90 days, 0:00:00)",
            id="ttl",
        ),
        pytest.param(
            None,
            lambda c: create(c, seconds=2**63 - 1),
            Status.INVALID_ARGUMENT,
            "CSR signing error (requested TTL 115740 days, 17:46:40 is above the maximum "
            "90 days, 0:00:00)",
            id="largest-ttl",
        ),
        pytest.param(
            etcd_down,
            create,
            Status.UNAVAILABLE,
            "credentials cannot be verified at the moment",
            id="etcd-down",
        ),
        pytest.param(
            None,
            lambda c: handle(c, ()),
            Status.UNAUTHENTICATED,
            "request authenticate failure",
            id="handle-no-credentials",
        ),
        pytest.param(
            None,
            lambda c: handle(c, csr=b"nothing"),
            Status.INVALID_ARGUMENT,
            "CSR signing error (CSR has 0 PEM blocks, want one CERTIFICATE REQUEST)",
            id="handle-bad-csr",
        ),
        pytest.param(
            None,
            lambda c: handle(c, csr=csr_pem(uris=())),
            Status.INVALID_ARGUMENT,
            "CSR signing error (CSR has no subject alternative name)",
            id="handle-no-san",
        ),
        pytest.param(
            None,
            lambda c: handle(c, minutes=2161 * 60),
            Status.INTERNAL,
            "CSR signing error (requested TTL 90 days, 1:00:00 is above the maximum "
            "90 days, 0:00:00)",
            id="handle-ttl",
        ),
        pytest.param(
            no_authority,
            handle,
            Status.INTERNAL,
            "CSR signing error (the CA is not ready)",
            id="handle-not-ready",
        ),
    ],
)
async def test_statuses(
    arrange: Arrange | None, call: Callable[..., Any], code: grpc.StatusCode, detail: str
) -> None:
    desk = Desk()
    async with served(desk) as channel:
        if arrange:
            arrange(desk)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(channel)
    assert (caught.value.code(), caught.value.details()) == (code, detail)


async def test_a_bug_tells_the_caller_nothing() -> None:
    desk = Desk()
    async with served(desk) as channel:
        desk.authority = "no authority"  # type: ignore[assignment]
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await create(channel)
    told = (caught.value.code(), caught.value.details())
    assert told == (Status.INTERNAL, "CSR signing error (signing failed)")


def concrete(kind: type[refusals.Refusal]) -> set[type[refusals.Refusal]]:
    below = kind.__subclasses__()
    return {kind} if not below else set[Any]().union(*map(concrete, below))


@pytest.mark.parametrize("statuses", [CERTIFICATE_SERVICE, CA_SERVICE])
def test_every_refusal_has_a_status(statuses: Any) -> None:
    assert set(statuses) == concrete(refusals.Refusal)


async def test_administrator_names_the_identity_in_the_request() -> None:
    async with served(Desk()) as channel:
        answer = await create(channel, (), ImpersonatedIdentity=f"spiffe://{DOMAIN}/ns/a/sa/b")
        (name,) = leaf_of(answer.cert_chain[0]).extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        ).value  # fmt: skip
        assert name.value == f"spiffe://{DOMAIN}/ns/a/sa/b"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await handle(channel, ())
        assert caught.value.code() is Status.UNAUTHENTICATED


# CitadelAdmin.


def join(**fields: Any) -> citadel_pb2.CreateJoinTokenRequest:
    request = {"namespace": "vms", "service_account": "db"} | fields
    return citadel_pb2.CreateJoinTokenRequest(**request)


async def test_a_join_token_is_made_and_redeemed() -> None:
    desk = Desk()
    async with served(desk) as channel:
        stub = citadel_pb2_grpc.CitadelAdminStub(channel)
        made = await stub.CreateJoinToken(join(ttl=duration_pb2.Duration(seconds=90)), timeout=10)
        assert made.spiffe_id == str(VM)
        assert made.expires_at.ToDatetime(tzinfo=NOW.tzinfo) == NOW + timedelta(seconds=90)
        assert made.token not in str(desk.tokens.records)
        metadata = (("authorization", f"Bearer {made.token}"),)
        answer = await create(channel, metadata)
        leaf = leaf_of(answer.cert_chain[0])
        san = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert san.get_values_for_type(x509.UniformResourceIdentifier) == [str(VM)]


async def test_a_join_token_lives_ten_minutes_if_nothing_is_said() -> None:
    async with served(Desk()) as channel:
        made = await citadel_pb2_grpc.CitadelAdminStub(channel).CreateJoinToken(join(), timeout=10)
    assert made.expires_at.ToDatetime(tzinfo=NOW.tzinfo) == NOW + timedelta(minutes=10)


@pytest.mark.parametrize(
    ("request_", "named"),
    [
        (join(namespace=""), "namespace ''"),
        (join(namespace="a/b"), "namespace 'a/b'"),
        (join(service_account=""), "service account ''"),
        (join(ttl=duration_pb2.Duration(seconds=0)), "ttl 0:00:00"),
        (join(ttl=duration_pb2.Duration(seconds=86401)), "ttl 1 day, 0:00:01"),
        (join(ttl=duration_pb2.Duration(seconds=2**62)), ""),
    ],
    ids=["no-namespace", "slash", "no-account", "no-ttl", "long-ttl", "overflow"],
)
async def test_a_join_token_request_is_checked(
    request_: citadel_pb2.CreateJoinTokenRequest, named: str
) -> None:
    desk = Desk()
    async with served(desk) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await citadel_pb2_grpc.CitadelAdminStub(channel).CreateJoinToken(request_, timeout=10)
    assert caught.value.code() is Status.INVALID_ARGUMENT
    assert named in (caught.value.details() or "")
    assert len(desk.tokens.records) == 1  # the one that was there


async def test_no_join_token_without_the_store() -> None:
    desk = Desk()
    async with served(desk) as channel:
        desk.tokens.down = True
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await citadel_pb2_grpc.CitadelAdminStub(channel).CreateJoinToken(join(), timeout=10)
    assert caught.value.code() is Status.UNAVAILABLE
    assert "connection refused" in (caught.value.details() or "")


async def test_bundle() -> None:
    desk = Desk()
    async with served(desk) as channel:
        stub = citadel_pb2_grpc.CitadelAdminStub(channel)
        bundle = await stub.GetBundle(citadel_pb2.GetBundleRequest(), timeout=10)
        roots_pem = desk.authority.roots_pem if desk.authority else ""
        assert (bundle.trust_domain, bundle.roots_pem) == (DOMAIN, roots_pem)
        desk.authority = None
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.GetBundle(citadel_pb2.GetBundleRequest(), timeout=10)
    assert caught.value.code() is Status.UNAVAILABLE


async def test_a_plugged_in_ca_is_shown_and_not_commanded() -> None:
    desk = Desk()
    async with served(desk) as channel:
        stub = citadel_pb2_grpc.CitadelAdminStub(channel)
        shown = await stub.GetAuthorities(citadel_pb2.GetAuthoritiesRequest(), timeout=10)
        assert shown.plugged_in
        assert [slot.state for slot in shown.slots] == [citadel_pb2.Authority.Slot.ACTIVE]
        known = shown.knowledge
        assert (shown.sequence, known.connected, known.holding) == (4, 2, 1)
        assert list(known.lagging) == ["web-1"]
        calls: list[Callable[[], Any]] = [
            lambda: stub.PrepareAuthority(citadel_pb2.PrepareAuthorityRequest(), timeout=10),
            lambda: stub.ActivateAuthority(citadel_pb2.ActivateAuthorityRequest(), timeout=10),
            lambda: stub.TaintAuthority(citadel_pb2.TaintAuthorityRequest(), timeout=10),
            lambda: stub.RevokeAuthority(citadel_pb2.RevokeAuthorityRequest(), timeout=10),
            lambda: stub.RevokeCertificates(
                citadel_pb2.RevokeCertificatesRequest(serials=["1"]), timeout=10
            ),
        ]
        for call in calls:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call()
            assert caught.value.code() is Status.FAILED_PRECONDITION
            assert "the CA is plugged in: replace its files" in (caught.value.details() or "")
        desk.authority = None
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.GetAuthorities(citadel_pb2.GetAuthoritiesRequest(), timeout=10)
        assert caught.value.code() is Status.UNAVAILABLE
