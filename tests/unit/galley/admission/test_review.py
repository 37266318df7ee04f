"""AdmissionReviews in and out (galley-and-kubernetes.md A3.1)."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mast.galley.core.admission.review import BadReview, Review, Verdict, answer, fitting, review

REQUEST: dict[str, Any] = {
    "uid": "7",
    "operation": "CREATE",
    "resource": {"group": "networking.istio.io", "version": "v1", "resource": "gateways"},
    "subResource": "status",
    "namespace": "shop",
    "name": "a",
    "object": {"spec": {}},
    "oldObject": None,
    "dryRun": True,
}


def body(request: Any = REQUEST, **changes: Any) -> bytes:
    fields = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}
    return json.dumps({**fields, **changes}).encode()


@pytest.mark.parametrize("version", ["admission.k8s.io/v1", "admission.k8s.io/v1beta1"])
def test_a_request_is_answered_in_its_version(version: str) -> None:
    asked = review(body(apiVersion=version))
    assert asked == Review(
        api_version=version,
        uid="7",
        operation="CREATE",
        group="networking.istio.io",
        version="v1",
        resource="gateways",
        subresource="status",
        namespace="shop",
        name="a",
        content={"spec": {}},
        dry_run=True,
    )
    assert answer(asked, Verdict(True)) == {
        "apiVersion": version,
        "kind": "AdmissionReview",
        "response": {"uid": "7", "allowed": True},
    }


def test_denials_warnings_and_patches() -> None:
    asked = review(body())
    denied = answer(asked, Verdict(False, "no", "rule", ("careful",)))["response"]
    assert denied == {
        "uid": "7",
        "allowed": False,
        "status": {"message": "no"},
        "warnings": ["careful"],
    }
    step = {"op": "add", "path": "/a", "value": 1}
    patched = answer(asked, Verdict(True, patch=[step]))["response"]
    assert patched["patchType"] == "JSONPatch"
    assert json.loads(base64.b64decode(patched["patch"])) == [step]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        pytest.param(b"", "the body is no JSON", id="empty"),
        pytest.param(b"\xff\xfe", "the body is no JSON", id="not-utf-8"),
        pytest.param(b"[" * 200_000, "nested too deeply", id="deep"),
        pytest.param(b'{"a": ' + b"9" * 5000 + b"}", "the body is no JSON", id="huge-number"),
        pytest.param(b'{"a": NaN}', "NaN is no number", id="nan"),
        pytest.param(b"[]", "the body is no AdmissionReview", id="list"),
        pytest.param(body(kind="Pod"), "the body is no AdmissionReview", id="another-kind"),
        pytest.param(
            body(apiVersion="admission.k8s.io/v2"),
            "apiVersion 'admission.k8s.io/v2'; allowed: admission.k8s.io/v1, "
            "admission.k8s.io/v1beta1",
            id="another-version",
        ),
        pytest.param(body(apiVersion=["x" * 200]), "xxx…; allowed", id="version-is-cut"),
        pytest.param(body(None), "has no request", id="a-response"),
        pytest.param(body({**REQUEST, "uid": 7}), "request.uid is required", id="no-uid"),
    ],
)
def test_what_is_no_review(content: bytes, complaint: str) -> None:
    with pytest.raises(BadReview, match=complaint.replace(".", r"\.")):
        review(content)


def test_fields_of_a_wrong_type_count_as_absent() -> None:
    asked = review(body({"uid": "7", "resource": 1, "operation": [], "dryRun": "yes"}))
    assert asked == Review("admission.k8s.io/v1", "7")


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=8),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=8), below),
    max_leaves=8,
)


@settings(max_examples=60)
@given(st.dictionaries(st.sampled_from(sorted(REQUEST)), JSON, max_size=5) | st.binary(max_size=40))
def test_any_body_is_a_review_or_refused(content: Any) -> None:
    raw = content if isinstance(content, bytes) else body(content)
    try:
        asked = review(raw)
    except BadReview:
        return
    assert json.loads(json.dumps(answer(asked, Verdict(True))))["response"]["uid"] == asked.uid


@pytest.mark.parametrize(
    ("warnings", "shown"),
    [
        pytest.param(["a\nb\x00c"], ["a b c"], id="one-line"),
        pytest.param(["x" * 300], ["x" * 255 + "…"], id="cut"),
        pytest.param(["y" * 256] * 20, ["y" * 256] * 15 + ["and 5 more warnings"], id="many"),
    ],
)
def test_warnings_are_such_as_servers_pass_on(warnings: list[str], shown: list[str]) -> None:
    assert fitting(warnings) == shown
    assert sum(len(line.encode()) for line in fitting(warnings)) <= 4096
