"""Rules of AuthorizationPolicies as RBAC policies, and what cannot be one (pilot.md J4, J5)."""

from collections.abc import Sequence
from typing import Any

import pytest
import yaml
from envoy.config.rbac.v3.rbac_pb2 import RBAC, Permission, Policy
from google.protobuf.json_format import ParseDict

from istio.security.v1beta1.authorization_policy_pb2 import Rule
from mast.pilot.core.security.authorization import permissions as asked
from mast.pilot.core.security.authorization import principals as asking
from mast.pilot.core.security.authorization.rules import (
    Action,
    Carrier,
    Place,
    Translation,
    never,
    translated,
)

ALLOW, DENY, LOG = RBAC.ALLOW, RBAC.DENY, RBAC.LOG
HTTP, TCP, GRPC = Carrier.HTTP, Carrier.TCP, Carrier.GRPC


def made(text: str, action: Action = ALLOW, carrier: Carrier = HTTP) -> Translation:
    rule = ParseDict(yaml.safe_load(text), Rule())
    place = Place(carrier=carrier, namespace="shop", trust_domains=("cluster.local", "old"))
    return translated(rule, action, place)


def policy(permission: Any = None, principal: Any = None) -> Policy:
    return Policy(
        permissions=[permission or asked.anything()], principals=[principal or asking.anything()]
    )


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        pytest.param("{}", policy(), id="anything"),
        pytest.param(
            "{to: [{operation: {methods: [GET, PUT], notPorts: ['80']}}]}",
            policy(
                asked.all_of(
                    [
                        asked.any_of([asked.method("GET"), asked.method("PUT")]),
                        asked.negated(asked.destination_port("80")),
                    ]
                )
            ),
            id="or-in-a-list-and-between-fields",
        ),
        pytest.param(
            "{to: [{operation: {hosts: [a], paths: [/a]}}, {operation: {notPaths: [/b]}}]}",
            Policy(
                permissions=[
                    asked.all_of([asked.host("a"), asked.path("/a")]),
                    asked.negated(asked.path("/b")),
                ],
                principals=[asking.anything()],
            ),
            id="or-between-operations",
        ),
        pytest.param(
            "{from: [{source: {namespaces: [a]}}, {source: {notIpBlocks: [10.0.0.1]}}],"
            " when: [{key: 'request.headers[X-A]', values: [b]},"
            " {key: destination.ip, notValues: [10.0.0.2]}]}",
            Policy(
                permissions=[asked.negated(asked.destination_ip("10.0.0.2"))],
                principals=[
                    asking.all_of([asking.namespace("a"), asking.header("x-a", "b")]),
                    asking.all_of(
                        [
                            asking.negated(asking.source_ip("10.0.0.1")),
                            asking.header("x-a", "b"),
                        ]
                    ),
                ],
            ),
            id="conditions-join-every-source",
        ),
        pytest.param(
            "{from: [{source: {principals: [cluster.local/ns/a/sa/b]}}]}",
            policy(
                principal=asking.any_of(
                    [asking.identity(f"{each}/ns/a/sa/b") for each in ("cluster.local", "old")]
                )
            ),
            id="identities-of-all-trust-domains",
        ),
        pytest.param(
            "{from: [{source: {serviceAccounts: [a, b/c.d]}}]}",
            policy(
                principal=asking.any_of(
                    [asking.service_account("shop", "a"), asking.service_account("b", "c.d")]
                )
            ),
            id="service-accounts-of-the-own-namespace",
        ),
        pytest.param(
            "{from: [{source: {requestPrincipals: ['*'], trustDomains: [a],"
            " remoteIpBlocks: [10.0.0.1]}}]}",
            policy(
                principal=asking.all_of(
                    [
                        asking.request_principal("*"),
                        asking.trust_domain("a"),
                        asking.remote_ip("10.0.0.1"),
                    ]
                )
            ),
            id="other-fields-of-sources",
        ),
    ],
)
def test_translated(rule: str, expected: Policy) -> None:
    assert made(rule) == Translation(policy=expected)


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        pytest.param("source.ip", "10.0.0.1", asking.source_ip("10.0.0.1"), id="source-ip"),
        pytest.param("remote.ip", "10.0.0.1", asking.remote_ip("10.0.0.1"), id="remote-ip"),
        pytest.param("source.namespace", "a", asking.namespace("a"), id="namespace"),
        pytest.param("source.principal", "x/y", asking.identity("x/y"), id="principal"),
        pytest.param(
            "source.serviceAccount", "a", asking.service_account("shop", "a"), id="account"
        ),
        pytest.param("source.trustDomain", "a", asking.trust_domain("a"), id="trust-domain"),
        pytest.param("request.auth.principal", "a/b", asking.request_principal("a/b"), id="token"),
        pytest.param("request.auth.audiences", "a", asking.audience("a"), id="audience"),
        pytest.param("request.auth.presenter", "a", asking.presenter("a"), id="presenter"),
        pytest.param("request.auth.claims[a]", "b", asking.claim(["a"], "b"), id="claim"),
        pytest.param(
            "request.auth.claims[a][b.c]", "d", asking.claim(["a", "b.c"], "d"), id="nested-claim"
        ),
        pytest.param("request.headers[A]", "b", asking.header("a", "b"), id="header"),
        pytest.param("request.headers[:path]", "b", asking.header(":path", "b"), id="path"),
        pytest.param("destination.ip", "10.0.0.1", asked.destination_ip("10.0.0.1"), id="to-ip"),
        pytest.param("destination.port", "80", asked.destination_port("80"), id="port"),
        pytest.param("connection.sni", "a", asked.server_name("a"), id="sni"),
        pytest.param(
            "experimental.envoy.filters.a.b[k][l]",
            "[v]",
            asked.filter_metadata("envoy.filters.a.b", ["k", "l"], "[v]"),
            id="filter",
        ),
    ],
)  # fmt: skip
def test_conditions(key: str, value: str, expected: Any) -> None:
    about_what = isinstance(expected, Permission)
    own = policy(expected) if about_what else policy(principal=expected)
    assert made(f"{{when: [{{key: '{key}', values: ['{value}']}}]}}").policy == own


