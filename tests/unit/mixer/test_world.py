"""What Mixer takes from the store."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from istio.mcp.v1alpha1.resource_pb2 import Resource
from mast.common.keys import workload_key
from mast.mixer.core.world import PREFIXES, World
from mastapi.registry.v1.registry_pb2 import Workload
from tests.support.mixer_config import TELEMETRY, entries, stored

WORKLOAD = Workload(name="pod", namespace="ns", addresses=["1.2.3.4"])
KEY = workload_key("c", "ns", "pod")
ENTRY = """
apiVersion: networking.istio.io/v1alpha3
kind: WorkloadEntry
metadata: {name: vm, namespace: ns}
spec: {address: 1.2.3.5}
"""


def test_configuration_objects() -> None:
    """D1: every kind, legacy ones too."""
    world = World()
    objects = stored(TELEMETRY, "{kind: metric, metadata: {name: m, namespace: ns}}")
    assert world.apply(objects)
    assert sorted(each.fqn for each in world.entries) == sorted(
        [*(each.fqn for each in entries(TELEMETRY)), "m.metric.ns"]
    )
    assert world.broken == ()
    key = next(iter(objects))
    assert world.apply({key: None})
    assert not world.apply({key: None})
    assert len(world.entries) == len(objects) - 1


def test_annotations_are_kept() -> None:
    """D12: they choose the language."""
    world = World()
    world.apply(stored("{kind: rule, metadata: {name: r, annotations: {a: b}}}"))
    assert world.entries[0].annotations == {"a": "b"}


def test_workloads_are_no_configuration() -> None:
    world = World()
    assert not world.apply({KEY: WORKLOAD.SerializeToString(), **stored(ENTRY)})
    assert world.entries == ()
    for address, name in ((b"\x01\x02\x03\x04", "pod"), (b"\x01\x02\x03\x05", "vm")):
        found = world.workloads.find("", address)
        assert found is not None
        assert found.name == name
    assert not world.apply(dict.fromkeys([KEY, *stored(ENTRY)]))
    assert world.workloads.find("", b"\x01\x02\x03\x04") is None
    assert world.workloads.find("", b"\x01\x02\x03\x05") is None


def test_collections_that_mixer_does_not_know_are_ignored() -> None:
    world = World()
    assert not world.apply({"config/istio/policy/v1beta1/others/ns/x": b"\xff"})
    assert world.entries == ()


@pytest.mark.parametrize("value", [b"\xff", Resource().SerializeToString()])
def test_an_object_that_cannot_be_decoded_stays_as_it_was(value: bytes) -> None:
    """D7, L26."""
    world = World()
    objects = stored("{kind: rule, metadata: {name: r}, spec: {match: a}}")
    (key,) = objects
    world.apply(objects)
    assert world.apply({key: value})
    assert len(world.entries) == 1
    (problem,) = world.broken
    assert problem.resource == key
    assert world.apply(objects)
    assert world.broken == ()


def test_a_key_of_another_form_is_told() -> None:
    world = World()
    assert world.apply({"config/rules": b""})
    assert world.broken[0].resource == "config/rules"


def test_the_prefixes_cover_every_kind_that_mixer_uses() -> None:
    keys = [*stored(TELEMETRY, ENTRY, "{kind: metric, metadata: {name: m}}"), KEY]
    assert all(any(key.startswith(prefix) for prefix in PREFIXES) for key in keys)


RULE = stored("{kind: rule, metadata: {name: r}, spec: {match: a}}")
SPEC = stored("{kind: QuotaSpec, metadata: {name: q}}")
ROLE = stored(
    """{apiVersion: rbac.istio.io/v1alpha1, kind: ServiceRole, metadata: {name: r},
        spec: {rules: [{services: ["*"]}]}}"""
)


def named(*changes: Mapping[str, bytes | None]) -> str:
    """The configuration's name after these changes, each of them put in force."""
    world = World()
    for each in changes:
        world.apply(each)
        world.put_in_force(world.rules)
    return world.client.configuration


@pytest.mark.parametrize("objects", [RULE, SPEC, ROLE], ids=["rule", "client", "role"])
def test_a_configuration_has_a_name_of_its_own(objects: dict[str, bytes]) -> None:
    before = named({})
    (key,) = objects
    assert named(objects) == named(objects, objects) != before
    assert named(objects, {key: None}) == before


def test_replicas_name_configurations_alike_and_workloads_are_no_part_of_them() -> None:
    workloads = {KEY: WORKLOAD.SerializeToString(), **stored(ENTRY)}
    assert named(RULE, SPEC, ROLE) == named(ROLE, workloads, SPEC, RULE, dict.fromkeys([KEY]))


def test_rules_count_when_they_are_in_force_and_the_rest_at_once() -> None:
    world = World()
    world.apply(RULE)
    assert world.client.configuration == World().client.configuration
    world.put_in_force(world.rules)
    compiled = world.client.configuration
    world.apply(SPEC)
    assert world.client.configuration != compiled


def test_what_cannot_be_decoded_does_not_count() -> None:
    (key,) = RULE
    assert named(RULE, {key: b"\xff"}) == named(RULE)
