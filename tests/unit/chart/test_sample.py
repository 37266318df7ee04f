"""The chart of the sample application: its pods get proxies, its configuration is accepted."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import helm_python
import pytest
import yaml

from mast.galley.core.injection.pod import injected
from mast.galley.core.injection.settings import settings
from mast.galley.core.injection.webhooks import webhook_of
from mast.galley.core.judge import judge
from mast.galley.core.objects import Defaults, read_text
from tests.support.chart import Object, containers, pods
from tests.support.kubernetes_schemas import refusals
from tests.support.pods import not_restricted

CHART = Path(__file__).parents[3] / "samples" / "bookinfo" / "chart"
VALUES = [
    pytest.param({}, id="default"),
    pytest.param({"strict": True, "revision": "canary", "gateway": False}, id="strict-canary"),
]


@cache
def chart() -> helm_python.Chart:
    return helm_python.Chart.load(CHART)


def rendered(values: Object) -> list[Object]:
    found = chart().render(values, name="shop", namespace="shop")
    texts = [text for name, text in found.items() if not name.endswith("NOTES.txt")]
    return [each for text in texts for each in yaml.load_all(text, yaml.CSafeLoader) if each]


@pytest.mark.parametrize("values", VALUES)
def test_kubernetes_and_the_mesh_take_it(values: Object) -> None:
    found = rendered(values)
    ours = [each for each in found if ".istio.io/" in each["apiVersion"]]
    assert [(each["kind"], list(refusals(each))) for each in found if each not in ours] == [
        (each["kind"], []) for each in found if each not in ours
    ]
    judged = judge(read_text(yaml.safe_dump_all(ours), "chart", Defaults("shop")))
    assert not judged.problems


@pytest.mark.parametrize("values", VALUES)
def test_its_pods_are_injected(values: Object) -> None:
    """In any namespace: pods ask for their proxies themselves."""
    revision = str(values.get("revision", "default"))
    for name, pod in pods(rendered(values)):
        labels = pod["metadata"]["labels"]
        assert webhook_of(revision, {}, labels), name
        made = injected(
            {"metadata": {"name": "x", **pod["metadata"]}, "spec": pod["spec"]},
            settings(values={"pilot": {"cni": {"enabled": True}}}),
            namespace="shop",
        )
        assert "istio-proxy" in {each["name"] for each in containers(made)}
        assert not_restricted(made) == []


def test_every_program_is_there() -> None:
    found = rendered({})
    (programs,) = (each["data"] for each in found if each["kind"] == "ConfigMap")
    for _, pod in pods(found):
        (container,) = containers(pod)
        assert re.sub("^/apps/", "", container["command"][1]) in programs
        assert "web.py" in programs


def test_values_that_there_are_none_of_are_refused() -> None:
    with pytest.raises(helm_python.HelmError, match="carts"):
        rendered({"services": {"carts": ["v1"]}})
