"""Identities and names (citadel-and-agent.md A2, A3, A10)."""

from __future__ import annotations

import pytest

from mast.citadel.core.identity import (
    control_plane_names,
    own_identity,
    server_names,
    subject_names,
)
from mast.common.identity.spiffe import SpiffeId

OWN = SpiffeId("cluster.local", "shop", "reviews")


@pytest.mark.parametrize(
    "uri",
    [
        pytest.param("spiffe://cluster.local/ns/shop/sa/reviews", id="own"),
        pytest.param("spiffe://old.example/ns/shop/sa/reviews", id="alias-becomes-own"),
    ],
)
def test_own_identity(uri: str) -> None:
    assert own_identity(uri, "cluster.local", ["old.example"]) == OWN


@pytest.mark.parametrize(
    ("uri", "named"),
    [
        pytest.param("spiffe://partner.example/ns/a/sa/b", "neither cluster.local", id="foreign"),
        pytest.param("spiffe://cluster.local/workload", "want spiffe://TRUST-DOMAIN", id="form"),
    ],
)
def test_own_identity_refuses(uri: str, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        own_identity(uri, "cluster.local", ["old.example"])


def names_of(namespace: str, account: str, custom: tuple[str, ...] = ()) -> tuple[str, ...]:
    identity = SpiffeId("cluster.local", namespace, account)
    names = subject_names((str(identity),), control_plane_names("istio-system", custom))
    assert names[0] == str(identity)
    return names[1:]


@pytest.mark.parametrize(
    ("account", "services"),
    [
        ("istio-pilot-service-account", ["istiod", "istio-pilot"]),
        ("istio-mixer-service-account", ["istio-policy", "istio-telemetry"]),
        ("istio-galley-service-account", ["istio-galley"]),
        ("istio-citadel-service-account", ["istio-citadel"]),
    ],
)
def test_control_plane_accounts_answer_for_their_services(
    account: str, services: list[str]
) -> None:
    expected = [f"{s}.istio-system{form}" for s in services for form in (".svc", "")]
    assert names_of("istio-system", account) == (*expected, "localhost")
    assert names_of("default", account) == ()


def test_workloads_have_their_spiffe_id_only() -> None:
    assert names_of("shop", "reviews") == ()


def test_custom_names() -> None:
    custom = ("db.shop:db.example.com", "db.shop:*.db.example.com")
    assert names_of("shop", "db", custom) == ("db.example.com", "*.db.example.com")
    pilot = names_of("istio-system", "istio-pilot-service-account", (
        "istio-pilot-service-account.istio-system:xds.example.com",
    ))  # fmt: skip
    assert pilot[-1] == "xds.example.com"
    assert "istiod.istio-system.svc" in pilot


@pytest.mark.parametrize("entry", ["", "sa:dns", "sa.ns", ".ns:dns", "sa.:dns", "sa.ns:", "a.b:ü"])
def test_custom_names_are_checked(entry: str) -> None:
    with pytest.raises(ValueError, match="want SERVICE-ACCOUNT"):
        control_plane_names("istio-system", [entry])


def test_server_names() -> None:
    names = server_names("mesh", "canary", ["citadel.example.com", "localhost"])
    assert names == (
        "istiod.mesh.svc",
        "istiod-remote.mesh.svc",
        "istiod-canary.mesh.svc",
        "istio-pilot.mesh.svc",
        "istio-citadel.mesh.svc",
        "istio-galley.mesh.svc",
        "istio-policy.mesh.svc",
        "istio-telemetry.mesh.svc",
        "localhost",
        "istio-citadel",
        "istio-ca",
        "127.0.0.1",
        "::1",
        "citadel.example.com",
    )
    assert "istiod-.mesh.svc" not in server_names("mesh", "", [])


def test_names_of_several_identities() -> None:
    """As XFCC may bring them: DNS names stay, those of an account come once."""
    me = "spiffe://cluster.local/ns/istio-system/sa/istio-galley-service-account"
    dns = {("istio-system", "istio-galley-service-account"): ("istio-galley", "a.example")}
    assert subject_names((me, "a.example", "b.example"), dns) == (
        me,
        "a.example",
        "b.example",
        "istio-galley",
    )
