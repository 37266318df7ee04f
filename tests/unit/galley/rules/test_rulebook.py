"""The rulebook as a whole: nothing stale, every kind covered, decoding errors not told twice."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from google.protobuf.descriptor import Descriptor

from istio.networking.v1alpha3.virtual_service_pb2 import VirtualService
from mast.common.kinds import KINDS, named
from mast.galley.core.decode import FINDINGS_LIMIT
from mast.galley.core.metadata import Metadata
from mast.galley.core.objects import ConfigObject
from mast.galley.core.problem import Severity
from mast.galley.core.rules import RULEBOOK
from mast.galley.core.rules.table import Family, Rulebook
from tests.support.galley_rules import found

# Kinds for which required tags and field checks say everything.
WITHOUT_OBJECT_RULE = {
    "GRPCRoute", "HTTPRoute", "IngressClass", "ProxyConfig", "ReferenceGrant",
    "TCPRoute", "TLSRoute", "attributemanifest",
}  # fmt: skip


def reachable(descriptor: Descriptor, seen: set[str]) -> Iterator[str]:
    if descriptor.full_name in seen:
        return
    seen.add(descriptor.full_name)
    yield descriptor.full_name
    for field in descriptor.fields:
        yield field.full_name
        if field.message_type is not None:
            yield from reachable(field.message_type, seen)


def test_every_rule_is_about_something_that_exists() -> None:
    seen: set[str] = set()
    names = {name for kind in KINDS for name in reachable(kind.message.DESCRIPTOR, seen)}
    assert set(RULEBOOK.names()) - names == set()


def test_every_kind_has_its_rules() -> None:
    names = set(RULEBOOK.kinds())
    covered = {each.name for each in KINDS if {each.name, str(each)} & names}
    assert covered == {kind.name for kind in KINDS} - WITHOUT_OBJECT_RULE
    assert names <= {name for each in KINDS for name in (each.name, str(each))}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param("{hosts: [5], http: [{redirect: {uri: /}}]}",
                     ["error spec.hosts[0] wrong-type"], id="wrong-item"),
        pytest.param("{hosts: {a: b}, http: [{redirect: {uri: /}}]}",
                     ["error spec.hosts wrong-type"], id="wrong-list"),
        pytest.param("{hosts: [a.com], http: [{route: [{destination: 5}]}]}",
                     ["error spec.http[0].route[0].destination wrong-type"], id="wrong-message"),
        pytest.param("{hosts: [a.com], http: 5}", ["error spec.http wrong-type"],
                     id="missing-because-wrong"),
        pytest.param("{hosts: ['a b'], htpp: 5}",
                     ["error spec required", "error spec.hosts[0] host",
                      "error spec.htpp unknown-field"], id="typo-hides-nothing"),
    ],
)  # fmt: skip
def test_what_cannot_be_decoded_is_told_once(spec: str, expected: list[str]) -> None:
    assert found("VirtualService", spec) == expected


def test_of_very_many_findings_the_first_errors_and_warnings_are_told() -> None:
    hosts = ", ".join(f"a{n}*" for n in range(FINDINGS_LIMIT + 5))
    ports = ", ".join(f"{{number: {n + 1}, name: p{n}, protocol: TCP}}" for n in range(1100))
    wrong = found("ServiceEntry", f"{{hosts: [{hosts}], ports: [{ports}]}}")
    assert wrong.count("error spec.hosts[1000] too-many") == 1
    assert sum(each.startswith("error ") for each in wrong) == FINDINGS_LIMIT + 1
    telling = found("ServiceEntry", f"{{hosts: [a.com], ports: [{ports}]}}")
    assert len(telling) == FINDINGS_LIMIT


def test_fields_that_do_nothing_are_told_with_the_reason() -> None:
    prefix = "istio.networking.v1alpha3.VirtualService"
    family = Family(
        unsupported={f"{prefix}.hosts": "just so"}, without_effect={f"{prefix}.export_to": "ditto"}
    )
    spec = VirtualService(hosts=["a b"], export_to=["c"])
    known = named("VirtualService")[0]
    obj = ConfigObject(kind=known, meta=Metadata(name="x", namespace="y"), spec=spec)
    told = list(Rulebook(family).check(obj))
    assert [(each.rule, each.severity, each.path, each.message) for each in told] == [
        ("unsupported", Severity.ERROR, ("spec", "hosts"), "'hosts' is not supported: just so"),
        (
            "without-effect",
            Severity.WARNING,
            ("spec", "exportTo"),
            "'exportTo' has no effect: ditto",
        ),
    ]
