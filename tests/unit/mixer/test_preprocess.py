"""What generators gave is remembered by all that they can read (mixer.md A7, A8, A13)."""

from __future__ import annotations

from mast.mixer.core.preprocess import Preprocessing
from mast.mixer.core.workloads import Pod, Workloads
from tests.support.mixer_config import TELEMETRY, Rig

POLICY = """
kind: handler
metadata: {name: apps}
spec: {compiledAdapter: listchecker, params: {overrides: [web], blacklist: false}}
---
kind: instance
metadata: {name: app}
spec: {compiledTemplate: listentry, params: {value: 'source.labels["app"] | "none"'}}
---
kind: rule
metadata: {name: apps}
spec: {actions: [{handler: apps, instances: [app]}]}
"""
REQUEST = {
    "source.uid": "kubernetes://web-1.shop",
    "destination.port": 80,
    "context.protocol": "http",
}


def pods(app: str) -> Workloads:
    found = Workloads()
    found.put("1", Pod("web-1", "shop", labels={"app": app}))
    return found


def test_a_verdict_is_the_same_whether_generators_were_asked_or_not() -> None:
    rig = Rig(TELEMETRY, POLICY, workloads=pods("web"))
    first, again = rig.check(REQUEST), rig.check(dict(REQUEST))
    assert first == again
    assert first.status.code == 0
    assert {"source.uid", "destination.port"} <= {each.name for each in again.referenced}
    assert rig.check({**REQUEST, "source.uid": "kubernetes://web-2.shop"}).status.code == 7


def test_generated_attributes_fill_gaps_only_also_when_they_are_remembered() -> None:
    rig = Rig(TELEMETRY, POLICY, workloads=pods("web"))
    rig.check(REQUEST)
    sent = rig.check({**REQUEST, "source.labels": {"app": "other"}})
    assert sent.status.code == 7
    assert ("source.labels", "app") in {(each.name, each.map_key) for each in sent.referenced}


def test_a_change_of_what_generators_know_is_seen() -> None:
    workloads = pods("web")
    rig = Rig(TELEMETRY, POLICY, workloads=workloads)
    assert rig.check(REQUEST).status.code == 0
    workloads.put("1", Pod("web-1", "shop", labels={"app": "other"}))
    assert rig.check(REQUEST).status.code == 7


def test_values_that_are_not_what_they_should_be_are_not_remembered() -> None:
    rig = Rig(TELEMETRY, POLICY, workloads=pods("web"))
    odd = {**REQUEST, "context.reporter.kind": {"a": "b"}}
    assert rig.check(odd) == rig.check(odd)


def test_what_is_remembered_is_bounded() -> None:
    rig = Rig(TELEMETRY, POLICY, workloads=pods("web"))
    rig.preprocessing = Preprocessing(rig.routing, rig.snapshot.expressions.types, limit=3)
    sizes = []
    for port in range(5):
        assert rig.check({**REQUEST, "destination.port": port}).status.code == 0
        sizes.append(len(rig.preprocessing))
    assert sizes == [1, 2, 3, 1, 2]
