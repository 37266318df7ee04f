"""Why a pod gets a proxy, or none (C1 of galley-and-kubernetes.md)."""

from __future__ import annotations

from typing import Any

import pytest

from mast.galley.core.injection.inspection import Inspected, inspected
from mast.galley.core.injection.settings import Settings
from mast.galley.core.injection.tags import DEACTIVATED
from mast.galley.core.injection.webhooks import SUFFIX, webhooks


def installed(revision: str, by_default: bool = False) -> dict[str, Any]:
    return {
        "metadata": {"name": f"injector-{revision}", "labels": {"istio.io/rev": revision}},
        "webhooks": [
            {"name": each.name, "namespaceSelector": each.namespaces, "objectSelector": each.pods}
            for each in webhooks(revision, by_default=by_default)
        ],
    }


def one(
    configuration: dict[str, Any], namespace: dict[str, str], labels: dict[str, str], **more: Any
) -> Inspected:
    pod = {"metadata": {"labels": labels, **more}}
    (found,) = inspected([configuration], "shop", namespace, pod, {})
    return found


@pytest.mark.parametrize(
    ("namespace", "labels", "injects", "reason"),
    [
        pytest.param(
            {"istio.io/rev": "one"}, {}, True, "namespace label istio.io/rev=one matches", id="rev"
        ),
        pytest.param(
            {}, {"istio.io/rev": "one"}, True, "pod label istio.io/rev=one matches", id="pod"
        ),
        pytest.param(
            {},
            {},
            False,
            "no matching namespace labels (istio.io/rev=one) or pod labels (istio.io/rev=one)",
            id="nothing",
        ),
        pytest.param(
            {"istio-injection": "enabled"},
            {"sidecar.istio.io/inject": "false"},
            False,
            "no matching namespace labels (istio.io/rev=one) or pod labels (istio.io/rev=one);"
            " there is namespace label istio-injection=enabled, pod label"
            " sidecar.istio.io/inject=false",
            id="other-labels",
        ),
    ],
)
def test_a_revision(
    namespace: dict[str, str], labels: dict[str, str], injects: bool, reason: str
) -> None:
    assert one(installed("one"), namespace, labels) == Inspected(
        "injector-one", "one", injects, reason
    )


def test_namespaces_that_say_nothing() -> None:
    found = one(installed("default", by_default=True), {}, {})
    assert (found.injects, found.reason) == (True, "the absence of labels matches")


def test_the_injector_has_the_last_word() -> None:
    pod = {"metadata": {}, "spec": {"hostNetwork": True}}
    (found,) = inspected([installed("one")], "shop", {"istio.io/rev": "one"}, pod, {})
    assert (found.injects, "hostNetwork" in found.reason) == (False, True)
    off = {"one": Settings(enabled=False)}
    (found,) = inspected([installed("one")], "shop", {"istio.io/rev": "one"}, {}, off)
    assert (found.injects, found.reason) == (False, "the policy is disabled")


def test_webhooks_that_are_switched_off_or_not_understood() -> None:
    never = {"matchLabels": DEACTIVATED}
    entry = {"name": f"a.{SUFFIX}", "namespaceSelector": never, "objectSelector": never}
    configuration = {"metadata": {"name": "x"}, "webhooks": [entry]}
    assert one(configuration, {}, {}) == Inspected(
        "x", "default", False, "the webhook is switched off"
    )
    odd = {"matchExpressions": [{"key": "a", "operator": "Near"}]}
    entry = {"name": f"a.{SUFFIX}", "namespaceSelector": odd}
    assert not one({"metadata": {"name": "x"}, "webhooks": [entry]}, {}, {}).injects


def test_what_does_not_inject_is_not_told() -> None:
    other = {"metadata": {"name": "x"}, "webhooks": [{"name": "a.example.com"}]}
    assert inspected([other], "shop", {}, {}, {}) == []
