"""Fields that Kubernetes does not have are told of where Mast reads."""

from __future__ import annotations

import pytest
import yaml

from mast.galley.core.discovery.field_names import unknown_fields
from mast.galley.core.problem import Severity, path_text

POD = "spec: {containers: [{name: a, image: b, imagePullPolic: c, ports: [{port: 80}]}]}"


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        pytest.param("{apiVersion: v1, kind: Service, metadata: {name: a, lables: {}}, spec:"
                     " {port: 80, selector: {any: thing}, ports: [{nmae: a}]}, stat: {}}",
                     ["metadata.lables", "spec.port", "spec.ports[0].nmae", "stat"], id="service"),
        pytest.param(f"{{apiVersion: v1, kind: Pod, {POD}}}",
                     ["spec.containers[0].imagePullPolic", "spec.containers[0].ports[0].port"],
                     id="pod"),
        pytest.param(f"{{apiVersion: apps/v1, kind: Deployment, spec: {{replica: 1, strategy:"
                     f" {{x: y}}, template: {{{POD}}}}}}}",
                     ["spec.replica", "spec.template.spec.containers[0].imagePullPolic",
                      "spec.template.spec.containers[0].ports[0].port"], id="deployment"),
        pytest.param("{apiVersion: apps/v1, kind: StatefulSet, spec: {serviceName: a, replicas: 2,"
                     " strategy: {}}}", ["spec.strategy"], id="stateful-set"),
        pytest.param("{apiVersion: batch/v1, kind: CronJob, spec: {jobTemplate: {spec: {templat:"
                     " {}}}}}", ["spec.jobTemplate.spec.templat"], id="cron-job"),
        pytest.param("{apiVersion: v1, kind: Endpoints, subsets: [{addresses: [{IP: 1.2.3.4}]}]}",
                     ["subsets[0].addresses[0].IP"], id="endpoints"),
        pytest.param("{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4,"
                     " endpoints: [{adresses: []}]}", ["endpoints[0].adresses"], id="slice"),
        pytest.param("{apiVersion: v1, kind: Node, spec: {any: thing}}", [], id="not-looked-at"),
        pytest.param("{apiVersion: v1, kind: Service, spec: 5, metadata: [a]}", [], id="shapes"),
    ],
)  # fmt: skip
def test_unknown_fields(text: str, paths: list[str]) -> None:
    found = list(unknown_fields(yaml.safe_load(text)))
    assert [path_text(each.path) for each in found] == paths
    assert {each.severity for each in found} <= {Severity.WARNING}


def test_of_very_many_the_first_are_told() -> None:
    fields = {f"x{number}": 1 for number in range(100_000)}
    assert len(list(unknown_fields({"apiVersion": "v1", "kind": "Service", **fields}))) == 1000


def test_what_may_be_meant_is_said() -> None:
    content = {"apiVersion": "v1", "kind": "Service", "spec": {"selctor": {}, "zzz": 1}}
    near, far = unknown_fields(content)
    assert near.message.endswith("; did you mean 'selector'?")
    assert "did you mean" not in far.message
