"""Authenticators and their order (citadel-and-agent.md A5)."""

from __future__ import annotations

from datetime import timedelta

import pytest

from mast.citadel.api.authenticators import (
    AdminSocket,
    Authenticator,
    ClientCertificate,
    JoinToken,
    authenticated,
)
from mast.citadel.core.authn import Caller, Credentials
from mast.citadel.core.refusals import CredentialsUnverifiable, Unauthenticated
from mast.common.identity.spiffe import SpiffeId
from tests.unit.citadel.examples import DOMAIN, NOW
from tests.unit.citadel.fakes import Clock, FakeTokens

ME = SpiffeId(DOMAIN, "shop", "reviews")
VM = SpiffeId(DOMAIN, "vms", "db")
MINUTE = timedelta(minutes=1)


def bearing(token: str, *identities: str) -> Credentials:
    return Credentials(identities, (("authorization", f"Bearer {token}"),))


@pytest.fixture
def tokens() -> FakeTokens:
    tokens = FakeTokens()
    tokens.give("good", VM, MINUTE)
    tokens.give("old", VM, MINUTE, NOW - MINUTE)
    tokens.give("foreign", SpiffeId("partner.example", "vms", "db"), MINUTE)
    tokens.give("alias", SpiffeId("old.example", "vms", "db"), MINUTE)
    return tokens


def by_certificate() -> ClientCertificate:
    return ClientCertificate(DOMAIN, ["old.example"])


def by_token(tokens: FakeTokens) -> JoinToken:
    return JoinToken(DOMAIN, tokens.find, Clock(), ["old.example"])


async def test_client_certificate() -> None:
    caller = await by_certificate().authenticate(Credentials((str(ME),)))
    assert caller == Caller("client certificate", (str(ME),))


async def test_client_certificate_of_an_alias_stands_for_our_identity() -> None:
    caller = await by_certificate().authenticate(
        Credentials(("spiffe://old.example/ns/shop/sa/reviews",))
    )
    assert caller.identities == (str(ME),)


@pytest.mark.parametrize(
    ("credentials", "reason"),
    [
        pytest.param(Credentials(), "client certificate: none", id="none"),
        pytest.param(
            Credentials(("spiffe://partner.example/ns/a/sa/b",)), "trust domain", id="foreign"
        ),
        pytest.param(Credentials((f"spiffe://{DOMAIN}/node",)), "want spiffe://", id="form"),
    ],
)
async def test_client_certificate_refuses(credentials: Credentials, reason: str) -> None:
    with pytest.raises(Unauthenticated) as caught:
        await by_certificate().authenticate(credentials)
    assert reason in caught.value.reason


@pytest.mark.parametrize("token", ["good", "alias"])
async def test_join_token(tokens: FakeTokens, token: str) -> None:
    caller = await by_token(tokens).authenticate(bearing(token))
    assert caller.identities == (str(VM),)
    assert caller.one_use is not None
    assert not caller.administrator
    assert tokens.used == []  # that is the issuance's to do, once there is a certificate
    assert await tokens.use(caller.one_use)


@pytest.mark.parametrize(
    ("credentials", "reason"),
    [
        pytest.param(Credentials(), "join token: none", id="none"),
        pytest.param(bearing(""), "join token: none", id="empty"),
        pytest.param(bearing("guess"), "join token: unknown or used", id="unknown"),
        pytest.param(bearing("a.b.c"), "does not look like one", id="jwt"),
        pytest.param(bearing("old"), f"join token: of {VM}, expired", id="expired"),
        pytest.param(bearing("foreign"), "trust domain is neither", id="foreign"),
    ],
)
async def test_join_token_refuses(
    tokens: FakeTokens, credentials: Credentials, reason: str
) -> None:
    with pytest.raises(Unauthenticated) as caught:
        await by_token(tokens).authenticate(credentials)
    assert reason in caught.value.reason


async def test_join_token_without_a_store_cannot_be_verified(tokens: FakeTokens) -> None:
    tokens.down = True
    with pytest.raises(CredentialsUnverifiable, match="at the moment") as caught:
        await by_token(tokens).authenticate(bearing("good"))
    assert "connection refused" in caught.value.reason


async def test_admin_socket_makes_an_administrator_without_identity() -> None:
    caller = await AdminSocket().authenticate(Credentials((str(ME),), impersonated=str(VM)))
    assert caller == Caller("admin socket", administrator=True)


async def test_admin_socket_recognises_nobody_who_names_no_identity() -> None:
    with pytest.raises(Unauthenticated) as caught:
        await AdminSocket().authenticate(Credentials((str(ME),)))
    assert caught.value.reason == "admin socket: no identity named"


@pytest.mark.parametrize(
    ("credentials", "authenticator"),
    [
        pytest.param(bearing("good", str(ME)), "client certificate", id="both"),
        pytest.param(bearing("guess", str(ME)), "client certificate", id="bad-second-one"),
        pytest.param(bearing("good"), "join token", id="second-only"),
        pytest.param(
            bearing("good", "spiffe://partner.example/ns/a/sa/b"), "join token", id="bad-first-one"
        ),
    ],
)
async def test_the_first_that_recognises_the_caller_wins(
    tokens: FakeTokens, credentials: Credentials, authenticator: str
) -> None:
    order: list[Authenticator] = [by_certificate(), by_token(tokens)]
    assert (await authenticated(order, credentials)).authenticator == authenticator


async def test_every_reason_is_kept_for_the_log(tokens: FakeTokens) -> None:
    with pytest.raises(Unauthenticated) as caught:
        await authenticated([by_certificate(), by_token(tokens)], bearing("guess"))
    assert caught.value.reason == "client certificate: none; join token: unknown or used"
    assert str(caught.value) == "request authenticate failure"


async def test_what_cannot_be_verified_is_not_refused_for_good(tokens: FakeTokens) -> None:
    tokens.down = True
    with pytest.raises(CredentialsUnverifiable):
        await authenticated([by_certificate(), by_token(tokens)], bearing("good"))
    caller = await authenticated([by_certificate(), by_token(tokens)], bearing("good", str(ME)))
    assert caller.identities == (str(ME),)
