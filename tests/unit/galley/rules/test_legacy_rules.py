"""Policies of 1.0 to 1.4: accepted and rejected (B4)."""

from __future__ import annotations

import pytest

from tests.support.galley_rules import found


@pytest.mark.parametrize(
    ("kind", "name", "spec", "expected"),
    [
        pytest.param("Policy", "default", "{peers: [{mtls: {}}]}", [], id="namespace"),
        pytest.param("Policy", "a", "{targets: [{name: a, ports: [{number: 80}, {name: b}]}]}", [],
                     id="target"),
        pytest.param("Policy", "a", "{peers: [{mtls: {}}]}", ["error spec.targets required"],
                     id="no-targets"),
        pytest.param("Policy", "default", "{targets: [{name: a}]}",
                     ["error spec.targets not-allowed"], id="default-with-targets"),
        pytest.param("MeshPolicy", "default", "{peers: [{mtls: {mode: PERMISSIVE}}]}", [],
                     id="mesh"),
        pytest.param("MeshPolicy", "a", "{targets: [{name: a}]}",
                     ["error metadata.name name", "error spec.targets not-allowed"],
                     id="mesh-of-another-name"),
        pytest.param("Policy", "a", "{targets: [{name: a.b, ports: [{number: 0}]}]}",
                     ["error spec.targets[0].name name",
                      "error spec.targets[0].ports[0].number port"], id="target-words"),
        pytest.param("Policy", "default", "{origins: [{jwt: {issuer: a, jwksUri: https://a}},"
                     " {jwt: {issuer: a}}, {}]}",
                     ["error spec.origins[1].jwt.issuer duplicate",
                      "error spec.origins[2].jwt required"], id="origins"),
        pytest.param("Policy", "default", "{origins: [{jwt: {jwksUri: x, audiences: ['']}}]}",
                     ["error spec.origins[0].jwt.issuer required",
                      "error spec.origins[0].jwt.jwksUri url",
                      "error spec.origins[0].jwt.audiences[0] empty"], id="jwt"),
        pytest.param("Policy", "default", "{peers: [{}]}", ["error spec.peers[0] required"],
                     id="peer"),
        pytest.param("ServiceRole", "a", "{rules: [{services: ['*'], methods: [GET]}]}", [],
                     id="role"),
        pytest.param("ServiceRole", "a", "{}", ["error spec.rules required"], id="no-rules"),
        pytest.param("ServiceRole", "a", "{rules: [{methods: [GET], notMethods: [PUT],"
                     " ports: [1], notPorts: [70000], constraints: [{}]}]}",
                     ["error spec.rules[0].constraints[0].key required",
                      "error spec.rules[0].constraints[0].values required",
                      "error spec.rules[0].notMethods one-of",
                      "error spec.rules[0].notPorts one-of",
                      "error spec.rules[0].notPorts[0] port",
                      "error spec.rules[0].services required"], id="role-rule"),
        pytest.param("ServiceRoleBinding", "a", "{subjects: [{user: '*'}],"
                     " roleRef: {kind: ServiceRole, name: a}}", [], id="binding"),
        pytest.param("ServiceRoleBinding", "a", "{subjects: [{names: [a]}], role: a}", [],
                     id="binding-by-role"),
        pytest.param("ServiceRoleBinding", "a", "{}",
                     ["error spec required", "error spec.subjects required"], id="empty-binding"),
        pytest.param("ServiceRoleBinding", "a", "{subjects: [{}], role: a/,"
                     " roleRef: {kind: Role, name: b}}",
                     ["error spec.role name", "error spec.role one-of",
                      "error spec.roleRef.kind kind", "error spec.subjects[0] empty"],
                     id="bad-binding"),
        pytest.param("ServiceRoleBinding", "a", "{role: a, subjects: [{names: ['*'],"
                     " properties: {source.principal: a}}]}",
                     ["error spec.subjects[0].names[0] not-allowed",
                      "error spec.subjects[0].properties[\"source.principal\"] duplicate"],
                     id="subject"),
        pytest.param("ClusterRbacConfig", "default", "{mode: ON}", [], id="rbac"),
        pytest.param("RbacConfig", "a", "{mode: ON_WITH_INCLUSION}",
                     ["error metadata.name name", "error spec.inclusion required"],
                     id="rbac-without-target"),
        pytest.param("ClusterRbacConfig", "default", "{mode: ON_WITH_EXCLUSION, exclusion: {}}",
                     [], id="rbac-exclusion"),
        pytest.param("QuotaSpec", "a", "{rules: [{quotas: [{quota: q, charge: 1}],"
                     " match: [{clause: {a: {exact: b}}}]}]}", [], id="quota"),
        pytest.param("QuotaSpec", "a", "{}", ["error spec.rules required"], id="no-quota-rules"),
        pytest.param("QuotaSpec", "a", "{rules: [{}, {quotas: [{}], match: [{},"
                     " {clause: {a: {}}}]}]}",
                     ["error spec.rules[0].quotas required",
                      "error spec.rules[1].match[0].clause required",
                      "error spec.rules[1].match[1].clause.a required",
                      "error spec.rules[1].quotas[0].charge charge",
                      "error spec.rules[1].quotas[0].quota required"], id="quota-rule"),
        pytest.param("QuotaSpecBinding", "a", "{services: [{name: a}, {service: '*'}],"
                     " quotaSpecs: [{name: q}]}", [], id="quota-binding"),
        pytest.param("QuotaSpecBinding", "a", "{services: [{}, {name: a, service: b},"
                     " {service: c, namespace: d}], quotaSpecs: [{}]}",
                     ["error spec.quotaSpecs[0].name required", "error spec.services[0] one-of",
                      "error spec.services[1] one-of",
                      "error spec.services[2].namespace not-allowed"], id="bad-quota-binding"),
        pytest.param("HTTPAPISpec", "a", "{patterns: [{httpMethod: GET, uriTemplate: /a}],"
                     " apiKeys: [{query: k}]}", [], id="api"),
        pytest.param("HTTPAPISpec", "a", "{}", ["error spec.patterns required"],
                     id="empty-api"),
        pytest.param("HTTPAPISpec", "a", "{patterns: [{}, {httpMethod: GET, regex: '('}],"
                     " apiKeys: [{}]}",
                     ["error spec.apiKeys[0] required", "error spec.patterns[0] required",
                      "error spec.patterns[0].httpMethod required",
                      "error spec.patterns[1].regex regex"], id="bad-api"),
        pytest.param("HTTPAPISpecBinding", "a", "{apiSpecs: [{name: a}]}",
                     ["error spec.services required"], id="api-binding"),
    ],
)  # fmt: skip
def test_legacy(kind: str, name: str, spec: str, expected: list[str]) -> None:
    assert sorted(found(kind, spec, name=name)) == sorted(expected)
