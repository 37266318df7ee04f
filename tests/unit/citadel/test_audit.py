"""No decision without a line in the log, and no reason outside of it (citadel-and-agent.md A12)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from structlog.testing import capture_logs

from mast.citadel.api.authenticators import AdminSocket, Authenticator, ClientCertificate
from mast.citadel.api.impersonating import Impersonation
from mast.citadel.api.issuance import Issuance, Limits, Request
from mast.citadel.api.signing import Order, Signed
from mast.citadel.core import refusals
from mast.citadel.core.authn import Caller, Credentials, OneUse
from mast.citadel.core.limits import PeerLimits
from mast.citadel.core.refusals import Refusal, SigningFailed
from tests.unit.citadel.examples import DOMAIN, HOUR, ME, csr_pem
from tests.unit.citadel.fakes import Desk

REASON = "the-reason-that-only-the-log-knows"
VM = f"spiffe://{DOMAIN}/ns/vms/sa/db"
REQUEST = Request("10.0.0.7", Credentials((ME,)), csr_pem(), HOUR)


def kinds(kind: type[Refusal] = Refusal) -> Iterator[type[Refusal]]:
    below = kind.__subclasses__()
    yield from [kind] if not below else [each for sub in below for each in kinds(sub)]


class Failing:
    """Raises what it is told, wherever it stands."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    async def authenticate(self, credentials: Credentials) -> Caller:
        raise self._error

    def check_ready(self) -> None:
        raise self._error

    async def sign(self, order: Order) -> Signed:
        raise self._error

    async def use(self, token: OneUse) -> bool:
        raise self._error


class OneToken:
    """Recognises everybody by a token that is used up."""

    async def authenticate(self, credentials: Credentials) -> Caller:
        return Caller("join token", (ME,), one_use=OneUse("k", 1))


@dataclass(frozen=True)
class Place:
    """Where something goes wrong: the issuance and the authenticators of that call."""

    issuance: Issuance
    authenticators: list[Authenticator]


def places(error: BaseException) -> dict[str, Place]:
    """Every step that others do, each failing with the error."""
    failing = Failing(error)
    by_certificate: list[Authenticator] = [ClientCertificate(DOMAIN)]
    return {
        "authenticator": Place(Desk().issuance(), [failing]),
        "ready": Place(Desk().issuance(signing=failing), by_certificate),
        "signing": Place(Desk().issuance(signing=_Unsigning(failing)), by_certificate),
        "token": Place(Desk().issuance(use=failing.use), [OneToken()]),
    }


class _Unsigning:
    def __init__(self, failing: Failing) -> None:
        self.sign = failing.sign

    def check_ready(self) -> None:
        pass


@pytest.mark.parametrize("kind", list(kinds()), ids=lambda kind: kind.__name__)
async def test_every_refusal_everywhere_has_one_line(kind: type[Refusal]) -> None:
    for name, place in places(kind(REASON)).items():
        with capture_logs() as logs, pytest.raises(Refusal) as caught:
            await place.issuance.issue(REQUEST, place.authenticators)
        (line,) = [log for log in logs if log["event"].startswith("certificate.")]
        assert line["event"] == "certificate.refused", name
        assert line["kind"] == type(caught.value).__name__
        assert REASON in line["reason"]
        assert line["peer"] == "10.0.0.7"
        assert line["ttl_seconds"] == 3600
        if name != "authenticator":
            assert line["authenticator"]
            assert line["identity"] == ME


@pytest.mark.parametrize(
    "error", [RuntimeError(REASON), KeyError(REASON), TypeError(REASON)], ids=repr
)
async def test_a_bug_has_its_line_too_and_tells_the_caller_nothing(error: Exception) -> None:
    for place in places(error).values():
        with capture_logs() as logs, pytest.raises(SigningFailed) as caught:
            await place.issuance.issue(REQUEST, place.authenticators)
        (line,) = [log for log in logs if log["event"].startswith("certificate.")]
        assert (line["event"], line["log_level"]) == ("certificate.refused", "error")
        assert REASON in line["reason"]
        assert REASON not in str(caught.value)


