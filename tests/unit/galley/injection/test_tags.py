"""Tags of revisions as webhook configurations (C1 of galley-and-kubernetes.md)."""

from __future__ import annotations

from typing import Any

import pytest

from mast.galley.core.injection.tags import (
    DEACTIVATED,
    Tag,
    TagRefused,
    configuration,
    configuration_name,
    deactivation,
    injector_of,
    reactivation,
    tags,
)
from mast.galley.core.injection.webhooks import SUFFIX, webhooks


def installed(revision: str, name: str = "", **labels: str) -> dict[str, Any]:
    """The configuration of a revision."""
    return {
        "metadata": {
            "name": name or f"injector-{revision}",
            "labels": {"istio.io/rev": revision, **labels},
        },
        "webhooks": [
            {
                "name": each.name,
                "clientConfig": {"url": f"https://{revision}", "caBundle": "b25l"},
                "rules": [],
                "failurePolicy": "Fail",
                "namespaceSelector": each.namespaces,
            }
            for each in webhooks(revision)
        ],
    }


def namespace(name: str, **labels: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": labels}}


def test_a_tag_is_what_its_revision_is() -> None:
    made = configuration("prod", "one", [installed("one"), installed("two")], namespace="mesh")
    assert made["metadata"] == {
        "name": "istio-revision-tag-prod-mesh",
        "labels": {"app": "sidecar-injector", "istio.io/rev": "one", "istio.io/tag": "prod"},
    }
    first, second = made["webhooks"]
    assert (first["name"], second["name"]) == (f"rev.namespace.{SUFFIX}", f"rev.object.{SUFFIX}")
    assert first["clientConfig"] == {"url": "https://one", "caBundle": "b25l"}
    assert "timeoutSeconds" not in first
    wanted = first["namespaceSelector"]["matchExpressions"][0]
    assert wanted == {"key": "istio.io/rev", "operator": "In", "values": ["prod"]}


@pytest.mark.parametrize(
    ("tag", "by_default", "count"),
    [("prod", False, 2), ("prod", True, 2), ("default", False, 4), ("default", True, 5)],
)
def test_how_many_webhooks(tag: str, by_default: bool, count: int) -> None:
    there = [installed("default"), installed("one")]
    made = configuration(tag, "one", there, by_default=by_default)
    assert len(made["webhooks"]) == count


@pytest.mark.parametrize(
    ("tag", "revision", "there", "words"),
    [
        pytest.param("prod", "one", [], "there is none", id="not-installed"),
        pytest.param(
            "prod",
            "one",
            [installed("one", "a"), installed("one", "b")],
            "2 have it: a, b",
            id="two",
        ),
        pytest.param(
            "prod",
            "one",
            [installed("one", **{"istio.io/tag": "x"})],
            "there is none",
            id="a-tag-is-no-revision",
        ),
        pytest.param(
            "two", "one", [installed("one"), installed("two")], "has this name", id="of-another"
        ),
        pytest.param("one", "one", [installed("one")], "the revision itself", id="its-own-name"),
    ],
)
def test_tags_that_cannot_be(tag: str, revision: str, there: list[Any], words: str) -> None:
    with pytest.raises(TagRefused, match=words):
        configuration(tag, revision, there)


def test_a_name_of_ones_own() -> None:
    made = configuration("prod", "one", [installed("one")], name="mine")
    assert made["metadata"]["name"] == "mine"
    assert configuration_name("prod") == "istio-revision-tag-prod"


def test_what_the_default_tag_takes_over() -> None:
    there = [installed("default")]
    found = deactivation(there)
    assert found is not None
    name, change = found
    assert name == "injector-default"
    assert [each["name"] for each in change["webhooks"]] == [
        f"namespace.{SUFFIX}",
        f"object.{SUFFIX}",
    ]
    for each in there[0]["webhooks"]:
        each["namespaceSelector"] = {"matchLabels": DEACTIVATED}
    assert deactivation(there) is None
    assert deactivation([installed("one")]) is None


def test_what_is_given_back_with_the_default_tag() -> None:
    there = [installed("default")]
    assert reactivation(there) is None
    assert reactivation([]) is None
    for each in there[0]["webhooks"][2:]:
        each["namespaceSelector"] = {"matchLabels": DEACTIVATED}
    found = reactivation(there)
    assert found is not None
    _, change = found
    own = {each.name: each for each in webhooks("default")}
    assert [each["name"] for each in change["webhooks"]] == [
        f"namespace.{SUFFIX}",
        f"object.{SUFFIX}",
    ]
    for each in change["webhooks"]:
        wanted = own[each["name"]]
        assert each["namespaceSelector"] == {**wanted.namespaces, "matchLabels": None}
        assert each["objectSelector"] == {**wanted.pods, "matchLabels": None}


def test_who_uses_a_tag() -> None:
    there = [
        installed("two", "b", **{"istio.io/tag": "prod"}),
        installed("one", "a", **{"istio.io/tag": "default"}),
        installed("one"),
        {"metadata": {"name": "no labels"}},
    ]
    namespaces = [
        namespace("z", **{"istio.io/rev": "prod"}),
        namespace("a", **{"istio.io/rev": "prod"}),
        namespace("old", **{"istio-injection": "enabled"}),
        namespace("off", **{"istio-injection": "disabled", "istio.io/rev": "prod"}),
        namespace("named", **{"istio.io/rev": "default"}),
        {"metadata": {"name": "bare"}},
    ]
    assert tags(there, namespaces) == [
        Tag("default", "one", ("named", "old")),
        Tag("prod", "two", ("a", "z")),
    ]


def test_what_does_not_inject_is_no_injector() -> None:
    other = {"metadata": {"name": "x", "labels": {"istio.io/rev": "one"}}, "webhooks": [{}]}
    assert injector_of("one", [other, installed("one")])["metadata"]["name"] == "injector-one"
