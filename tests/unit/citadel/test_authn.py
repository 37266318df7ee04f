"""Credentials and the identity a certificate is for (citadel-and-agent.md A3, A4, A5)."""

from __future__ import annotations

import pytest

from mast.citadel.core.authn import Caller, Credentials, own_subject
from mast.citadel.core.refusals import Unauthenticated
from mast.common.identity.spiffe import SpiffeId

DOMAIN = "cluster.local"
ME = SpiffeId(DOMAIN, "shop", "reviews")


@pytest.mark.parametrize(
    ("metadata", "token"),
    [
        pytest.param([], None, id="none"),
        pytest.param([("authorization", "Bearer abc")], "abc", id="bearer"),
        pytest.param([("authorization", "Basic abc")], None, id="other-scheme"),
        pytest.param([("authorization", "bearer abc")], None, id="case"),
        pytest.param([("authorization", "Istio abc")], None, id="istio-prefix-is-http-only"),
        pytest.param([("authorization-bin", b"Bearer abc")], None, id="binary"),
        pytest.param([("authorization", b"Bearer abc")], None, id="bytes"),
        pytest.param(
            [("clusterid", "a"), ("authorization", "x"), ("authorization", "Bearer b")],
            "b",
            id="first-bearer",
        ),
        pytest.param([("authorization", "Bearer ")], "", id="empty"),
    ],
)
def test_bearer_token(metadata: list[tuple[str, str | bytes]], token: str | None) -> None:
    assert Credentials(metadata=metadata).bearer_token == token


@pytest.mark.parametrize(
    ("metadata", "cluster"),
    [
        pytest.param([], "", id="none"),
        pytest.param([("clusterid", "east")], "east", id="one"),
        pytest.param([("clusterid", "east"), ("clusterid", "west")], "", id="two-are-none"),
        pytest.param([("clusterid", b"east")], "", id="bytes"),
    ],
)
def test_cluster(metadata: list[tuple[str, str | bytes]], cluster: str) -> None:
    assert Credentials(metadata=metadata).cluster == cluster


def test_several_headers_of_a_proxy_are_one() -> None:
    headers = [("x-forwarded-client-cert", "URI=a"), ("x-forwarded-client-cert", "URI=b")]
    assert Credentials(metadata=headers).forwarded == "URI=a,URI=b"


TOKEN = ("authorization", "Bearer t")


@pytest.mark.parametrize(
    ("credentials", "attests"),
    [
        pytest.param(Credentials(metadata=[TOKEN]), True, id="token"),
        pytest.param(Credentials((str(ME),), [TOKEN]), False, id="certificate-too"),
        pytest.param(
            Credentials(metadata=[TOKEN, ("x-forwarded-client-cert", "URI=a")]),
            False,
            id="forwarded-too",
        ),
        pytest.param(Credentials(), False, id="nothing"),
    ],
)
def test_attestation_is_by_a_token_alone(credentials: Credentials, attests: bool) -> None:
    assert credentials.attests is attests


def test_own_subject() -> None:
    assert own_subject(Caller("XFCC", (str(ME), "a.example"))) == (str(ME), "a.example")
    with pytest.raises(Unauthenticated) as caught:
        own_subject(Caller("admin socket", administrator=True))
    assert caught.value.reason == "admin socket: no identity"