OPAQUE = {
    refusals.Unauthenticated,
    refusals.ImpersonationRefused,
    refusals.CredentialsUnverifiable,
    refusals.RateLimited,
    refusals.SigningFailed,
}


@pytest.mark.parametrize("kind", list(kinds()), ids=lambda kind: kind.__name__)
def test_reasons_do_not_reach_the_caller(kind: type[Refusal]) -> None:
    """What is wrong with a CSR, a lifetime or the CA is told, who is believed why is not."""
    assert (REASON in str(kind(REASON))) is (kind not in OPAQUE)


async def issue(request: Request, **changes: Any) -> tuple[list[Any], Desk]:
    desk = Desk()
    with capture_logs() as logs:
        await desk.issuance(**changes).issue(request, [ClientCertificate(DOMAIN), AdminSocket()])
    return logs, desk


async def test_an_issued_certificate_has_one_line_and_one_record() -> None:
    logs, desk = await issue(REQUEST)
    (line,) = logs
    assert line["event"] == "certificate.issued"
    facts = ("peer", "authenticator", "identity", "serial", "ttl_seconds")
    assert [line[fact] for fact in facts] == ["10.0.0.7", "client certificate", ME, "1", 3720]
    (record,) = desk.recorded
    assert (record.serial, list(record.names), record.peer) == ("1", [ME], "10.0.0.7")
    assert (record.authenticator, record.caller) == ("client certificate", "")
    assert record.issuer == f"O={DOMAIN}"


async def test_who_spoke_for_whom_is_told() -> None:
    request = Request("10.0.0.7", Credentials((ME,), impersonated=VM), csr_pem(), HOUR)
    registrar = Impersonation(DOMAIN, registrars=frozenset({ME}))
    (line,), desk = await issue(request, impersonation=registrar)
    assert (line["caller"], line["identity"]) == (ME, VM)
    assert (desk.recorded[0].caller, list(desk.recorded[0].names)) == (ME, [VM])


async def test_a_refused_impersonation_names_the_caller() -> None:
    request = Request("10.0.0.7", Credentials((ME,), impersonated=VM), csr_pem(), HOUR)
    with capture_logs() as logs, pytest.raises(Refusal):
        await Desk().issuance().issue(request, [ClientCertificate(DOMAIN)])
    assert logs[0]["caller"] == ME


NONE = PeerLimits(rate=0, burst=0)


@pytest.mark.parametrize(
    ("limits", "credentials", "reason"),
    [
        pytest.param(Limits(signing=NONE), Credentials((ME,)), "peer: more than 0", id="peer"),
        pytest.param(
            Limits(attestation=NONE),
            Credentials(metadata=[("authorization", "Bearer t")]),
            "attestation: more than 0",
            id="attestation",
        ),
        pytest.param(
            Limits(identity=NONE), Credentials((ME,)), "identity: more than 0", id="identity"
        ),
    ],
)
async def test_limits(limits: Limits, credentials: Credentials, reason: str) -> None:
    request = Request("10.0.0.7", credentials, csr_pem(), HOUR)
    with capture_logs() as logs, pytest.raises(refusals.RateLimited) as caught:
        await Desk().issuance(limits=limits).issue(request, [ClientCertificate(DOMAIN)])
    assert reason in logs[0]["reason"]
    assert str(caught.value) == "too many requests"


async def test_certificates_are_no_attestation() -> None:
    await issue(REQUEST, limits=Limits(attestation=NONE))


async def test_identities_are_limited_apart_whoever_calls() -> None:
    issuance = Desk().issuance(limits=Limits(identity=PeerLimits(rate=0, burst=1)))
    by_certificate = [ClientCertificate(DOMAIN)]
    await issuance.issue(REQUEST, by_certificate)
    await issuance.issue(Request("x", Credentials((VM,)), csr_pem(), HOUR), by_certificate)
    with pytest.raises(refusals.RateLimited):
        await issuance.issue(Request("y", Credentials((ME,)), csr_pem(), HOUR), by_certificate)
