"""Whether a pod gets a proxy: rules in their order, and the webhooks it meets (C1)."""

from __future__ import annotations

from typing import Any

import pytest

from mast.galley.core.injection.decision import decision
from mast.galley.core.injection.refusal import InjectionRefused
from mast.galley.core.injection.settings import settings
from mast.galley.core.injection.webhooks import webhook_of
from tests.support.pods import pod

INJECT = "sidecar.istio.io/inject"
SELECTED = [{"matchLabels": {"team": "a"}}]


@pytest.mark.parametrize(
    ("given", "namespace", "injector", "inject", "reason"),
    [
        pytest.param(
            {"hostNetwork": True, "labels": {INJECT: "true"}}, "shop", {}, False, "hostNetwork",
            id="host-network-before-label",
        ),
        pytest.param(
            {"labels": {INJECT: "true"}}, "kube-system", {}, False, "kube-system",
            id="namespace-before-label",
        ),
        pytest.param(
            {"labels": {INJECT: "true"}}, "istio-system", {"policy": "disabled"}, True, "label",
            id="label-before-policy",
        ),
        pytest.param(
            {"labels": {INJECT: "false"}, "annotations": {INJECT: "true"}}, "shop", {}, False,
            "label", id="label-before-annotation",
        ),
        pytest.param(
            {"annotations": {INJECT: "false"}}, "shop", {}, False, "annotation", id="annotation",
        ),
        pytest.param(
            {"labels": {INJECT: "yes"}, "annotations": {INJECT: "false"}}, "shop", {}, True,
            "policy", id="other-values-of-a-label-say-nothing",
        ),
        pytest.param(
            {"annotations": {INJECT: "off"}}, "shop", {"policy": "disabled"}, False, "policy",
            id="other-values-of-an-annotation-say-nothing",
        ),
        pytest.param(
            {"labels": {INJECT: "true", "team": "a"}}, "shop",
            {"neverInjectSelector": SELECTED}, True, "label", id="label-before-never",
        ),
        pytest.param(
            {"labels": {"team": "a"}}, "shop",
            {"neverInjectSelector": SELECTED, "alwaysInjectSelector": SELECTED}, False,
            "neverInjectSelector", id="never-before-always",
        ),
        pytest.param(
            {"labels": {"team": "a"}}, "shop",
            {"alwaysInjectSelector": SELECTED, "policy": "disabled"}, True,
            "alwaysInjectSelector", id="always-before-policy",
        ),
        pytest.param(
            {"labels": {"team": "b"}}, "shop",
            {"alwaysInjectSelector": SELECTED, "policy": "disabled"}, False, "policy",
            id="other-labels",
        ),
        pytest.param({}, "shop", {}, True, "policy is enabled", id="policy"),
    ],
)  # fmt: skip
def test_first_rule_decides(
    given: dict[str, Any], namespace: str, injector: dict[str, Any], inject: bool, reason: str
) -> None:
    found = decision(pod(**given), namespace, settings(injector=injector))
    assert found.inject is inject
    assert reason in found.reason


@pytest.mark.parametrize(
    ("expression", "selected"),
    [
        pytest.param({"key": "a", "operator": "In", "values": ["1"]}, True, id="in"),
        pytest.param({"key": "b", "operator": "In", "values": ["1"]}, False, id="in-absent"),
        pytest.param({"key": "a", "operator": "NotIn", "values": ["1"]}, False, id="not-in"),
        pytest.param({"key": "b", "operator": "NotIn", "values": ["1"]}, True, id="not-in-absent"),
        pytest.param({"key": "a", "operator": "Exists"}, True, id="exists"),
        pytest.param({"key": "a", "operator": "DoesNotExist"}, False, id="does-not-exist"),
    ],
)
def test_selectors(expression: dict[str, Any], selected: bool) -> None:
    injector = {"neverInjectSelector": [{"matchExpressions": [expression]}]}
    found = decision(pod(labels={"a": "1"}), "shop", settings(injector=injector))
    assert found.inject is not selected


def test_an_operator_that_does_not_exist() -> None:
    selector = {"matchExpressions": [{"key": "a", "operator": "Like"}]}
    injector = {"alwaysInjectSelector": [selector]}
    with pytest.raises(InjectionRefused, match="'Like'; allowed: In, NotIn"):
        decision(pod(), "shop", settings(injector=injector))


ON = {"istio-injection": "enabled"}
OFF = {"istio-injection": "disabled"}
CANARY = {"istio.io/rev": "canary"}
DEFAULT = {"istio.io/rev": "default"}
YES, NO = {INJECT: "true"}, {INJECT: "false"}


@pytest.mark.parametrize(
    ("revision", "namespace", "labels", "webhook"),
    [
        pytest.param("canary", CANARY, {}, "rev.namespace", id="revision-of-namespace"),
        pytest.param("canary", CANARY, YES, "rev.namespace", id="revision-and-yes"),
        pytest.param("canary", CANARY, NO, "", id="revision-and-no"),
        pytest.param("canary", {**CANARY, **ON}, {}, "", id="istio-injection-wins"),
        pytest.param("canary", {}, CANARY, "rev.object", id="revision-of-pod"),
        pytest.param("canary", {}, {**CANARY, **NO}, "", id="revision-of-pod-and-no"),
        pytest.param("canary", DEFAULT, CANARY, "", id="namespace-of-other-revision"),
        pytest.param("canary", {}, YES, "", id="yes-is-for-the-default"),
        pytest.param("canary", ON, {}, "", id="enabled-is-for-the-default"),
        pytest.param("default", ON, {}, "namespace", id="enabled"),
        pytest.param("default", ON, NO, "", id="enabled-and-no"),
        pytest.param("default", ON, CANARY, "namespace", id="enabled-whatever-the-pod's-revision"),
        pytest.param("default", OFF, YES, "", id="disabled-namespace"),
        pytest.param("default", {}, YES, "object", id="yes"),
        pytest.param("default", {}, {**YES, **CANARY}, "", id="yes-of-other-revision"),
        pytest.param("default", {}, {**YES, **DEFAULT}, "rev.object", id="yes-of-default"),
        pytest.param("default", DEFAULT, {}, "rev.namespace", id="default-by-its-name"),
        pytest.param("default", {}, {}, "", id="nothing-said"),
    ],
)
def test_webhooks(
    revision: str, namespace: dict[str, str], labels: dict[str, str], webhook: str
) -> None:
    found = webhook_of(revision, namespace, labels)
    assert found == (f"{webhook}.sidecar-injector.istio.io" if webhook else "")


@pytest.mark.parametrize(
    ("namespace", "labels", "met"),
    [
        pytest.param({}, {}, True, id="nothing-said"),
        pytest.param(OFF, {}, False, id="disabled"),
        pytest.param({}, NO, False, id="no"),
        pytest.param({}, CANARY, False, id="other-revision"),
        pytest.param({"kubernetes.io/metadata.name": "kube-system"}, {}, False, id="ignored"),
    ],
)
def test_namespaces_by_default(
    namespace: dict[str, str], labels: dict[str, str], met: bool
) -> None:
    found = webhook_of("default", namespace, labels, by_default=True)
    assert found == ("auto.sidecar-injector.istio.io" if met else "")
    assert webhook_of("canary", namespace, {}, by_default=True) == ""
