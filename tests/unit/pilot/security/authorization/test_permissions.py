"""Permissions of RBAC (pilot.md J4)."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from envoy.config.rbac.v3.rbac_pb2 import Permission
from google.protobuf.json_format import MessageToDict

from mast.pilot.core.security.authorization import permissions
from mast.pilot.core.security.authorization.values import Unusable

ANY = {"any": True}
TEMPLATE = "type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig"


def header(name: str, **matcher: Any) -> Mapping[str, Any]:
    return {"header": {"name": name, **matcher}}


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        pytest.param(permissions.anything(), ANY, id="anything"),
        pytest.param(permissions.nothing(), {"notRule": ANY}, id="nothing"),
        pytest.param(permissions.all_of([]), ANY, id="all-of-none"),
        pytest.param(permissions.any_of([]), {"notRule": ANY}, id="any-of-none"),
        pytest.param(permissions.all_of([permissions.anything()]), ANY, id="all-of-one"),
        pytest.param(
            permissions.all_of([permissions.anything()] * 2), {"andRules": {"rules": [ANY, ANY]}},
            id="all-of",
        ),
        pytest.param(
            permissions.any_of([permissions.anything()] * 2), {"orRules": {"rules": [ANY, ANY]}},
            id="any-of",
        ),
        pytest.param(permissions.negated(permissions.anything()), {"notRule": ANY}, id="not"),
        pytest.param(
            permissions.method("GET"), header(":method", stringMatch={"exact": "GET"}), id="method"
        ),
        pytest.param(
            permissions.method("*"), header(":method", presentMatch=True), id="any-method"
        ),
        pytest.param(
            permissions.host("*.a"),
            header(":authority", stringMatch={"suffix": ".a", "ignoreCase": True}),
            id="host",
        ),
        pytest.param(permissions.path("/a*"), {"urlPath": {"path": {"prefix": "/a"}}}, id="path"),
        pytest.param(
            permissions.path("/{*}/{**}"),
            {
                "uriTemplate": {
                    "name": "uri-template",
                    "typedConfig": {"@type": TEMPLATE, "pathTemplate": "/*/**"},
                }
            },
            id="template",
        ),
        pytest.param(
            permissions.path_by_regex("/a.b/{*}"),
            {"urlPath": {"path": {"safeRegex": {"regex": r"/a\.b/[^/]+"}}}},
            id="template-as-regex",
        ),
        pytest.param(
            permissions.path_of_any_characters("/a*"),
            {"urlPath": {"path": {"prefix": "/a"}}},
            id="no-template-at-all",
        ),
        pytest.param(
            permissions.path_by_regex("/a"),
            {"urlPath": {"path": {"exact": "/a"}}},
            id="no-template",
        ),
        pytest.param(
            permissions.destination_ip("10.0.0.0/8"),
            {"destinationIp": {"addressPrefix": "10.0.0.0", "prefixLen": 8}},
            id="destination-ip",
        ),
        pytest.param(permissions.destination_port("80"), {"destinationPort": 80}, id="port"),
        pytest.param(
            permissions.server_name("a*"), {"requestedServerName": {"prefix": "a"}}, id="sni"
        ),
    ],
)  # fmt: skip
def test_permission(made: Permission, expected: Mapping[str, Any]) -> None:
    assert MessageToDict(made) == expected


@pytest.mark.parametrize(
    ("pattern", "value"),
    [
        pytest.param("a", {"stringMatch": {"exact": "a"}}, id="text"),
        pytest.param("[a*]", {"listMatch": {"oneOf": {"stringMatch": {"prefix": "a"}}}}, id="list"),
    ],
)
def test_metadata_of_filters(pattern: str, value: Mapping[str, Any]) -> None:
    made = permissions.filter_metadata("envoy.filters.x", ["k", "l"], pattern)
    assert MessageToDict(made) == {
        "sourcedMetadata": {
            "metadataMatcher": {
                "filter": "envoy.filters.x",
                "path": [{"key": "k"}, {"key": "l"}],
                "value": value,
            }
        }
    }


@pytest.mark.parametrize(
    "build",
    [permissions.path, permissions.path_by_regex, permissions.path_of_any_characters],
)
@pytest.mark.parametrize("path", ["/a b/{*}", "/{**}/{*}", "/{x}"])
def test_no_template(build: Callable[[str], Permission], path: str) -> None:
    """Envoy would abort (pilot.md J4)."""
    with pytest.raises(Unusable):
        build(path)
