"""Strategic merge: what meets, what is replaced, what is removed (Kubernetes)."""

from __future__ import annotations

from typing import Any

import pytest

from mast.galley.core.injection.merging import merged


@pytest.mark.parametrize(
    ("base", "over", "result"),
    [
        pytest.param({"a": 1}, {"a": 2, "b": 3}, {"a": 2, "b": 3}, id="scalars"),
        pytest.param({"a": {"b": 1}}, {"a": {"c": 2}}, {"a": {"b": 1, "c": 2}}, id="objects"),
        pytest.param({"a": 1, "b": 2}, {"a": None}, {"b": 2}, id="null-removes"),
        pytest.param({"a": {"b": 1}}, {"a": {"$patch": "delete"}}, {}, id="delete"),
        pytest.param(
            {"a": {"b": 1}}, {"a": {"$patch": "replace", "c": 2}}, {"a": {"c": 2}}, id="replace"
        ),
        pytest.param({"args": ["a"]}, {"args": ["b"]}, {"args": ["b"]}, id="lists-are-replaced"),
        pytest.param({}, {"a": {"b": None, "c": 1}}, {"a": {"c": 1}}, id="null-in-new-object"),
        pytest.param({"a": [1]}, {"a": {"b": 1}}, {"a": {"b": 1}}, id="other-type"),
        pytest.param(
            {"env": [{"name": "a", "value": "1"}, {"name": "b", "value": "2"}]},
            {"env": [{"name": "c", "value": "3"}, {"name": "a", "value": "4"}]},
            {
                "env": [
                    {"name": "a", "value": "4"},
                    {"name": "b", "value": "2"},
                    {"name": "c", "value": "3"},
                ]
            },
            id="keyed-lists-meet",
        ),
        pytest.param(
            {"env": [{"name": "a", "valueFrom": {"fieldRef": {"fieldPath": "x"}}}]},
            {"env": [{"name": "a", "value": "1"}]},
            {"env": [{"name": "a", "value": "1"}]},
            id="a-variable-has-one-source",
        ),
        pytest.param(
            {"volumes": [{"name": "a", "emptyDir": {}}]},
            {"volumes": [{"name": "a", "configMap": {"name": "m"}}]},
            {"volumes": [{"name": "a", "configMap": {"name": "m"}}]},
            id="a-volume-has-one-source",
        ),
        pytest.param(
            {"volumes": [{"name": "a", "emptyDir": {"medium": "Memory"}}]},
            {"volumes": [{"name": "a", "emptyDir": {"sizeLimit": "1Mi"}}]},
            {"volumes": [{"name": "a", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}]},
            id="the-same-source-meets",
        ),
        pytest.param(
            {"ports": [{"containerPort": 53}]},
            {"ports": [{"containerPort": 53, "protocol": "UDP"}]},
            {"ports": [{"containerPort": 53}, {"containerPort": 53, "protocol": "UDP"}]},
            id="ports-of-two-protocols",
        ),
        pytest.param(
            {"ports": [{"containerPort": 53}]},
            {"ports": [{"containerPort": 53, "protocol": "TCP", "name": "dns"}]},
            {"ports": [{"containerPort": 53, "protocol": "TCP", "name": "dns"}]},
            id="ports-are-tcp-by-default",
        ),
        pytest.param(
            {"containers": [{"name": "a"}, {"name": "b"}]},
            {"containers": [{"name": "a", "$patch": "delete"}]},
            {"containers": [{"name": "b"}]},
            id="item-deleted",
        ),
        pytest.param(
            {"containers": [{"name": "a", "image": "x"}]},
            {"containers": [{"name": "a", "$patch": "replace", "args": ["y"]}]},
            {"containers": [{"name": "a", "args": ["y"]}]},
            id="item-replaced",
        ),
        pytest.param(
            {"containers": [{"name": "a"}]},
            {"containers": [{"$patch": "replace"}, {"name": "b"}]},
            {"containers": [{"name": "b"}]},
            id="list-replaced",
        ),
        pytest.param({"env": None}, {"env": [{"name": "a"}]}, {"env": [{"name": "a"}]}, id="null"),
    ],
)
def test_merged(base: dict[str, Any], over: dict[str, Any], result: dict[str, Any]) -> None:
    before = repr((base, over))
    assert merged(base, over) == result
    assert repr((base, over)) == before
