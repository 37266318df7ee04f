"""Policies of 1.0 to 1.4 for Mixer's clients: accepted and rejected (B4)."""

from __future__ import annotations

import pytest

from tests.support.galley_rules import found


@pytest.mark.parametrize(
    ("kind", "spec", "expected"),
    [
        pytest.param("QuotaSpec", "{rules: [{quotas: [{quota: q, charge: 1}],"
                     " match: [{clause: {a: {exact: b}}}]}]}", [], id="quota"),
        pytest.param("QuotaSpec", "{}", ["error spec.rules required"], id="no-quota-rules"),
        pytest.param("QuotaSpec", "{rules: [{}, {quotas: [{}], match: [{},"
                     " {clause: {a: {}}}]}]}",
                     ["error spec.rules[0].quotas required",
                      "error spec.rules[1].match[0].clause required",
                      "error spec.rules[1].match[1].clause.a required",
                      "error spec.rules[1].quotas[0].charge charge",
                      "error spec.rules[1].quotas[0].quota required"], id="quota-rule"),
        pytest.param("QuotaSpecBinding", "{services: [{name: a}, {service: '*'}],"
                     " quotaSpecs: [{name: q}]}", [], id="quota-binding"),
        pytest.param("QuotaSpecBinding", "{services: [{}, {name: a, service: b},"
                     " {service: c, namespace: d}], quotaSpecs: [{}]}",
                     ["error spec.quotaSpecs[0].name required", "error spec.services[0] one-of",
                      "error spec.services[1] one-of",
                      "error spec.services[2].namespace not-allowed"], id="bad-quota-binding"),
        pytest.param("HTTPAPISpec", "{patterns: [{httpMethod: GET, uriTemplate: /a}],"
                     " apiKeys: [{query: k}]}", [], id="api"),
        pytest.param("HTTPAPISpec", "{}", ["error spec.patterns required"],
                     id="empty-api"),
        pytest.param("HTTPAPISpec", "{patterns: [{}, {httpMethod: GET, regex: '('}],"
                     " apiKeys: [{}]}",
                     ["error spec.apiKeys[0] required", "error spec.patterns[0] required",
                      "error spec.patterns[0].httpMethod required",
                      "error spec.patterns[1].regex regex"], id="bad-api"),
        pytest.param("HTTPAPISpecBinding", "{apiSpecs: [{name: a}]}",
                     ["error spec.services required"], id="api-binding"),
    ],
)  # fmt: skip
def test_legacy(kind: str, spec: str, expected: list[str]) -> None:
    assert sorted(found(kind, spec)) == sorted(expected)
