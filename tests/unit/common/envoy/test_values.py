"""Rules for single values, as protoc-gen-validate has them."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from google.protobuf.duration_pb2 import Duration
from google.protobuf.text_format import Parse
from validate.validate_pb2 import FieldRules

from mast.common.envoy.values import value_check

FIELD = Cluster.DESCRIPTOR.fields_by_name["type"]


@pytest.mark.parametrize(
    ("rules", "value", "found"),
    [
        pytest.param("string { ignore_empty: true min_len: 2 }", "", [], id="empty-is-fine"),
        pytest.param("string { min_len: 2 }", "a", ["needs 2 characters or more, not 1"], id="min"),
        pytest.param("string { max_bytes: 1 }", "ä", ["takes 1 bytes at most, not 2"], id="bytes"),
        pytest.param("string { prefix: '/' }", "a", ["'a' must have the prefix '/'"], id="prefix"),
        pytest.param("string { suffix: 'b' }", "ab", [], id="suffix"),
        pytest.param("string { contains: 'x' }", "a", ["'a' must have the contains 'x'"],
                     id="contains"),
        pytest.param("string { in: 'a' in: 'b' }", "c", ["'c' is not allowed; allowed: a, b"],
                     id="in"),
        pytest.param("string { const: 'a' }", "b", ["'b' is not allowed; allowed: a"], id="const"),
        pytest.param("string { pattern: '^a+$' }", "x" * 50,
                     ["'" + "x" * 39 + "… does not match ^a+$"], id="pattern"),
        pytest.param("bytes { min_len: 1 }", b"", ["must not be empty"], id="octets"),
        pytest.param("bool { const: true }", False, ["False is not allowed; allowed: True"],
                     id="bool"),
        pytest.param("enum { not_in: 3 }", 3, ["3 is not allowed"], id="enum"),
        pytest.param("enum { defined_only: true }", 99, ["99 is no value of the enum"],
                     id="unknown-enum"),
        pytest.param("double { gt: 0 lt: 1 }", 1.0, ["1.0 is out of range; allowed: < 1.0"],
                     id="double"),
        pytest.param("uint32 { gte: 2 }", 1, ["1 is out of range; allowed: >= 2"], id="uint"),
        pytest.param("duration { lte { seconds: 1 } }", Duration(seconds=2),
                     ["2s is out of range; allowed: <= 1s"], id="duration"),
        pytest.param("repeated { unique: true }", ["a", "a"], ["an item is given twice"],
                     id="unique"),
        pytest.param("repeated { max_items: 1 }", ["a", "b"], ["takes 1 items at most, not 2"],
                     id="items"),
        pytest.param("map { min_pairs: 1 }", {}, ["must not be empty"], id="map"),
    ],
)  # fmt: skip
def test_checks(rules: str, value: Any, found: list[str]) -> None:
    check = value_check(Parse(rules, FieldRules()), FIELD)
    assert check is not None
    assert list(check(value)) == found


@pytest.mark.parametrize("rules", ["", "timestamp { required: true }", "any { required: true }"])
def test_nothing_to_check(rules: str) -> None:
    assert value_check(Parse(rules, FieldRules()), FIELD) is None
