"""What roles allow, as RBAC permissions (pilot.md J7)."""

from typing import Any

import pytest
import yaml
from google.protobuf.json_format import MessageToDict, ParseDict

from istio.rbac.v1alpha1.rbac_pb2 import AccessRule
from mast.pilot.core.security.authorization.rules import Carrier
from mast.pilot.core.security.legacy.permissions import permission
from tests.support.legacy_objects import HOST, destination

ANYTHING: dict[str, Any] = {"any": True}
HTTP, TCP = Carrier.HTTP, Carrier.TCP


def rendered(rule: str, carrier: Carrier = HTTP, **known: Any) -> dict[str, Any] | None:
    """The permission of a rule for the service `web`."""
    spec = {"services": ["*"], **yaml.safe_load(rule)}
    found = permission(
        ParseDict(spec, AccessRule()), "shop", destination(**known), "cluster.local", carrier
    )
    made: dict[str, Any] | None = MessageToDict(found) if found is not None else None
    return made


def header(name: str, **matcher: Any) -> dict[str, Any]:
    return {"header": {"name": name, "stringMatch": matcher}}


def path(**matcher: Any) -> dict[str, Any]:
    return {"urlPath": {"path": matcher}}


def one_of(*found: dict[str, Any]) -> dict[str, Any]:
    return {"orRules": {"rules": [*found]}}


def negated(found: dict[str, Any]) -> dict[str, Any]:
    return {"notRule": found}


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        pytest.param("{}", ANYTHING, id="everything"),
        pytest.param("{services: [web]}", ANYTHING, id="its-service"),
        pytest.param("{services: [a, b]}", None, id="other-services"),
        pytest.param("{methods: [GET]}", header(":method", exact="GET"), id="method"),
        pytest.param(
            "{notMethods: [PUT, 'P*']}",
            negated(one_of(header(":method", exact="PUT"), header(":method", prefix="P"))),
            id="not-methods",
        ),
        pytest.param("{paths: [/a]}", path(exact="/a"), id="path"),
        pytest.param("{paths: ['/a*']}", path(prefix="/a"), id="path-prefix"),
        pytest.param("{paths: ['*.css']}", path(suffix=".css"), id="path-suffix"),
        pytest.param("{paths: ['/{*}']}", path(exact="/{*}"), id="no-templates"),
        pytest.param("{notPaths: [/a]}", negated(path(exact="/a")), id="not-paths"),
        pytest.param(
            "{hosts: [A.b]}", header(":authority", exact="A.b", ignoreCase=True), id="host"
        ),
        pytest.param(
            "{notHosts: ['*.b']}",
            negated(header(":authority", suffix=".b", ignoreCase=True)),
            id="not-hosts",
        ),
        pytest.param(
            "{ports: [80, 81]}",
            one_of({"destinationPort": 80}, {"destinationPort": 81}),
            id="ports",
        ),
        pytest.param("{notPorts: [80]}", negated({"destinationPort": 80}), id="not-ports"),
        pytest.param(
            "{methods: [GET], paths: [/a]}",
            {"andRules": {"rules": [header(":method", exact="GET"), path(exact="/a")]}},
            id="all-fields",
        ),
    ],
)
def test_fields(rule: str, expected: dict[str, Any] | None) -> None:
    assert rendered(rule) == expected


@pytest.mark.parametrize(
    ("key", "values", "expected"),
    [
        pytest.param(
            "destination.ip",
            "[10.0.0.0/8]",
            {"destinationIp": {"addressPrefix": "10.0.0.0", "prefixLen": 8}},
            id="ip",
        ),
        pytest.param("destination.port", "['80']", {"destinationPort": 80}, id="port"),
        pytest.param(
            "connection.sni", "['*.b']", {"requestedServerName": {"suffix": ".b"}}, id="sni"
        ),
        pytest.param("request.headers[X-A]", "[b]", header("x-a", exact="b"), id="header"),
        pytest.param(
            "request.headers[x]", "['*']", {"header": {"name": "x", "presentMatch": True}}, id="any"
        ),
        pytest.param("destination.name", "[web]", ANYTHING, id="name"),
        pytest.param("destination.name", "[other]", None, id="other-name"),
        pytest.param("destination.namespace", "['s*']", ANYTHING, id="namespace"),
        pytest.param("destination.namespace", "[other]", None, id="other-namespace"),
        pytest.param("destination.user", "[web]", ANYTHING, id="user"),
        pytest.param("destination.user", "[other]", None, id="other-user"),
        pytest.param("destination.labels[app]", "[x, web]", ANYTHING, id="label"),
        pytest.param("destination.labels[app]", "[x]", None, id="other-label"),
        pytest.param("destination.labels[none]", "['*']", None, id="no-label"),
        pytest.param("destination.none", "['*']", None, id="no-such-fact"),
        pytest.param("destination.ip", "[x]", None, id="no-address"),
        pytest.param("source.ip", "[10.0.0.1]", None, id="no-constraint"),
        pytest.param("request.headers", "[a]", None, id="no-header"),
    ],
)
def test_constraints(key: str, values: str, expected: dict[str, Any] | None) -> None:
    rule = f"{{constraints: [{{key: '{key}', values: {values}}}]}}"
    assert rendered(rule) == expected


def test_metadata_of_filters() -> None:
    found = rendered("{constraints: [{key: 'experimental.envoy.filters.a.b[c]', values: ['[d]']}]}")
    assert found is not None
    matcher = found["sourcedMetadata"]["metadataMatcher"]
    assert (matcher["filter"], matcher["path"]) == ("envoy.filters.a.b", [{"key": "c"}])
    assert matcher["value"] == {"listMatch": {"oneOf": {"stringMatch": {"exact": "d"}}}}


def test_a_workload_without_account_is_no_user() -> None:
    assert rendered("{constraints: [{key: destination.user, values: ['*']}]}", user="") is None


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        pytest.param("{}", ANYTHING, id="everything"),
        pytest.param("{ports: [80]}", {"destinationPort": 80}, id="port"),
        pytest.param("{methods: [GET]}", None, id="methods"),
        pytest.param("{notMethods: [GET]}", None, id="not-methods"),
        pytest.param("{paths: [/a]}", None, id="paths"),
        pytest.param("{notHosts: [a]}", None, id="hosts"),
        pytest.param(
            "{constraints: [{key: 'request.headers[a]', values: [b]}]}", None, id="header"
        ),
        pytest.param(
            "{constraints: [{key: destination.name, values: [web]}]}", ANYTHING, id="name"
        ),
    ],
)
def test_what_is_about_requests_allows_no_connections(
    rule: str, expected: dict[str, Any] | None
) -> None:
    assert rendered(rule, TCP) == expected


def test_names_are_those_of_the_namespace_of_the_role() -> None:
    rule = AccessRule(services=["web"])
    args = (destination(), "cluster.local", HTTP)
    assert permission(rule, "shop", *args) is not None
    assert permission(rule, "istio-system", *args) is None
    assert permission(AccessRule(services=[HOST]), "istio-system", *args) is not None
