"""Issuing step by step: order, audit, limits, join tokens (citadel-and-agent.md A4, A11, A12)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from structlog.testing import capture_logs

from mast.citadel.api.authenticators import (
    AdminSocket,
    Authenticator,
    ClientCertificate,
    JoinToken,
)
from mast.citadel.api.issuance import Limits, Request
from mast.citadel.core.authn import Credentials
from mast.citadel.core.limits import PeerLimits
from mast.citadel.core.refusals import (
    BadCsr,
    CaNotReady,
    CredentialsUnverifiable,
    ImpersonationRefused,
    RateLimited,
    Refusal,
    SigningFailed,
    TtlTooLong,
    Unauthenticated,
)
from mast.common.identity.spiffe import SpiffeId
from tests.unit.citadel.examples import DAY, DOMAIN, HOUR, ME, NOW, authority, csr_pem
from tests.unit.citadel.fakes import Desk

VM = SpiffeId(DOMAIN, "vms", "db")


def asked(
    *, identity: str = ME, bearer: str = "", impersonated: str = "", **changes: Any
) -> Request:
    metadata = (("authorization", f"Bearer {bearer}"),) if bearer else ()
    settings: dict[str, Any] = {
        "peer": "10.0.0.7",
        "credentials": Credentials((identity,) if identity else (), metadata, impersonated),
        "csr_pem": csr_pem(),
        "ttl": HOUR,
    }
    return Request(**(settings | changes))


def authenticators(desk: Desk) -> list[Authenticator]:
    return [ClientCertificate(DOMAIN), JoinToken(DOMAIN, desk.tokens.find, desk.clock)]


async def issue(desk: Desk, request: Request, **changes: Any) -> x509.Certificate:
    issued = await desk.issuance(**changes).issue(request, authenticators(desk))
    return x509.load_pem_x509_certificate(issued.leaf_pem.encode())


def names(certificate: x509.Certificate) -> list[str]:
    san = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [str(name.value) for name in san]


async def test_issued_for_the_caller() -> None:
    desk = Desk()
    with capture_logs() as logs:
        leaf = await issue(desk, asked(csr_pem=csr_pem(uris=("spiffe://cluster.local/ns/x/sa/y",))))
    assert names(leaf) == [ME]
    assert leaf.not_valid_after_utc == NOW + HOUR
    assert logs == [
        {
            "event": "certificate.issued",
            "log_level": "info",
            "peer": "10.0.0.7",
            "authenticator": "client certificate",
            "identity": ME,
            "serial": "1",
            "not_after": (NOW + HOUR).isoformat(),
            "ttl_seconds": 3720,
        }
    ]
    assert desk.counted("citadel_server_csr_count") == 1
    assert desk.counted("citadel_server_success_cert_issuance_count") == 1


async def test_serials_differ() -> None:
    desk = Desk()
    issuance = desk.issuance()
    issued = [await issuance.issue(asked(), authenticators(desk)) for _ in range(3)]
    serials = {x509.load_pem_x509_certificate(i.leaf_pem.encode()).serial_number for i in issued}
    assert len(serials) == 3


async def test_dns_names_of_the_account_are_added() -> None:
    leaf = await issue(Desk(), asked(), dns_names={("shop", "reviews"): ("reviews.example",)})
    assert names(leaf) == [ME, "reviews.example"]


async def test_dual_use() -> None:
    desk = Desk()
    leaf = await issue(desk, asked(csr_pem=csr_pem(subject="anything")))
    assert [a.value for a in leaf.subject] == [ME]


async def test_dual_use_with_a_long_identity_is_logged() -> None:
    long = f"spiffe://{DOMAIN}/ns/{'n' * 40}/sa/reviews"
    with capture_logs() as logs:
        leaf = await issue(Desk(), asked(identity=long, csr_pem=csr_pem(subject="anything")))
    assert list(leaf.subject) == []
    assert names(leaf) == [long]
    assert logs[0]["event"] == "common_name.left_out"


def broken(desk: Desk, *steps: str) -> tuple[Request, dict[str, Any]]:
    """A request at which the named steps, and only they, fail."""
    request: dict[str, Any] = {}
    settings: dict[str, Any] = {}
    if "rate" in steps:
        settings["limits"] = Limits(signing=PeerLimits(rate=0, burst=0))
    if "authenticate" in steps:
        request["identity"] = ""
    if "impersonation" in steps:
        request["impersonated"] = str(VM)
    if "ready" in steps:
        desk.authority = None
    if "csr" in steps:
        request["csr_pem"] = b"nothing"
    if "ttl" in steps:
        request["ttl"] = 2161 * HOUR
    if "sign" in steps:
        settings["dns_names"] = {("shop", "reviews"): ("ü.example",)}
    return asked(**request), settings


ORDER: list[tuple[str, type[Refusal]]] = [
    ("rate", RateLimited),
    ("authenticate", Unauthenticated),
    ("impersonation", ImpersonationRefused),
    ("ready", CaNotReady),
    ("csr", BadCsr),
    ("ttl", TtlTooLong),
]


@pytest.mark.parametrize("first", range(len(ORDER)), ids=[step for step, _ in ORDER])
async def test_order_of_steps(first: int) -> None:
    """Of all steps that fail the first in A4's order is told."""
    desk = Desk()
    request, settings = broken(desk, *(step for step, _ in ORDER[first:]))
    with pytest.raises(Refusal) as caught:
        await issue(desk, request, **settings)
    assert type(caught.value) is ORDER[first][1]


