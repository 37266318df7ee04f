"""One SDS stream, request by request (B3.2; xDS protocol, "ACK/NACK")."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest, DiscoveryResponse
from google.rpc.status_pb2 import Status
from hypothesis import given
from hypothesis import strategies as st

from mast.agent.core import secrets
from mast.agent.core.sds_session import Received, SdsSession


def ask(*names: str, **more: Any) -> DiscoveryRequest:
    return DiscoveryRequest(type_url=secrets.TYPE_URL, resource_names=names, **more)


def ack(response: DiscoveryResponse, *names: str, error: str = "") -> DiscoveryRequest:
    detail = Status(code=13, message=error) if error else None
    return ask(
        *names,
        version_info=response.version_info,
        response_nonce=response.nonce,
        error_detail=detail,
    )


def known(**contents: str) -> dict[str, Secret]:
    return {name: secrets.validation(name, text.encode()) for name, text in contents.items()}


def subscribed(*names: str) -> SdsSession:
    session = SdsSession()
    assert session.receive(ask(*names)) is Received.SUBSCRIBED
    return session


def test_first_response_then_silence() -> None:
    session = subscribed("ROOTCA")
    response = session.respond(known(ROOTCA="one"))
    assert response is not None
    assert response.type_url == secrets.TYPE_URL
    assert [each.type_url for each in response.resources] == [secrets.TYPE_URL]
    assert session.respond(known(ROOTCA="one")) is None
    assert session.receive(ack(response, "ROOTCA")) is Received.ACKNOWLEDGED
    assert session.acknowledged == response.version_info
    assert session.respond(known(ROOTCA="one")) is None


def test_changes_are_pushed_with_fresh_nonces() -> None:
    session = subscribed("ROOTCA")
    versions, nonces = [], []
    for content in ("one", "two", "one"):
        response = session.respond(known(ROOTCA=content))
        assert response is not None
        versions.append(response.version_info)
        nonces.append(response.nonce)
        session.receive(ack(response, "ROOTCA"))
    assert versions[0] == versions[2] != versions[1]
    assert len(set(nonces)) == 3


def test_nothing_until_every_name_is_known() -> None:
    session = subscribed("default", "ROOTCA")
    assert session.respond(known(ROOTCA="one")) is None
    response = session.respond(known(ROOTCA="one", default="x", other="y"))
    assert response is not None
    assert len(response.resources) == 2


def test_rejection_is_kept_and_not_repeated() -> None:
    session = subscribed("ROOTCA")
    response = session.respond(known(ROOTCA="bad"))
    assert response is not None
    assert session.receive(ack(response, "ROOTCA", error="no")) is Received.REJECTED
    assert session.rejection == "no"
    assert session.acknowledged == ""
    assert session.respond(known(ROOTCA="bad")) is None, "never the same bytes again"
    better = session.respond(known(ROOTCA="good"))
    assert better is not None
    session.receive(ack(better, "ROOTCA"))
    assert session.rejection == ""


def test_stale_nonces_are_ignored() -> None:
    session = subscribed("ROOTCA")
    first = session.respond(known(ROOTCA="one"))
    second = session.respond(known(ROOTCA="two"))
    assert first is not None
    assert second is not None
    assert session.receive(ack(first, "default")) is Received.STALE
    assert session.names == {"ROOTCA"}


def test_a_name_that_joins_is_answered() -> None:
    session = subscribed("ROOTCA")
    response = session.respond(known(ROOTCA="one", default="x"))
    assert response is not None
    assert session.receive(ack(response, "ROOTCA", "default")) is Received.SUBSCRIBED
    both = session.respond(known(ROOTCA="one", default="x"))
    assert both is not None
    assert len(both.resources) == 2


def test_a_name_that_leaves_and_returns_is_answered_again() -> None:
    session = subscribed("ROOTCA")
    response = session.respond(known(ROOTCA="one"))
    assert response is not None
    session.receive(ack(response))
    assert session.respond(known(ROOTCA="one")) is None
    session.receive(ack(response, "ROOTCA"))
    assert session.respond(known(ROOTCA="one")) is not None


def test_settled() -> None:
    """The next secret waits until this one was answered, by ACK or NACK."""
    session = subscribed("ROOTCA")
    secret = known(ROOTCA="one")["ROOTCA"]
    assert session.settled(known(default="x")["default"]), "not subscribed here"
    assert not session.settled(secret)
    response = session.respond({"ROOTCA": secret})
    assert response is not None
    assert not session.settled(secret), "sent, but not answered"
    session.receive(ack(response, "ROOTCA", error="no"))
    assert session.settled(secret)
    assert not session.settled(known(ROOTCA="two")["ROOTCA"])


def test_node_stands_in_the_first_request_only() -> None:
    session = SdsSession()
    first = ask("ROOTCA")
    first.node.id = "sidecar~1~a.b~c"
    session.receive(first)
    session.receive(ask("ROOTCA"))
    assert session.node_id == "sidecar~1~a.b~c"


@pytest.mark.parametrize(
    "request_",
    [DiscoveryRequest(type_url="x", resource_names=["default"]), ask("kubernetes://x")],
    ids=["foreign-type", "foreign-name"],
)
def test_foreign_requests(request_: DiscoveryRequest) -> None:
    with pytest.raises(secrets.UnknownSecret):
        SdsSession().receive(request_)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["ack", "nack", "late"]))))
def test_converges_whatever_the_client_does(steps: list[tuple[str, str]]) -> None:
    """However ACKs, NACKs and delays mix: the last response has the newest content."""
    session = subscribed("ROOTCA")
    shown = ""
    for content, reaction in [*steps, ("z", "ack")]:
        response = session.respond(known(ROOTCA=content))
        if response is None:
            assert content == shown
            continue
        secret = Secret()
        response.resources[0].Unpack(secret)
        shown = secret.validation_context.trusted_ca.inline_bytes.decode()
        assert shown == content
        if reaction != "late":
            session.receive(ack(response, "ROOTCA", error="no" if reaction == "nack" else ""))
    assert shown == "z"
