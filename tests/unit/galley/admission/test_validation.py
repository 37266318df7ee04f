"""Verdicts on objects that are about to be stored in Kubernetes (galley-and-kubernetes.md A3)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mast.common.kinds import KINDS
from mast.galley.core.admission.review import Review, Verdict
from mast.galley.core.admission.validation import kind_of, verdict
from mast.galley.core.objects import Defaults

METADATA = {"name": "a", "namespace": "shop", "uid": "1", "managedFields": [], "generation": 1}
ROUTE = {"route": [{"destination": {"host": "b.com"}}]}


def virtual_service(
    spec: Any = None, *, version: str = "v1", meta: Any = None, **more: Any
) -> dict[str, Any]:
    return {
        "apiVersion": f"networking.istio.io/{version}",
        "kind": "VirtualService",
        "metadata": {**METADATA, **(meta or {})},
        "spec": {"hosts": ["a.com"], "http": [ROUTE]} if spec is None else spec,
        **more,
    }


def judged(content: Any, operation: str = "CREATE", **fields: Any) -> Verdict:
    asked = Review(
        "admission.k8s.io/v1", "7", operation, namespace="shop", content=content, **fields
    )
    return verdict(asked, Defaults())


BAD = virtual_service({"hosts": ["a.com"]})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(virtual_service(), "", id="good"),
        pytest.param(virtual_service(version="v9"), "", id="version-is-ignored"),
        pytest.param(virtual_service(status={"observedGeneration": 1}), "", id="status"),
        pytest.param(virtual_service(meta={"generateName": "a-"}), "", id="generated-name"),
        pytest.param(
            virtual_service({"hosts": ["a.com"], "http": [{**ROUTE, "retrys": {}}]}),
            "configuration is invalid: VirtualService shop/a: spec.http[0].retrys: unknown field "
            "'retrys'",
            id="unknown-field-by-its-path",
        ),
        pytest.param(
            virtual_service(sepc={}),
            "configuration is invalid: VirtualService shop/a: sepc: unknown field 'sepc'; "
            "allowed: apiVersion, kind, metadata, spec, status [unknown-field]",
            id="unknown-top-level-field",
        ),
        pytest.param(
            {"apiVersion": "networking.istio.io/v1", "kind": "Gatway", "metadata": METADATA},
            "unrecognized type 'Gatway' of 'networking.istio.io/v1'",
            id="unknown-kind",
        ),
        pytest.param(
            {"apiVersion": "v1", "kind": "Secret", "metadata": METADATA, "data": {}},
            "unrecognized type 'Secret' of 'v1'",
            id="nothing-of-the-core-group",
        ),
        pytest.param({"kind": "Gateway"}, "unrecognized type 'Gateway' of None", id="no-version"),
        pytest.param(None, "cannot decode configuration: the request has no object", id="none"),
        pytest.param([], "cannot decode configuration: the request has no object", id="a-list"),
        pytest.param(
            virtual_service({"hosts": ["\ud800"]}),
            "cannot decode configuration: a text has half of a surrogate pair",
            id="half-of-a-pair",
        ),
        pytest.param(
            virtual_service({"hosts": [0] * 400_001}),
            "cannot decode configuration: more than 400000 values",
            id="huge",
        ),
        pytest.param(
            virtual_service(meta={"annotations": {"internal.istio.io/webhook-always-reject": "t"}}),
            "configuration is invalid: VirtualService shop/a: "
            'metadata.annotations["internal.istio.io/webhook-always-reject"]: ',
            id="what-proves-that-we-judge",
        ),
    ],
)
def test_verdicts(content: Any, message: str) -> None:
    found = judged(content)
    assert found.allowed is not bool(message)
    assert found.message.startswith(message)
    assert found.judged


def test_deep_objects_are_not_followed() -> None:
    deep: Any = {}
    for _ in range(500):
        deep = {"a": deep}
    expected = "cannot decode configuration: nested deeper than 64 levels"
    assert judged(virtual_service(deep)).message == expected


def test_all_findings_at_once_and_warnings_beside_them() -> None:
    spec = {"hosts": [f"bad_{n}" for n in range(30)], "http": [{**ROUTE, "fault": {"abort": {}}}]}
    found = judged(virtual_service(spec))
    assert found.message.count("VirtualService shop/a: spec.") == 20
    assert found.message.endswith(" more")
    assert found.reason == "host"
    assert [text.partition(": ")[0] for text in found.warnings] == ["VirtualService shop/a"]


def test_a_warning_forbids_nothing() -> None:
    content = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "EnvoyFilter",
        "metadata": METADATA,
        "spec": {
            "configPatches": [
                {
                    "applyTo": "CLUSTER",
                    "patch": {"operation": "MERGE", "value": {"lb_policy": "RANDOM"}},
                }
            ]
        },
    }
    found = judged(content)
    assert found.allowed
    assert found.warnings
    assert all(text.startswith("EnvoyFilter shop/a: ") for text in found.warnings)


@pytest.mark.parametrize(
    ("operation", "fields"),
    [
        pytest.param("DELETE", {}, id="deletion"),
        pytest.param("CONNECT", {}, id="connect"),
        pytest.param("UPDATE", {"subresource": "status"}, id="status"),
    ],
)
def test_what_is_not_judged(operation: str, fields: Any) -> None:
    assert judged(BAD, operation, **fields) == Verdict(True, judged=False)


def test_finalizers_of_an_object_that_was_never_good_can_go() -> None:
    ending = {**BAD, "metadata": {**METADATA, "deletionTimestamp": "2026-01-01T00:00:00Z"}}
    assert judged(ending, "UPDATE", before=BAD).allowed
    assert not judged({**ending, "spec": {}}, "UPDATE", before=BAD).allowed
    assert not judged(BAD, "UPDATE", before=BAD).allowed
    assert not judged(ending, "UPDATE").allowed


def test_a_namespace_comes_from_the_request() -> None:
    """Cluster-scoped kinds have none."""
    bare = virtual_service({"hosts": []})
    bare["metadata"] = {"name": "a"}
    assert "VirtualService shop/a: " in judged(bare).message
    policy = {
        "apiVersion": "authentication.istio.io/v1alpha1",
        "kind": "MeshPolicy",
        "metadata": {"name": "default"},
        "spec": {"peers": [{"mtls": {}}]},
    }
    assert verdict(Review("v1", "7", "CREATE", content=policy), Defaults()).allowed


@pytest.mark.parametrize("content", [None, {}, {"apiVersion": 1, "kind": "Gateway"}])
def test_no_kind(content: Any) -> None:
    assert kind_of(content) is None


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
JSON = st.recursive(
    SCALARS,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=8), below),
    max_leaves=12,
)
OBJECTS = st.builds(
    lambda kind, metadata, spec: {
        "apiVersion": kind.api_version,
        "kind": kind.name,
        "metadata": metadata,
        "spec": spec,
    },
    st.sampled_from([kind for kind in KINDS if kind.group]),
    st.fixed_dictionaries({"name": st.just("a"), "labels": JSON, "annotations": JSON}) | JSON,
    JSON,
)


@settings(max_examples=60)
@given(OBJECTS | JSON)
def test_anything_gets_a_verdict(content: Any) -> None:
    found = judged(content)
    assert found.allowed is not bool(found.message)