@pytest.mark.parametrize(
    ("step", "kind", "counters"),
    [
        ("authenticate", "Unauthenticated", {"authentication_failure_count"}),
        ("impersonation", "ImpersonationRefused", {"authentication_failure_count"}),
        ("ready", "CaNotReady", {"csr_sign_err_count"}),
        ("csr", "BadCsr", {"csr_parsing_err_count", "csr_sign_err_count"}),
        ("ttl", "TtlTooLong", {"csr_sign_err_count"}),
        ("sign", "SigningFailed", {"csr_sign_err_count"}),
        ("rate", "RateLimited", set()),
    ],
)
async def test_refusals_are_counted_and_logged(step: str, kind: str, counters: set[str]) -> None:
    desk = Desk()
    request, settings = broken(desk, step)
    with capture_logs() as logs, pytest.raises(Refusal):
        await issue(desk, request, **settings)
    (line,) = logs
    assert (line["event"], line["kind"], line["peer"]) == ("certificate.refused", kind, "10.0.0.7")
    assert line["reason"]
    expected = {f"citadel_server_{name}" for name in counters}
    every = {
        f"citadel_server_{name}"
        for name in (
            "authentication_failure_count",
            "csr_parsing_err_count",
            "csr_sign_err_count",
            "success_cert_issuance_count",
        )
    }
    assert {name for name in every if desk.counted(name)} == expected


async def test_errors_are_labelled() -> None:
    desk = Desk()
    for step in ("ttl", "csr", "sign"):
        request, settings = broken(desk, step)
        with pytest.raises(Refusal):
            await issue(desk, request, **settings)
    text = desk.metrics.render()
    for label in ("TTL_ERROR", "CSR_ERROR", "CERT_GEN_ERROR"):
        assert f'citadel_server_csr_sign_err_count{{error="{label}"}} 1' in text


async def test_signing_failure_is_not_explained_to_the_caller() -> None:
    desk = Desk()
    request, settings = broken(desk, "sign")
    with pytest.raises(SigningFailed) as caught:
        await issue(desk, request, **settings)
    assert str(caught.value) == "CSR signing error (signing failed)"
    assert caught.value.reason not in str(caught.value)


async def test_expired_ca_signs_nothing() -> None:
    desk = Desk(authority=authority(ttl=DAY))
    desk.clock.time = NOW + DAY
    with pytest.raises(CaNotReady):
        await issue(desk, asked())


async def test_missing_san_matters_only_where_it_must() -> None:
    desk = Desk()
    bare = csr_pem(uris=())
    await issue(desk, asked(csr_pem=bare))
    with pytest.raises(BadCsr, match="no subject alternative name"):
        await issue(desk, asked(csr_pem=bare, needs_san=True))
    assert desk.counted("citadel_server_id_extraction_err_count") == 1


async def test_join_token_serves_once() -> None:
    desk = Desk()
    desk.tokens.give("secret-token", VM, HOUR)
    request = asked(identity="", bearer="secret-token")
    with capture_logs() as logs:
        assert names(await issue(desk, request)) == [str(VM)]
        with pytest.raises(Unauthenticated):
            await issue(desk, request)
    assert [log["event"] for log in logs] == ["certificate.issued", "certificate.refused"]
    assert "secret-token" not in str(logs)


@pytest.mark.parametrize("step", ["csr", "ttl", "ready"])
async def test_join_token_survives_a_request_that_fails(step: str) -> None:
    desk = Desk()
    desk.tokens.give("t", VM, HOUR)
    request, settings = broken(desk, step)
    bad = asked(identity="", bearer="t", csr_pem=request.csr_pem, ttl=request.ttl)
    with pytest.raises(Refusal):
        await issue(desk, bad, **settings)
    desk.authority = authority()
    assert names(await issue(desk, asked(identity="", bearer="t"))) == [str(VM)]


async def test_join_token_that_somebody_else_used_meanwhile() -> None:
    desk = Desk()
    desk.tokens.give("t", VM, HOUR)

    async def lost(_: object) -> bool:
        return False

    with pytest.raises(Unauthenticated) as caught:
        await issue(desk, asked(identity="", bearer="t"), use=lost)
    assert "used meanwhile" in caught.value.reason
    assert desk.counted("citadel_server_success_cert_issuance_count") == 0


async def test_join_token_that_cannot_be_used_up_gives_no_certificate() -> None:
    desk = Desk()
    desk.tokens.give("t", VM, HOUR)
    use: Callable[..., Any] = desk.tokens.use

    async def down(token: Any) -> bool:
        desk.tokens.down = True
        result: bool = await use(token)
        return result

    with pytest.raises(CredentialsUnverifiable):
        await issue(desk, asked(identity="", bearer="t"), use=down)


async def test_own_certificate_is_preferred_and_leaves_the_token_unused() -> None:
    desk = Desk()
    desk.tokens.give("t", VM, HOUR)
    assert names(await issue(desk, asked(bearer="t"))) == [ME]
    assert desk.tokens.used == []


async def test_administrator_names_the_identity() -> None:
    desk = Desk()
    request = asked(identity="", impersonated=str(VM))
    issued = await desk.issuance().issue(request, [AdminSocket()])
    assert names(x509.load_pem_x509_certificate(issued.leaf_pem.encode())) == [str(VM)]


async def test_peers_are_limited_apart_and_by_the_clock() -> None:
    desk = Desk()
    issuance = desk.issuance(limits=Limits(signing=PeerLimits(rate=1, burst=2)))

    async def allowed(peer: str) -> bool:
        try:
            await issuance.issue(asked(peer=peer), authenticators(desk))
        except RateLimited:
            return False
        return True

    assert [await allowed("a") for _ in range(3)] == [True, True, False]
    assert await allowed("b")
    desk.clock.time += timedelta(seconds=1)
    assert [await allowed("a") for _ in range(2)] == [True, False]
