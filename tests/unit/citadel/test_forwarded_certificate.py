"""Whose word is believed about certificates, and users of sockets (citadel-and-agent.md A5, D5)."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from datetime import timedelta

import pytest

from mast.citadel.api.authenticators import (
    Authenticator,
    ClientCertificate,
    ForwardedCertificate,
    JoinToken,
    SocketUser,
    authenticated,
    users,
)
from mast.citadel.core.authn import Credentials, Way
from mast.citadel.core.identity import own_name
from mast.citadel.core.refusals import Unauthenticated
from mast.common.identity.spiffe import SpiffeId
from tests.unit.citadel.examples import DOMAIN
from tests.unit.citadel.fakes import Clock, FakeTokens

ME = f"spiffe://{DOMAIN}/ns/shop/sa/reviews"
GATEWAYS = [ipaddress.ip_network("10.1.0.0/16"), ipaddress.ip_network("fd00::/64")]


def forwarded(header: str, address: str = "10.1.2.3", way: Way = Way.TLS) -> Credentials:
    metadata = [("x-forwarded-client-cert", header)] if header else []
    return Credentials((), metadata, way=way, address=address)


def by_gateway(networks: Sequence[object] = GATEWAYS) -> ForwardedCertificate:
    return ForwardedCertificate(DOMAIN, networks, ("old.example",))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("address", "way"),
    [
        pytest.param("10.1.2.3", Way.TLS, id="in-a-network"),
        pytest.param("fd00::7", Way.TLS, id="in-a-network-6"),
        pytest.param("::ffff:10.1.2.3", Way.PLAINTEXT, id="mapped"),
        pytest.param("127.0.0.1", Way.TLS, id="loopback"),
        pytest.param("::1", Way.PLAINTEXT, id="loopback-6"),
        pytest.param("", Way.FRONT, id="own-front"),
        pytest.param("192.0.2.1", Way.FRONT, id="own-front-for-anybody"),
    ],
)
async def test_believed(address: str, way: Way) -> None:
    caller = await by_gateway().authenticate(forwarded(f"URI={ME}", address, way))
    assert (caller.authenticator, caller.identities) == ("XFCC", (ME,))


@pytest.mark.parametrize(
    ("address", "networks"),
    [
        pytest.param("10.2.0.1", GATEWAYS, id="another-network"),
        pytest.param("", GATEWAYS, id="no-address"),
        pytest.param("127.0.0.1", [], id="loopback-without-gateways"),
        pytest.param("10.1.2.3", [], id="no-gateways"),
    ],
)
async def test_forged_from_elsewhere_is_not_read(address: str, networks: Sequence[object]) -> None:
    for header in (f"URI={ME}", "garbage"):
        with pytest.raises(Unauthenticated) as caught:
            await by_gateway(networks).authenticate(forwarded(header, address))
        assert caught.value.reason == "XFCC: not from a trusted gateway"


async def test_all_names_of_all_elements_are_identities() -> None:
    header = f'URI={ME};DNS=A.example,Subject="CN=web.example";URI=spiffe://old.example/ns/a/sa/b'
    caller = await by_gateway().authenticate(forwarded(header))
    assert caller.identities == (
        ME,
        "a.example",
        f"spiffe://{DOMAIN}/ns/a/sa/b",
        "web.example",
    )


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        pytest.param("", "XFCC: none", id="none"),
        pytest.param("garbage", "without '='", id="garbage"),
        pytest.param('Subject=""', "no identity", id="nobody"),
        pytest.param('Subject="CN=My Gateway"', "no identity", id="name-that-is-no-san"),
        pytest.param(
            f"URI={ME},URI=spiffe://partner.example/ns/a/sa/b", "trust domain", id="one-is-foreign"
        ),
        pytest.param(f"URI=spiffe://{DOMAIN}/node", "want spiffe://", id="form"),
    ],
)
async def test_refused(header: str, reason: str) -> None:
    with pytest.raises(Unauthenticated) as caught:
        await by_gateway().authenticate(forwarded(header))
    assert reason in caught.value.reason


async def test_a_forged_header_beside_a_good_token_changes_nothing() -> None:
    tokens = FakeTokens()
    vm = SpiffeId(DOMAIN, "vms", "db")
    tokens.give("t", vm, timedelta(minutes=1))
    metadata = [("x-forwarded-client-cert", f"URI={ME}"), ("authorization", "Bearer t")]
    order: list[Authenticator] = [
        ClientCertificate(DOMAIN),
        by_gateway(),
        JoinToken(DOMAIN, tokens.find, Clock()),
    ]
    stranger = Credentials((), metadata, address="192.0.2.1")
    assert (await authenticated(order, stranger)).identities == (str(vm),)
    gateway = Credentials((), metadata, address="10.1.0.1")
    assert (await authenticated(order, gateway)).identities == (ME,)
    certified = Credentials((str(vm),), metadata, address="10.1.0.1")
    assert (await authenticated(order, certified)).authenticator == "client certificate"


async def test_a_client_certificate_is_all_its_names() -> None:
    names = (ME, "reviews.example", "10.0.0.9")
    caller = await ClientCertificate(DOMAIN).authenticate(Credentials(names))
    assert caller.identities == names


@pytest.mark.parametrize(
    ("name", "own"),
    [
        (ME, ME),
        ("spiffe://old.example/ns/shop/sa/reviews", ME),
        ("Reviews.Example", "reviews.example"),
        ("*.example.com", "*.example.com"),
        ("10.0.0.1", "10.0.0.1"),
        ("FD00::0001", "fd00::1"),
        ("My Gateway", ""),
        ("", ""),
        ("a" * 254, ""),
        ("https://a.example", ""),
    ],
)
def test_names_as_sans(name: str, own: str) -> None:
    assert own_name(name, DOMAIN, ("old.example",)) == own


async def test_socket_users() -> None:
    by_user = SocketUser(users(["1000:shop/reviews", "0:istio-system/root"], DOMAIN))
    caller = await by_user.authenticate(Credentials(way=Way.SOCKET, uid=1000))
    assert caller.identities == (ME,)
    for credentials, reason in (
        (Credentials(way=Way.SOCKET, uid=7), "user 7 has no identity"),
        (Credentials(), "not on a Unix socket"),
    ):
        with pytest.raises(Unauthenticated) as caught:
            await by_user.authenticate(credentials)
        assert reason in caught.value.reason


@pytest.mark.parametrize("entry", ["1000", "x:a/b", "1000:a", "-1:a/b", ":a/b"])
def test_socket_users_that_cannot_be(entry: str) -> None:
    with pytest.raises(ValueError, match="want UID:NAMESPACE/ACCOUNT"):
        users([entry], DOMAIN)
    with pytest.raises(ValueError, match="a UID once"):
        users(["1:a/b", "1:c/d"], DOMAIN)


async def test_nobody_is_recognised_where_nobody_looks() -> None:
    with pytest.raises(Unauthenticated) as caught:
        await authenticated([], Credentials((ME,)))
    assert caught.value.reason == "nobody is recognised here"
