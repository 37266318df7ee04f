"""Label selectors of webhooks, and what the injector's settings say."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mast.galley.core.analysis.injectors import SETTINGS, USUAL, matches
from mast.galley.core.analysis.snapshot import Item, Snapshot
from mastapi.kubernetes.v1.credentials_pb2 import ConfigMap


def expression(operator: str, *values: str) -> dict[str, Any]:
    return {"matchExpressions": [{"key": "a", "operator": operator, "values": list(values)}]}


@pytest.mark.parametrize(
    ("selector", "without", "b", "c"),
    [
        pytest.param({}, True, True, True, id="empty"),
        pytest.param({"matchLabels": {"a": "b"}}, False, True, False, id="labels"),
        pytest.param(expression("In", "b"), False, True, False, id="in"),
        pytest.param(expression("NotIn", "b"), True, False, True, id="not-in"),
        pytest.param(expression("Exists"), False, True, True, id="exists"),
        pytest.param(expression("DoesNotExist"), True, False, False, id="does-not-exist"),
        pytest.param(expression("Like", "b"), False, False, False, id="nonsense"),
    ],
)
def test_matches(selector: dict[str, Any], without: bool, b: bool, c: bool) -> None:
    assert [matches(selector, labels) for labels in ({}, {"a": "b"}, {"a": "c"})] == [without, b, c]


@pytest.mark.parametrize(
    ("namespace", "pod", "injected"),
    [
        pytest.param({}, {}, False, id="nothing-said"),
        pytest.param({"istio-injection": "enabled"}, {}, True, id="namespace"),
        pytest.param(
            {"istio-injection": "enabled"},
            {"sidecar.istio.io/inject": "false"},
            False,
            id="refused",
        ),
        pytest.param({"istio-injection": "disabled"}, {"istio.io/rev": "r"}, False, id="disabled"),
        pytest.param({"istio.io/rev": "r"}, {}, True, id="revision"),
        pytest.param({}, {"istio.io/rev": "r"}, True, id="revision-of-the-pod"),
        pytest.param({}, {"sidecar.istio.io/inject": "true"}, True, id="wanted"),
    ],
)
def test_usual_webhooks(namespace: dict[str, str], pod: dict[str, str], injected: bool) -> None:
    assert any(each.takes(namespace, pod) for each in USUAL) is injected


@pytest.mark.parametrize(
    ("values", "image"),
    [
        pytest.param(
            {"global": {"hub": "h", "tag": "1", "proxy": {"image": "p"}}}, "h/p:1", id="parts"
        ),
        pytest.param({"global": {"hub": "h", "proxy": {"image": "x/p:2"}}}, "x/p:2", id="whole"),
        pytest.param({"global": {"hub": "h"}}, None, id="incomplete"),
        pytest.param("not an object", None, id="other"),
    ],
)
def test_settings(values: Any, image: str | None) -> None:
    item = Item(
        "ConfigMap",
        "istio-system",
        "istio-sidecar-injector-canary",
        body=ConfigMap(data={"values": json.dumps(values)}),
    )
    found = Snapshot([item]).fact(SETTINGS)
    assert found.images.get("canary") == image
    assert not found.by_default


def test_settings_that_are_not_json() -> None:
    items = [
        Item("ConfigMap", "a", "istio-sidecar-injector", body=ConfigMap(data={"values": "{"})),
        Item("ConfigMap", "a", "other", body=ConfigMap()),
    ]
    assert not Snapshot(items).fact(SETTINGS).images
