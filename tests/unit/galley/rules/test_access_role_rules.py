"""Role-based access control of 1.0 to 1.4: accepted and rejected (B4)."""

from __future__ import annotations

import pytest

from tests.support.galley_rules import found

DEPRECATED = "warning kind deprecated"
CONSTRAINTS = """{rules: [{services: [a.shop.svc.cluster.local, 'b*', '*.local'], constraints: [
 {key: destination.ip, values: [10.0.0.0/8]}, {key: destination.port, values: ['80']},
 {key: 'destination.labels[version]', values: [v1, 'v*']}, {key: destination.name, values: [a]},
 {key: destination.namespace, values: ['*']}, {key: destination.user, values: [a]},
 {key: connection.sni, values: ['*.com']}, {key: 'request.headers[X-A]', values: ['*']},
 {key: 'experimental.envoy.filters.a.b[c]', values: [d]}]}]}"""
PROPERTIES = """{roleRef: {kind: ServiceRole, name: a}, subjects: [{properties: {
 source.ip: 10.1.2.3, source.namespace: a, source.principal: '*', source.user: a,
 request.auth.principal: a, request.auth.audiences: a, request.auth.presenter: a,
 'request.auth.claims[x]': a, 'request.headers[x]': 'a*'}}]}"""


@pytest.mark.parametrize(
    ("kind", "spec", "expected"),
    [
        pytest.param("ServiceRole", "{rules: [{services: ['*'], methods: [GET], paths: ['/a*'],"
                     " hosts: ['*.com'], notPaths: [/b], notHosts: [c], ports: [80]}]}", [],
                     id="role"),
        pytest.param("ServiceRole", CONSTRAINTS, [], id="constraints"),
        pytest.param("ServiceRole", "{}", ["error spec.rules required"], id="no-rules"),
        pytest.param("ServiceRole", "{rules: [{methods: [GET], notMethods: [PUT],"
                     " ports: [1], notPorts: [70000], constraints: [{}]}]}",
                     ["error spec.rules[0].constraints[0].key required",
                      "error spec.rules[0].constraints[0].values required",
                      "error spec.rules[0].notMethods one-of",
                      "error spec.rules[0].notPorts one-of",
                      "error spec.rules[0].notPorts[0] port",
                      "error spec.rules[0].services required"], id="role-rule"),
        pytest.param("ServiceRole", "{rules: [{services: ['*a*', ''], paths: ['/a*b'],"
                     " notHosts: ['**']}]}",
                     ["error spec.rules[0].notHosts[0] pattern",
                      "error spec.rules[0].paths[0] pattern",
                      "error spec.rules[0].services[0] pattern",
                      "error spec.rules[0].services[1] pattern"], id="patterns"),
        pytest.param("ServiceRole", "{rules: [{services: ['*'], constraints: ["
                     "{key: destination.ip, values: [a]}, {key: destination.port, values: [a]},"
                     "{key: 'destination.labels[a b]', values: [a]}, {key: b, values: [a]},"
                     "{key: 'request.headers[:x]', values: [a]},"
                     "{key: destination.ip, values: ['::1']}]}]}",
                     ["error spec.rules[0].constraints[0].values[0] constraint",
                      "error spec.rules[0].constraints[1].values[0] constraint",
                      "error spec.rules[0].constraints[2].key constraint",
                      "error spec.rules[0].constraints[3].key constraint",
                      "error spec.rules[0].constraints[4].key constraint",
                      "error spec.rules[0].constraints[5].key duplicate"], id="bad-constraints"),
        pytest.param("ServiceRoleBinding", "{subjects: [{user: '*'}],"
                     " roleRef: {kind: ServiceRole, name: a}}", [], id="binding"),
        pytest.param("ServiceRoleBinding", PROPERTIES, [], id="properties"),
        pytest.param("ServiceRoleBinding", "{subjects: [{names: [a, allUsers]}], role: a}", [],
                     id="binding-by-role"),
        pytest.param("ServiceRoleBinding", "{subjects: [{notNames: [a], notIps: [10.0.0.0/8]}],"
                     " role: /a}", [], id="binding-to-the-root"),
        pytest.param("ServiceRoleBinding", "{subjects: [{groups: [a], namespaces: [b]}],"
                     " actions: [{services: ['*']}], mode: PERMISSIVE}", [], id="actions"),
        pytest.param("ServiceRoleBinding", "{}",
                     ["error spec required", "error spec.subjects required"], id="empty-binding"),
        pytest.param("ServiceRoleBinding", "{subjects: [{}], role: a/,"
                     " roleRef: {kind: Role, name: b}}",
                     ["error spec.role name", "error spec.role one-of",
                      "error spec.roleRef.kind kind", "error spec.subjects[0] empty"],
                     id="bad-binding"),
        pytest.param("ServiceRoleBinding", "{subjects: [{user: a}], role: /}",
                     ["error spec.role name"], id="nameless-role"),
        pytest.param("ServiceRoleBinding", "{role: a, subjects: [{names: ['*'],"
                     " properties: {source.principal: a}}, {user: a, group: b, groups: [c],"
                     " properties: {source.principal: a, 'request.auth.claims[groups]': b}}]}",
                     ["error spec.subjects[0].names[0] not-allowed",
                      "error spec.subjects[0].properties[\"source.principal\"] duplicate",
                      "error spec.subjects[1].groups one-of",
                      "error spec.subjects[1].properties[\"request.auth.claims[groups]\"]"
                      " duplicate",
                      "error spec.subjects[1].properties[\"request.auth.claims[groups]\"]"
                      " duplicate",
                      "error spec.subjects[1].properties[\"source.principal\"] duplicate"],
                     id="subject"),
        pytest.param("ServiceRoleBinding", "{role: a, subjects: [{ips: [a], notIps: [b],"
                     " notNamespaces: ['a*b']}, {properties: {source.ip: c, d: e,"
                     " source.user: ''}}]}",
                     ["error spec.subjects[0].ips[0] cidr",
                      "error spec.subjects[0].notIps[0] cidr",
                      "error spec.subjects[0].notNamespaces[0] pattern",
                      "error spec.subjects[1].properties.d property",
                      "error spec.subjects[1].properties[\"source.ip\"] property",
                      "error spec.subjects[1].properties[\"source.user\"] property"],
                     id="bad-subject"),
    ],
)  # fmt: skip
def test_roles(kind: str, spec: str, expected: list[str]) -> None:
    assert sorted(found(kind, spec)) == sorted([DEPRECATED, *expected])


