"""No field is forgotten (docs/coverage.md)."""

import os

import pytest
import yaml
from google.protobuf.json_format import ParseDict

from istio.networking.v1alpha3.destination_rule_pb2 import DestinationRule
from istio.networking.v1alpha3.virtual_service_pb2 import VirtualService
from tests.fields.effects import fields_of
from tests.fields.paths import paths, set_paths, without
from tests.fields.table import DOCUMENT, KINDS, ROOT, document, elsewhere, rows
from tests.support.named_tests import named_in


def test_every_field_is_shown_or_refused() -> None:
    found = list(rows())
    if os.environ.get("UPDATE_GOLDEN") == "1":
        DOCUMENT.write_text(document(found))
    assert [str(each.field) for each in found if each.status == "missing"] == []
    assert DOCUMENT.read_text() == document(found)


def test_tests_that_are_named_exist() -> None:
    known = {str(field) for kind in KINDS for field in fields_of(kind).values()}
    assert set(elsewhere()) <= known
    for test in sorted(set(elsewhere().values())):
        path, _, name = test.rpartition(" ")[2].partition("::")
        assert name in named_in(ROOT / path), test


@pytest.mark.parametrize(
    ("spec", "path", "less"),
    [
        pytest.param("{hosts: [a], exportTo: [b]}", "export_to[]", "{hosts: [a]}", id="list"),
        pytest.param(
            "{http: [{name: a, timeout: 1s}, {timeout: 2s}, {name: c}]}",
            "http[].timeout",
            "{http: [{name: a}, {}, {name: c}]}",
            id="each-item",
        ),
        pytest.param(
            "{http: [{match: [{headers: {a: {exact: x}, b: {prefix: y}}}]}]}",
            "http[].match[].headers{}.exact",
            "{http: [{match: [{headers: {a: {}, b: {prefix: y}}}]}]}",
            id="each-value",
        ),
    ],
)
def test_a_field_is_cleared_everywhere(spec: str, path: str, less: str) -> None:
    message = ParseDict(yaml.safe_load(spec), VirtualService())
    assert path in set(set_paths(message))
    without(message, path)
    assert message == ParseDict(yaml.safe_load(less), VirtualService())


def test_a_message_is_entered_once() -> None:
    found = paths(DestinationRule.DESCRIPTOR)
    assert "traffic_policy.tls.mode" in found
    assert "traffic_policy.port_level_settings[].tls" in found
    assert "subsets[].traffic_policy" in found
    assert len(found) == len(set(found))