ON_PORT = policy(asked.destination_port("80"))
FROM_A = policy(principal=asking.namespace("a"))
FIELDS_OF_REQUESTS = [
    "to: [{operation: {ports: ['80'], paths: [/a]}}]",
    "to: [{operation: {ports: ['80'], notHosts: [a]}}]",
    "to: [{operation: {ports: ['80'], methods: [GET]}}]",
    "when: [{key: destination.port, values: ['80']}, {key: 'request.headers[a]', values: [b]}]",
]


@pytest.mark.parametrize(
    ("rule", "rest"),
    [
        *(pytest.param(each, ON_PORT, id=each) for each in FIELDS_OF_REQUESTS),
        pytest.param(
            "from: [{source: {namespaces: [a], requestPrincipals: [b/c]}}]", FROM_A, id="principals"
        ),
        pytest.param(
            "when: [{key: source.namespace, values: [a]}, {key: 'request.auth.claims[a]',"
            " values: [b]}]",
            FROM_A,
            id="claims",
        ),
        pytest.param("to: [{operation: {paths: [/a]}}]", policy(), id="nothing-else"),
    ],
)
def test_bytes_have_no_requests(rule: str, rest: Policy) -> None:
    """Rules that allow are dropped, others go without: it is nobody's mistake (pilot.md J5)."""
    assert made(f"{{{rule}}}", ALLOW, TCP) == Translation()
    for action in (DENY, LOG):
        assert made(f"{{{rule}}}", action, TCP) == Translation(policy=rest)


