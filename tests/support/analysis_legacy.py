"""Samples of messages about kinds of 1.0 to 1.4."""

from __future__ import annotations

from tests.support.analysis_case import Case, doc, service

RULE = "rule shop/log"
_PEER = "{targets: [{name: web}], peers: [{jwt: {issuer: a, jwksUri: 'https://a.example'}}]}"


def mixer_rule(handler: str = "out", instance: str = "line") -> str:
    return doc("rule", "log", f"{{actions: [{{handler: {handler}, instances: [{instance}]}}]}}")


_LINE = doc("instance", "line", "{compiledTemplate: logentry, params: {severity: '\"info\"'}}")
_OUT = doc("handler", "out", "{compiledAdapter: stdio, params: {}}")

CASES = (
    Case("handler", "IST0101", RULE, mixer_rule() + _LINE, mixer_rule() + _LINE + _OUT),
    Case("instance", "IST0101", RULE, mixer_rule() + _OUT, mixer_rule() + _LINE + _OUT),
    Case(
        "handler-of-a-kind",
        "IST0101",
        RULE,
        mixer_rule("out.stdio") + _LINE + _OUT,
        mixer_rule("out.handler.shop", "line.shop") + _LINE + _OUT,
    ),
    Case(
        "role",
        "IST0101",
        "ServiceRoleBinding shop/b",
        doc(
            "ServiceRoleBinding",
            "b",
            "{subjects: [{user: '*'}], roleRef: {kind: ServiceRole, name: r}}",
        ),
        doc(
            "ServiceRoleBinding",
            "b",
            "{subjects: [{user: '*'}], roleRef: {kind: ServiceRole, name: r}}",
        )
        + doc("ServiceRole", "r", "{rules: [{services: ['*']}]}"),
    ),
    Case(
        "quota",
        "IST0101",
        "QuotaSpecBinding shop/b",
        doc("QuotaSpecBinding", "b", "{services: [{name: web}], quotaSpecs: [{name: q}]}"),
        doc("QuotaSpecBinding", "b", "{services: [{name: web}], quotaSpecs: [{name: q}]}")
        + doc("QuotaSpec", "q", "{rules: [{quotas: [{quota: a, charge: 1}]}]}"),
    ),
    Case(
        "token-without-http",
        "IST0119",
        "Policy shop/p",
        service("web", "[{name: web, port: 80}]")
        + doc(
            "Policy",
            "p",
            "{targets: [{name: web}], origins: [{jwt: {issuer: a, jwksUri: 'https://a.example'}}]}",
        ),
        service("web", "[{name: web, port: 80}, {name: http, port: 81}]")
        + doc(
            "Policy",
            "p",
            "{targets: [{name: web, ports: [{number: 81}]}], origins: "
            "[{jwt: {issuer: a, jwksUri: 'https://a.example'}}]}",
        ),
    ),
    Case(
        "old-role",
        "IST0101",
        "ServiceRoleBinding shop/b",
        doc("ServiceRoleBinding", "b", "{subjects: [{user: '*'}], role: r}"),
        doc("ServiceRoleBinding", "b", "{subjects: [{user: '*'}], role: r}")
        + doc("ServiceRole", "r", "{rules: [{services: ['*']}]}"),
    ),
    Case(
        "token-of-a-peer",
        "IST0119",
        "Policy shop/p",
        service("web", "[{name: web, port: 80}]") + doc("Policy", "p", _PEER),
        service("web", "[{name: dns, port: 53, protocol: UDP}]") + doc("Policy", "p", _PEER),
    ),
)
