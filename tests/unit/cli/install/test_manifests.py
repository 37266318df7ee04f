"""Objects of manifests: Helm's order, names, and how two differ as an API server has them."""

from __future__ import annotations

from typing import Any

import pytest

from mast.cli.install.comparing import compared
from mast.cli.install.manifests import Difference, differences, identity, ordered, parsed, quantity


def named(kind: str, name: str, **fields: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, **fields}


def test_the_order_is_helms() -> None:
    kinds = ("Gateway", "ValidatingWebhookConfiguration", "Job", "Deployment", "Service",
             "ClusterRole", "CustomResourceDefinition", "ConfigMap", "ServiceAccount",
             "NetworkPolicy", "Namespace")  # fmt: skip
    made = ordered(named(kind, name) for kind in kinds for name in ("b", "a"))
    assert [each["kind"] for each in made[::2]] == list(reversed(kinds))
    assert [each["metadata"]["name"] for each in made] == ["a", "b"] * len(kinds)


def test_names() -> None:
    within = {"apiVersion": "apps/v1", "kind": "Deployment"}
    found = identity({**within, "metadata": {"name": "x", "namespace": "n"}})
    assert (str(found), found.group) == ("Deployment:n:x", "apps")
    assert str(identity(named("Namespace", "n"))) == "Namespace:n"


def test_documents() -> None:
    text = "---\n---\nkind: List\nitems: [{apiVersion: v1, kind: A, metadata: {name: x}}]\n"
    assert parsed(text, "f") == [named("A", "x")]


@pytest.mark.parametrize(
    "text", ["a: [", "- 1", "kind: A", "{apiVersion: v1, kind: A, metadata: {}}", "apiVersion: 1"]
)
def test_what_are_no_objects(text: str) -> None:
    with pytest.raises(ValueError, match=r"^file\.yaml: "):
        parsed(text, "file.yaml")


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        pytest.param({"a": 1}, {"a": 1, "b": 2}, id="defaults"),
        pytest.param({"a": "", "b": [], "c": {"d": False}, "e": 0}, {}, id="empty"),
        pytest.param(
            {"resources": {"limits": {"cpu": "1000m", "memory": "1024Mi"}}},
            {"resources": {"limits": {"cpu": "1", "memory": "1Gi"}}},
            id="quantities",
        ),
        pytest.param({"sizeLimit": "64Mi"}, {"sizeLimit": "65536Ki"}, id="a-quantity"),
        pytest.param(
            {"env": [{"name": "b", "value": "1"}, {"name": "a"}]},
            {"env": [{"name": "a"}, {"name": "c"}, {"name": "b", "value": "1", "x": 1}]},
            id="lists-by-name",
        ),
        pytest.param({"args": ["a"], "x": [[1]]}, {"args": ["a"], "x": [[1]]}, id="plain-lists"),
    ],
)
def test_what_is_the_same(wanted: Any, found: Any) -> None:
    assert list(differences(wanted, found)) == []


@pytest.mark.parametrize(
    ("wanted", "found", "told"),
    [
        ({"a": {"b": 1}}, {"a": {"b": 2}}, "a.b: 2, want 1"),
        ({"a": {"b": 1}}, {}, "a: nothing, want {'b': 1}"),
        ({"labels": {"x/y": "1"}}, {"labels": {"x/y": "2"}}, "labels[x/y]: 2, want 1"),
        ({"args": ["a", "b"]}, {"args": ["a"]}, "args: ['a'], want ['a', 'b']"),
        ({"args": ["a", "b"]}, {"args": ["a", "c"]}, "args[1]: c, want b"),
        ({"c": [{"name": "a", "x": 1}]}, {"c": [{"name": "b", "x": 1}]}, "c[a]: nothing, want {'n"),
        ({"limits": {"cpu": "1"}}, {"limits": {"cpu": "2"}}, "limits.cpu: 2, want 1"),
        ({"limits": {"cpu": "1"}}, {}, "limits.cpu: nothing, want 1"),
        ({"a": True}, {}, "a: nothing, want True"),
        ({"a": "x" * 99}, {"a": "1\n2"}, f"a: '1\\n2', want {'x' * 80}…"),
        (1, 2, "the object: 2, want 1"),
    ],
)
def test_what_differs(wanted: Any, found: Any, told: str) -> None:
    (one,) = differences(wanted, found)
    assert str(one).startswith(told)


@pytest.mark.parametrize(
    ("text", "same"), [("1e3", "1k"), ("0.5", "500m"), ("2Gi", "2048Mi"), ("100u", "0.1m")]
)
def test_quantities(text: str, same: str) -> None:
    assert quantity(text) == quantity(same)
    assert quantity("big") == "big"
    assert quantity("1.2.3") == "1.2.3"


def test_manifests_are_compared_object_by_object() -> None:
    before = [named("A", "gone"), named("A", "same", x=1), named("A", "other", x=1, y=2)]
    after = [named("A", "same", x=1), named("A", "other", x=2), named("A", "new")]
    assert list(compared(before, after)) == [
        "- A:gone",
        "+ A:new",
        "~ A:other",
        "    x: 1, want 2",
        "    y: 2, want nothing",
    ]
    assert list(compared(after, after)) == []
    assert str(Difference("x", None, "1")) == "x: 1, want nothing"
