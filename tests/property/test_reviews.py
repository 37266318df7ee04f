"""Reviews that are nearly right: whatever an API server or somebody else sends is answered.

`python -m tests.fuzz --of reviews` draws more of them; MAST_PARSER_CASES says how many of each.
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterator
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mast.galley.core.admission import injection, validation
from mast.galley.core.admission.review import BadReview, Review, answer, review
from mast.galley.core.cluster import cell
from mast.galley.core.injection.settings import Settings
from mast.galley.core.objects import Defaults
from mast.galley.core.problem import errors

CASES = int(os.environ.get("MAST_PARSER_CASES", "60"))
many = settings(max_examples=CASES, deadline=None, suppress_health_check=list(HealthCheck))

NETWORKING = "networking.istio.io/v1"
META = {"name": "reviews", "namespace": "shop"}
VIRTUAL_SERVICE = {
    "apiVersion": NETWORKING,
    "kind": "VirtualService",
    "metadata": META | {"labels": {"a": "b"}, "annotations": {"c": "d"}},
    "spec": {
        "hosts": ["reviews"],
        "http": [
            {
                "match": [{"uri": {"prefix": "/a"}, "headers": {"x": {"exact": "y"}}}],
                "route": [{"destination": {"host": "a", "port": {"number": 80}}, "weight": 1}],
                "timeout": "5s",
                "retries": {"attempts": 2, "retryOn": "5xx"},
                "fault": {"delay": {"percentage": {"value": 0.5}, "fixedDelay": "1s"}},
            }
        ],
    },
}
DESTINATION_RULE = {
    "apiVersion": NETWORKING,
    "kind": "DestinationRule",
    "metadata": META,
    "spec": {
        "host": "reviews",
        "trafficPolicy": {"outlierDetection": {"consecutive5xxErrors": 3, "interval": "1s"}},
        "subsets": [{"name": "v1", "labels": {"version": "v1"}}],
    },
}
POLICY = {
    "apiVersion": "security.istio.io/v1",
    "kind": "AuthorizationPolicy",
    "metadata": META,
    "spec": {
        "selector": {"matchLabels": {"app": "a"}},
        "rules": [
            {
                "from": [{"source": {"principals": ["a/ns/b/sa/c"]}}],
                "to": [{"operation": {"paths": ["/a*"], "ports": ["80"]}}],
                "when": [{"key": "request.headers[x]", "values": ["y"]}],
            }
        ],
    },
}
POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {
        "generateName": "web-",
        "labels": {"app": "web"},
        "annotations": {"sidecar.istio.io/proxyCPU": "10m"},
        "ownerReferences": [{"kind": "ReplicaSet", "name": "web-7", "controller": True}],
    },
    "spec": {
        "containers": [
            {
                "name": "web",
                "image": "web:1",
                "ports": [{"name": "http", "containerPort": 8080}],
                "env": [{"name": "A", "value": "b"}],
                "readinessProbe": {"httpGet": {"path": "/", "port": "http"}},
                "volumeMounts": [{"name": "v", "mountPath": "/v"}],
            }
        ],
        "volumes": [{"name": "v", "emptyDir": {}}],
    },
}
OBJECTS = {
    "virtualservices": VIRTUAL_SERVICE,
    "destinationrules": DESTINATION_RULE,
    "authorizationpolicies": POLICY,
    "pods": POD,
}
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec=None), max_size=5)
    | st.sampled_from(("*", "reviews", "1s", "-1s", "istio-proxy", "a.b", "/", "true")),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)
DEFAULTS, SETTINGS = Defaults(), Settings()


def places(content: Any) -> Iterator[tuple[Any, Any]]:
    """Everything within an object: what holds it, and under which key."""
    pairs = content.items() if isinstance(content, dict) else enumerate(content)
    for key, value in list(pairs):
        yield content, key
        if isinstance(value, dict | list):
            yield from places(value)


@st.composite
def reviews(draw: st.DrawFn) -> bytes:
    """A review with one to three values that are others, gone, doubled or new."""
    resource = draw(st.sampled_from(sorted(OBJECTS)))
    content = copy.deepcopy(OBJECTS[resource])
    request = {
        "uid": "7",
        "operation": draw(st.sampled_from(("CREATE", "CREATE", "UPDATE", "DELETE"))),
        "namespace": "shop",
        "name": "reviews",
        "resource": {
            "group": "" if resource == "pods" else content["apiVersion"].partition("/")[0],
            "version": "v1",
            "resource": resource,
        },
        "object": content,
        "oldObject": draw(st.none() | st.just(copy.deepcopy(content))),
    }
    body = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}
    for _ in range(draw(st.integers(0, 3))):
        within = draw(st.sampled_from((content, content, content, body)))
        if not (known := list(places(within))):
            break
        parent, key = draw(st.sampled_from(known))
        how = draw(st.sampled_from(("other", "gone", "doubled", "new")))
        if how == "gone":
            del parent[key]
        elif how == "doubled" and isinstance(parent, list):
            parent.append(copy.deepcopy(parent[key]))
        elif how == "new" and isinstance(parent, dict):
            parent[draw(st.text(max_size=5))] = draw(JSON)
        else:
            parent[key] = draw(JSON)
    return json.dumps(body).encode()


def asked(body: bytes) -> Review | None:
    """The review in a body, None if there is none."""
    try:
        return review(body)
    except BadReview:
        return None


@many
@given(st.binary(max_size=200) | JSON.map(lambda each: json.dumps(each).encode()))
def test_any_body_is_a_review_or_none(body: bytes) -> None:
    assert asked(body) is None or b"AdmissionReview" in body


@many
@given(reviews())
def test_every_review_is_answered(body: bytes) -> None:
    if (found := asked(body)) is None:
        return
    for verdict in (
        validation.verdict(found, DEFAULTS),
        injection.verdict(found, SETTINGS, {}),
    ):
        response = json.loads(json.dumps(answer(found, verdict)))["response"]
        assert response["uid"] == found.uid
        assert response["allowed"] is verdict.allowed
        assert verdict.allowed or response["status"]["message"]


@many
@given(reviews())
def test_what_is_let_through_is_taken_from_the_cluster(body: bytes) -> None:
    """A webhook and the source of the same cluster are of one mind about an object."""
    found = asked(body)
    if found is None or found.resource == "pods" or found.operation != "CREATE":
        return
    verdict = validation.verdict(found, DEFAULTS)
    metadata = found.content.get("metadata") if isinstance(found.content, dict) else None
    if not verdict.judged or not isinstance(metadata, dict) or not verdict.allowed:
        return
    stored = {**found.content, "metadata": {**metadata, "namespace": "shop", "name": "reviews"}}
    taken = cell(stored, DEFAULTS)
    assert taken is None or not errors(taken.problems)
