"""Credentials and the identity a certificate is for (citadel-and-agent.md A3, A4, A5)."""

from __future__ import annotations

import pytest

from mast.citadel.core.authn import Caller, Credentials, subject
from mast.citadel.core.refusals import ImpersonationRefused, Unauthenticated
from mast.common.spiffe import SpiffeId

DOMAIN = "cluster.local"
ME = SpiffeId(DOMAIN, "shop", "reviews")
OTHER = SpiffeId(DOMAIN, "shop", "ratings")
WORKLOAD = Caller("join token", (ME, OTHER))
NOBODY = Caller("client certificate")
ADMINISTRATOR = Caller("admin socket", administrator=True)


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
    ("caller", "impersonated", "expected"),
    [
        pytest.param(WORKLOAD, "", ME, id="own-first-identity"),
        pytest.param(ADMINISTRATOR, str(OTHER), OTHER, id="administrator-names-one"),
    ],
)
def test_subject(caller: Caller, impersonated: str, expected: SpiffeId) -> None:
    assert subject(caller, impersonated, DOMAIN) == expected


@pytest.mark.parametrize(
    ("caller", "impersonated", "error", "told", "logged"),
    [
        pytest.param(
            NOBODY, "", Unauthenticated, "request authenticate failure", "no identity", id="nobody"
        ),
        pytest.param(
            ADMINISTRATOR,
            "",
            Unauthenticated,
            "request authenticate failure",
            "admin socket: no identity",
            id="administrator-without-a-name",
        ),
        pytest.param(
            WORKLOAD,
            str(OTHER),
            ImpersonationRefused,
            "request impersonation authentication failure",
            "join token: not allowed",
            id="workload",
        ),
        pytest.param(
            WORKLOAD,
            str(ME),
            ImpersonationRefused,
            "request impersonation authentication failure",
            "not allowed",
            id="workload-naming-itself",
        ),
        pytest.param(
            ADMINISTRATOR,
            "reviews",
            ImpersonationRefused,
            "request impersonation authentication failure",
            "want spiffe://",
            id="no-identity",
        ),
        pytest.param(
            ADMINISTRATOR,
            "spiffe://partner.example/ns/a/sa/b",
            ImpersonationRefused,
            "request impersonation authentication failure",
            "trust domain is not cluster.local",
            id="foreign",
        ),
    ],
)
def test_subject_refuses(
    caller: Caller, impersonated: str, error: type[Exception], told: str, logged: str
) -> None:
    with pytest.raises((Unauthenticated, ImpersonationRefused)) as caught:
        subject(caller, impersonated, DOMAIN)
    assert type(caught.value) is error
    assert str(caught.value) == told
    assert logged in caught.value.reason
