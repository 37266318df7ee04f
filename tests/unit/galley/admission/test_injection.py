"""Verdicts on pods that are about to be created (galley-and-kubernetes.md C)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from mast.galley.core.admission.injection import for_caller, verdict
from mast.galley.core.admission.review import Review, Verdict
from mast.galley.core.injection.settings import Settings
from tests.fakes.kubernetes.patches import json_patched

POD: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"generateName": "web-"},
    "spec": {"containers": [{"name": "web", "image": "web:1"}]},
}
UNSEEN = Verdict(True, judged=False)


def asked(content: Any = POD, **changes: Any) -> Review:
    fields = {"operation": "CREATE", "resource": "pods", "namespace": "shop", **changes}
    return Review("admission.k8s.io/v1", "7", content=content, **fields)


def judged(review: Review, settings: Settings | None = None, **kubelets: str) -> Verdict:
    return verdict(review, settings or Settings(), kubelets)


def made(content: Any, found: Verdict) -> Any:
    assert found.allowed, found.message
    return json_patched(content, [dict(step) for step in found.patch])


def names(pod: Any, group: str) -> list[str]:
    return [each["name"] for each in pod["spec"].get(group, ())]


def test_a_pod_gets_its_proxy_and_no_second_one() -> None:
    pod = made(POD, judged(asked()))
    assert names(pod, "containers") == ["web", "istio-proxy"]
    assert names(pod, "initContainers") == ["istio-init"]
    again = judged(asked(pod))
    assert made(pod, again) == pod


@pytest.mark.parametrize(
    "review",
    [
        pytest.param(asked(operation="UPDATE"), id="update"),
        pytest.param(asked(resource="services"), id="another-resource"),
        pytest.param(asked(group="x.io"), id="another-group"),
        pytest.param(asked(subresource="eviction"), id="subresource"),
        pytest.param(asked({**POD, "spec": {**POD["spec"], "hostNetwork": True}}), id="host"),
        pytest.param(asked(namespace="kube-system"), id="namespace"),
    ],
)
def test_what_stays_as_it_is(review: Review) -> None:
    assert judged(review) == UNSEEN


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(None, "injection refused: the request has no object", id="none"),
        pytest.param({"spec": {}}, "injection refused: spec.containers: want at least", id="shape"),
        pytest.param({"spec": [1]}, "injection refused: spec: want an object", id="spec"),
        pytest.param(
            {**POD, "metadata": {"annotations": {"sidecar.istio.io/proxyCPU": "lots"}}},
            "injection refused: annotation sidecar.istio.io/proxyCPU",
            id="annotation",
        ),
    ],
)
def test_wishes_that_cannot_be_fulfilled(content: Any, message: str) -> None:
    found = judged(asked(content))
    assert (found.allowed, found.reason) == (False, "invalid")
    assert found.message.startswith(message)


def test_where_the_caller_is() -> None:
    told = for_caller(Settings(), "east", "net-1")
    pod = made(POD, judged(asked(), told))
    proxy = pod["spec"]["containers"][1]
    env = {each["name"]: each.get("value") for each in proxy["env"]}
    assert (env["ISTIO_META_CLUSTER_ID"], env["ISTIO_META_NETWORK"]) == ("east", "net-1")
    assert for_caller(told, "", "") is told


@pytest.mark.parametrize(
    ("spec", "kubelets", "native"),
    [
        pytest.param({"nodeName": "new"}, {"new": "v1.33.1"}, True, id="new-node"),
        pytest.param({"nodeName": "old"}, {"new": "v1.33.1"}, False, id="unknown-node"),
        pytest.param({"nodeName": 1}, {"new": "v1.33.1"}, False, id="no-name"),
    ],
)
def test_the_pods_node_decides_about_native_sidecars(
    spec: Any, kubelets: dict[str, str], native: bool
) -> None:
    content = {**POD, "spec": {**POD["spec"], **spec}}
    pod = made(content, judged(asked(content), **kubelets))
    assert ("istio-proxy" in names(pod, "initContainers")) is native


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=8), below),
    max_leaves=8,
)
FIELDS = ("containers", "initContainers", "volumes", "hostNetwork", "securityContext", "nodeName")
PODS = st.fixed_dictionaries(
    {
        "metadata": JSON | st.dictionaries(st.sampled_from(["labels", "annotations"]), JSON),
        "spec": JSON
        | st.dictionaries(st.sampled_from(FIELDS), JSON).map(
            lambda spec: {"containers": [{"name": "web"}], **spec}
        ),
    }
)


@hypothesis_settings(max_examples=60)
@given(PODS | JSON)
def test_any_pod_gets_a_verdict(content: Any) -> None:
    found = judged(asked(content))
    assert found.allowed is not bool(found.message)