@pytest.mark.parametrize("kind", ["ClusterRbacConfig", "RbacConfig"])
@pytest.mark.parametrize(
    ("name", "spec", "expected"),
    [
        pytest.param("default", "{mode: ON, enforcementMode: PERMISSIVE}", [], id="on"),
        pytest.param("default", "{mode: ON_WITH_EXCLUSION, exclusion: {}}", [], id="exclusion"),
        pytest.param("default", "{mode: ON_WITH_INCLUSION, inclusion:"
                     " {services: [a.b.svc.cluster.local], namespaces: [c]}}", [], id="inclusion"),
        pytest.param("a", "{mode: ON_WITH_INCLUSION}",
                     ["error metadata.name name", "error spec.inclusion required"],
                     id="without-target"),
        pytest.param("default", "{mode: ON_WITH_INCLUSION, inclusion:"
                     " {services: [a, '*.b', 'c..d'], namespaces: ['*']}}",
                     ["error spec.inclusion.namespaces[0] namespace",
                      "error spec.inclusion.services[0] service",
                      "error spec.inclusion.services[1] service",
                      "error spec.inclusion.services[2] service"], id="bad-targets"),
        pytest.param("default", "{mode: ON, exclusion: {namespaces: [a]}}",
                     ["warning spec.exclusion without-effect"], id="idle-target"),
    ],
)  # fmt: skip
def test_switch(kind: str, name: str, spec: str, expected: list[str]) -> None:
    assert sorted(found(kind, spec, name=name)) == sorted([DEPRECATED, *expected])
