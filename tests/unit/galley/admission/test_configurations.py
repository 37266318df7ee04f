"""Webhook configurations of ours and how they change (galley-and-kubernetes.md A3.3, A3.4)."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from mast.galley.core.admission.configurations import closing, probe, refused_by_us, trusting
from mast.galley.core.admission.review import Review
from mast.galley.core.admission.validation import verdict
from mast.galley.core.injection.webhooks import webhooks
from mast.galley.core.objects import Defaults
from tests.fakes.kubernetes.webhook_rules import completed
from tests.support.documented import documented_webhooks

ROOTS = "-----BEGIN CERTIFICATE-----\n"
BUNDLE = base64.b64encode(ROOTS.encode()).decode()


def configuration(*webhooks: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"name": "x", "resourceVersion": "5"}, "webhooks": list(webhooks)}


def webhook(name: str, policy: str = "Ignore", bundle: str = "") -> dict[str, Any]:
    return {"name": name, "failurePolicy": policy, "clientConfig": {"caBundle": bundle}}


@pytest.mark.parametrize(
    ("found", "names"),
    [
        pytest.param(configuration(webhook("rev.validation.istio.io")), ["rev"], id="validating"),
        pytest.param(
            configuration(
                webhook("rev.namespace.sidecar-injector.istio.io", bundle="b2xk"),
                webhook("object.sidecar-injector.istio.io", bundle=BUNDLE),
            ),
            ["rev"],
            id="only-what-differs",
        ),
        pytest.param(configuration({"name": "validation.istio.io"}), ["validation"], id="bare"),
        pytest.param(configuration(webhook("theirs.example.com")), None, id="foreign"),
        pytest.param(configuration(webhook("validation.istio.io", bundle=BUNDLE)), None, id="same"),
        pytest.param({"metadata": {"resourceVersion": "5"}}, None, id="empty"),
    ],
)
def test_trust(found: dict[str, Any], names: list[str] | None) -> None:
    change = trusting(found, ROOTS)
    if names is None:
        assert change is None
        return
    assert change is not None
    assert change["metadata"] == {"resourceVersion": "5"}
    assert [each["name"].partition(".")[0] for each in change["webhooks"]] == names
    assert {each["clientConfig"]["caBundle"] for each in change["webhooks"]} == {BUNDLE}


@pytest.mark.parametrize(
    ("found", "closes"),
    [
        pytest.param(configuration(webhook("rev.validation.istio.io")), True, id="open"),
        pytest.param(configuration({"name": "pilot.validation.istio.io"}), True, id="unset"),
        pytest.param(configuration(webhook("validation.istio.io", "Fail")), False, id="closed"),
        pytest.param(configuration(webhook("x.sidecar-injector.istio.io")), False, id="injector"),
    ],
)
def test_closing(found: dict[str, Any], closes: bool) -> None:
    change = closing(found)
    assert (change is not None) is closes
    if change is not None:
        (changed,) = change["webhooks"]
        assert changed == {"name": found["webhooks"][0]["name"], "failurePolicy": "Fail"}


def test_documented_configurations_are_those_of_the_specification() -> None:
    """A3.3, and the selectors of C1."""
    validator, default, injector = documented_webhooks()
    names = [[each["name"] for each in found["webhooks"]] for found in (validator, default)]
    assert names == [["rev.validation.istio.io"], ["validation.istio.io"]]
    assert [
        (each["name"], each["namespaceSelector"], each["objectSelector"])
        for each in injector["webhooks"]
    ] == [(each.name, each.namespaces, each.pods) for each in webhooks("default")]
    for found in (validator, default, injector):
        completed(found)
        assert found["metadata"]["labels"] == {"istio.io/rev": "default"}


def test_the_probe_is_refused_for_its_annotation_alone() -> None:
    content = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "Gateway",
        **probe("istio-system", "default"),
    }
    asked = Review("admission.k8s.io/v1", "7", "CREATE", content=content)
    found = verdict(asked, Defaults())
    denied = f'admission webhook "rev.validation.istio.io" denied the request: {found.message}'
    assert refused_by_us(denied)
    assert found.message.count("[") - found.message.count('["') == 1
    content["metadata"].pop("annotations")
    assert verdict(asked, Defaults()).allowed


@pytest.mark.parametrize(
    ("message", "ours"),
    [
        ('gateways is forbidden: User "galley" cannot create resource', False),
        ('admission webhook "policy.example.com" denied the request: no', False),
        ('admission webhook "rev.validation.istio.io" does not support dry run', True),
    ],
)
def test_who_refused(message: str, ours: bool) -> None:
    assert refused_by_us(message) is ours
