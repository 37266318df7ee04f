"""What each way in says of a caller (citadel-and-agent.md A5, A6)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import pytest

from mast.citadel.api.entrances import (
    asked_by,
    in_plaintext,
    on_socket,
    through_front,
    through_tls,
)
from mast.citadel.api.status import Context
from mast.citadel.core.authn import Credentials, Way
from mast.common.identity.tls_front import Peer, PeerTable

XFCC = ("x-forwarded-client-cert", "URI=spiffe://a/ns/b/sa/c")


@dataclass
class Call:
    """What a servicer sees of a call."""

    peer_: str
    metadata: tuple[tuple[str, Any], ...] = ()

    def peer(self) -> str:
        return self.peer_

    def invocation_metadata(self) -> tuple[tuple[str, Any], ...]:
        return self.metadata


def call(peer: str, *metadata: tuple[str, Any]) -> Context:
    return cast(Context, Call(peer, metadata))


def test_through_tls() -> None:
    table = PeerTable()
    with table.present("/run/1", Peer(("id",), "10.0.0.7", ("id", "a.example"))):
        found = through_tls(table)(call("unix:/run/1", XFCC), "other")
    assert found == Credentials(
        ("id", "a.example"), (XFCC,), "other", way=Way.TLS, address="10.0.0.7"
    )
    nobody = through_tls(table)(call("unix:"), "")
    assert (nobody.identities, nobody.address) == ((), "")


@pytest.mark.parametrize(
    ("headers", "address"),
    [
        pytest.param([], "", id="none"),
        pytest.param([("x-forwarded-for", "10.0.0.7")], "10.0.0.7", id="one"),
        pytest.param([("x-forwarded-for", "6.6.6.6, 10.0.0.7")], "10.0.0.7", id="last-counts"),
        pytest.param(
            [("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "10.0.0.7")],
            "10.0.0.7",
            id="two-headers",
        ),
        pytest.param([("x-forwarded-for", "unknown")], "", id="no-address"),
    ],
)
def test_through_the_envoy_beside_us(headers: list[tuple[str, str]], address: str) -> None:
    found = through_front()(call("unix:", *headers), "")
    assert (found.way, found.address, found.identities) == (Way.FRONT, address, ())


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:10.0.0.7:4711", "10.0.0.7"),
        ("ipv6:[fd00::7]:4711", "fd00::7"),
        ("ipv6:%5Bfd00::7%5D:4711", "fd00::7"),
        ("ipv6:[::ffff:10.0.0.7]:4711", "10.0.0.7"),
        ("unix:", ""),
    ],
)
def test_in_plaintext(peer: str, address: str) -> None:
    found = in_plaintext()(call(peer, XFCC), "")
    assert (found.way, found.address, found.identities) == (Way.PLAINTEXT, address, ())


def test_on_a_socket() -> None:
    table = PeerTable()
    with table.present("/run/1", Peer(uid=1000)):
        found = on_socket(table)(call("unix:/run/1"), "")
    assert (found.way, found.uid) == (Way.SOCKET, 1000)
    assert on_socket()(call("unix:/run/1"), "").uid is None


@pytest.mark.parametrize(
    ("credentials", "name"),
    [
        (Credentials(address="10.0.0.7", uid=1), "10.0.0.7"),
        (Credentials(uid=0), "unix:0"),
        (Credentials(), "unix"),
    ],
)
def test_asked_by(credentials: Credentials, name: str) -> None:
    assert asked_by(credentials) == name
