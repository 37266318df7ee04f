"""Secrets of service accounts as in 1.4: for whom, and when anew (citadel-and-agent.md A10)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from mast.galley.core.workload_secrets import (
    SecretPolicy,
    account_of,
    is_managed,
    new_secret,
    why_anew,
)
from tests.support.pki import Ca, wall_clock

POLICY = SecretPolicy("istio-system")
ROOT = Ca.root()
HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("labels", "changes", "managed"),
    [
        pytest.param({}, {}, True, id="by-default"),
        pytest.param({}, {"by_default": False}, False, id="not-by-default"),
        pytest.param({"ca.istio.io/override": "false"}, {}, False, id="override-off"),
        pytest.param(
            {"ca.istio.io/override": "true"}, {"by_default": False}, True, id="override-on"
        ),
        pytest.param(
            {"ca.istio.io/override": "true", "ca.istio.io/env": "other"},
            {},
            True,
            id="override-wins",
        ),
        pytest.param({"ca.istio.io/override": "maybe"}, {}, True, id="override-of-no-meaning"),
        pytest.param({"ca.istio.io/env": "istio-system"}, {"by_default": False}, True, id="ours"),
        pytest.param({"ca.istio.io/env": "other"}, {}, False, id="of-another-mesh"),
        pytest.param({}, {"only": frozenset({"shop"})}, True, id="listed"),
        pytest.param({}, {"only": frozenset({"other"})}, False, id="not-listed"),
    ],
)
def test_managed(labels: dict[str, str], changes: dict[str, Any], managed: bool) -> None:
    namespace = {"metadata": {"name": "shop", "labels": labels}}
    assert is_managed(namespace, replace(POLICY, **changes)) is managed


def test_a_namespace_that_ends_gets_nothing() -> None:
    metadata = {
        "name": "shop",
        "deletionTimestamp": "now",
        "labels": {"ca.istio.io/override": "true"},
    }
    assert not is_managed({"metadata": metadata}, POLICY)


def secret(life: timedelta = 10 * HOUR, age: timedelta = HOUR) -> dict[str, Any]:
    pair = ROOT.leaf(uris=["spiffe://x/ns/a/sa/b"], valid=(-age, life - age))
    return new_secret("shop", "reviews", chain=pair.chain, key=pair.key, roots=ROOT.pem)


def test_a_secret_as_it_is_mounted() -> None:
    made = secret()
    assert made["type"] == "istio.io/key-and-cert"
    assert made["metadata"] == {
        "name": "istio.reviews",
        "namespace": "shop",
        "annotations": {"istio.io/service-account.name": "reviews"},
    }
    assert set(made["data"]) == {"cert-chain.pem", "key.pem", "root-cert.pem"}
    assert account_of(made) == "reviews"


@pytest.mark.parametrize(
    "changes",
    [
        {"type": "Opaque"},
        {"metadata": {"name": "istio.reviews"}},
        {"metadata": {"name": "x", "annotations": {"istio.io/service-account.name": "reviews"}}},
    ],
)
def test_secrets_that_are_not_ours(changes: dict[str, Any]) -> None:
    assert account_of({**secret(), **changes}) == ""


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        pytest.param(secret(), "", id="good"),
        pytest.param(None, "missing", id="missing"),
        pytest.param(secret(age=6 * HOUR), "expiry", id="past-half-of-its-life"),
        pytest.param(
            secret(life=HOUR / 4, age=HOUR / 8 * 0.8), "expiry", id="less-than-ten-minutes"
        ),
        pytest.param(secret(age=20 * HOUR), "expiry", id="ended"),
        pytest.param({**secret(), "data": {}}, "damaged", id="no-data"),
        pytest.param({**secret(), "data": None}, "damaged", id="null"),
        pytest.param(
            {**secret(), "data": {**secret()["data"], "cert-chain.pem": "%"}},
            "damaged",
            id="base64",
        ),
        pytest.param(
            {**secret(), "data": {**secret()["data"], "cert-chain.pem": "AAAA"}},
            "damaged",
            id="no-certificate",
        ),
    ],
)
def test_when_anew(found: dict[str, Any] | None, reason: str) -> None:
    assert why_anew(found, ROOT.pem, POLICY, wall_clock()) == reason


def test_other_roots() -> None:
    assert why_anew(secret(), ROOT.pem + Ca.root("new").pem, POLICY, wall_clock()) == "roots"