@pytest.mark.parametrize(
    "rule",
    [
        pytest.param("to: [{operation: {ports: ['80', x]}}]", id="port"),
        pytest.param("to: [{operation: {ports: ['80'], notPorts: [x]}}]", id="not-port"),
        pytest.param("to: [{operation: {paths: ['/{x}', /a]}}]", id="template"),
        pytest.param("from: [{source: {ipBlocks: [x]}}]", id="network"),
        pytest.param(f"from: [{{source: {{requestPrincipals: [{'/' * 33}]}}}}]", id="slashes"),
        pytest.param("when: [{key: source.nobody, values: [x]}]", id="key"),
        pytest.param("when: [{key: 'request.headers[a][b]', values: [x]}]", id="two-headers"),
        pytest.param("when: [{key: 'request.auth.claims', values: [x]}]", id="no-claim"),
        pytest.param("when: [{key: 'a[', values: [x]}]", id="brackets"),
        pytest.param("when: [{key: experimental.envoy.filters.a, values: [x]}]", id="filter"),
    ],
)
def test_what_cannot_be_used_allows_nothing_and_denies_more(rule: str) -> None:
    """Galley refuses such rules; if one is there it must not open anything, nor harm Envoy."""
    allowed, denied = made(f"{{{rule}}}", ALLOW), made(f"{{{rule}}}", DENY)
    assert allowed.policy is None
    assert denied.policy == policy()
    assert len(allowed.unusable) == len(denied.unusable) == 1


ONE_PART = "/a/{*}"
IN_DOUBT = asked.any_of([asked.path(ONE_PART), asked.path_by_regex(ONE_PART)])


@pytest.mark.parametrize(
    ("action", "values", "others"),
    [
        pytest.param(ALLOW, asked.path(ONE_PART), IN_DOUBT, id="allow"),
        pytest.param(DENY, IN_DOUBT, asked.path(ONE_PART), id="deny"),
        pytest.param(LOG, IN_DOUBT, asked.path(ONE_PART), id="audit"),
    ],
)
def test_templates_open_nothing(action: Action, values: Permission, others: Permission) -> None:
    """Characters that Envoy's operators do not cover are denied and not allowed."""
    found = made(f"{{to: [{{operation: {{paths: ['{ONE_PART}']}}}}]}}", action)
    assert found.policy == policy(values)
    found = made(f"{{to: [{{operation: {{notPaths: ['{ONE_PART}']}}}}]}}", action)
    assert found.policy == policy(asked.negated(others))


def test_only_the_field_is_left_out() -> None:
    rule = "{to: [{operation: {methods: [GET], ports: [x]}}], from: [{source: {namespaces: [a]}}]}"
    found = made(rule, DENY)
    assert found.policy == policy(asked.method("GET"), asking.namespace("a"))
    assert found.unusable == ["ports: 'x' is not a port; allowed: 0 to 65535"]


@pytest.mark.parametrize(
    ("rule", "rest", "unusable"),
    [
        pytest.param(
            "to: [{operation: {paths: ['/a.B/{*}']}}]",
            policy(asked.path_by_regex("/a.B/{*}")),
            [],
            id="templates-are-expressions",
        ),
        pytest.param(
            "from: [{source: {principals: [x/y], ipBlocks: [10.0.0.1]}}]",
            policy(principal=asking.all_of([asking.identity("x/y"), asking.source_ip("10.0.0.1")])),
            [],
            id="peers",
        ),
        pytest.param(
            "from: [{source: {requestPrincipals: ['*']}}]",
            policy(),
            ["requestPrincipals: it means nothing to gRPC without a proxy"],
            id="tokens",
        ),
        pytest.param(
            "when: [{key: connection.sni, values: [a]}]",
            policy(),
            ["connection.sni: it means nothing to gRPC without a proxy"],
            id="sni",
        ),
        pytest.param(
            "when: [{key: 'request.headers[grpc-timeout]', values: [a]}]",
            policy(),
            ["request.headers[grpc-timeout]: it means nothing to gRPC without a proxy"],
            id="its-own-headers",
        ),
        pytest.param(
            "when: [{key: 'request.headers[a]', values: [b]}]",
            policy(principal=asking.header("a", "b")),
            [],
            id="headers",
        ),
    ],
)
def test_servers_of_grpc(rule: str, rest: Policy, unusable: Sequence[str]) -> None:
    """What they know nothing of counts as what cannot be used, and is told (gRFC A41)."""
    assert made(f"{{{rule}}}", DENY, GRPC) == Translation(policy=rest, unusable=[*unusable])
    allowed = made(f"{{{rule}}}", ALLOW, GRPC)
    assert allowed == Translation(policy=None if unusable else rest, unusable=[*unusable])


def test_never() -> None:
    assert never() == policy(asked.nothing(), asking.nobody())
