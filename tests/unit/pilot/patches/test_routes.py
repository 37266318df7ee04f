"""Patches of route configurations, virtual hosts and routes (pilot.md K1 to K3)."""

# ruff: noqa: UP031 - YAML is full of braces

from __future__ import annotations

from typing import Any

import pytest
from envoy.config.route.v3.route_pb2 import RouteConfiguration

from istio.networking.v1alpha3.envoy_filter_pb2 import EnvoyFilter
from mast.pilot.core.patches.conditions import Scene
from mast.pilot.core.patches.record import Record
from mast.pilot.core.patches.routes import patched_routes
from tests.support.envoy_patches import envoy_message, patches, plain

ROUTES = """
name: NAME
virtual_hosts:
- name: web:80
  domains: [web.com, web]
  routes:
  - {name: first, match: {prefix: /a}, route: {cluster: a}}
  - {name: moved, match: {prefix: /b}, redirect: {host_redirect: b}}
  - {name: fixed, match: {prefix: /c}, direct_response: {status: 200}}
- name: allow_any
  domains: ["*"]
"""
OUTBOUND = Scene(EnvoyFilter.SIDECAR_OUTBOUND)
GATEWAY = Scene(EnvoyFilter.GATEWAY)


def patched(text: str, name: str = "80", scene: Scene = OUTBOUND) -> tuple[Any, Record]:
    record = Record()
    message = envoy_message(RouteConfiguration, ROUTES.replace("NAME", f"'{name}'"))
    return plain(patched_routes(message, patches(text), scene, record)), record


@pytest.mark.parametrize(
    ("name", "scene", "match", "hit"),
    [
        pytest.param("80", OUTBOUND, "{}", True, id="everything"),
        pytest.param("80", OUTBOUND, "{name: '80'}", True, id="name"),
        pytest.param("80", OUTBOUND, "{name: '81'}", False, id="other-name"),
        pytest.param("80", OUTBOUND, "{portNumber: 80}", True, id="port"),
        pytest.param("80", OUTBOUND, "{portNumber: 81}", False, id="other-port"),
        pytest.param("web.com:80", OUTBOUND, "{portNumber: 80}", True, id="port-of-host"),
        pytest.param("inbound|80||", OUTBOUND, "{portNumber: 80}", True, id="inbound-port"),
        pytest.param("http_proxy", OUTBOUND, "{portNumber: 80}", False, id="no-port"),
        pytest.param("http.80", GATEWAY, "{portNumber: 80}", True, id="gateway-port"),
        pytest.param("http.8080", Scene(EnvoyFilter.GATEWAY, {8080: frozenset({80})}),
                     "{portNumber: 80}", True, id="service-port"),
        pytest.param("http.8080", Scene(EnvoyFilter.GATEWAY, {8080: frozenset({80})}),
                     "{portNumber: 8080}", False, id="target-port-behind-a-service"),
        pytest.param("https.443.tls.gw.shop", GATEWAY, "{portName: tls}", True, id="port-name"),
        pytest.param("https.443.tls.gw.shop", GATEWAY, "{portName: x}", False,
                     id="other-port-name"),
        pytest.param("https.443.tls.gw.shop", GATEWAY, "{gateway: shop/gw}", True, id="gateway"),
        pytest.param("https.443.tls.gw.shop", GATEWAY, "{gateway: shop/x}", False,
                     id="other-gateway"),
        pytest.param("http.80", GATEWAY, "{gateway: shop/gw}", False, id="http-has-no-gateway"),
    ],
)  # fmt: skip
def test_match_of_configurations(name: str, scene: Scene, match: str, hit: bool) -> None:
    made, record = patched(
        "[{applyTo: ROUTE_CONFIGURATION, match: {routeConfiguration: %s}, patch:"
        " {operation: MERGE, value: {request_headers_to_remove: [x]}}}]" % match,
        name,
        scene,
    )
    assert ("request_headers_to_remove" in made) is hit
    assert bool(record.applied) is hit


def test_a_removed_configuration_stays_without_hosts() -> None:
    made, _ = patched("[{applyTo: ROUTE_CONFIGURATION, patch: {operation: REMOVE}}]")
    assert made == {"name": "80"}


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        pytest.param("{}", ["web:80", "allow_any"], id="everything"),
        pytest.param("{vhost: {name: 'web:80'}}", ["web:80"], id="name"),
        pytest.param("{vhost: {domainName: '*'}}", ["allow_any"], id="domain"),
        pytest.param("{vhost: {name: x}}", [], id="nobody"),
    ],
)
def test_match_of_virtual_hosts(match: str, expected: list[str]) -> None:
    made, _ = patched(
        "[{applyTo: VIRTUAL_HOST, match: {routeConfiguration: %s}, patch: {operation: MERGE,"
        " value: {include_request_attempt_count: true}}}]" % match
    )
    hosts = made["virtual_hosts"]
    found = [each["name"] for each in hosts if "include_request_attempt_count" in each]
    assert found == expected


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        pytest.param("ADD", ["web:80", "allow_any", "new"], id="add"),
        pytest.param("INSERT_FIRST", ["web:80", "allow_any", "new"], id="insert-is-add"),
        pytest.param("REMOVE", ["allow_any"], id="remove"),
        pytest.param("REPLACE", ["new", "allow_any"], id="replace"),
        pytest.param("MERGE", ["new", "allow_any"], id="merge"),
    ],
)
def test_operations_on_virtual_hosts(operation: str, expected: list[str]) -> None:
    value = "" if operation == "REMOVE" else ", value: {name: new, domains: [new]}"
    made, record = patched(
        "[{applyTo: VIRTUAL_HOST, match: {routeConfiguration: {vhost: {name: 'web:80'}}},"
        f" patch: {{operation: {operation}{value}}}}}]"
    )
    assert [each["name"] for each in made["virtual_hosts"]] == expected
    assert record.applied


ALL = ["first", "moved", "fixed"]


@pytest.mark.parametrize(
    ("operation", "route", "expected"),
    [
        pytest.param("ADD", "", [*ALL, "new"], id="add"),
        pytest.param("INSERT_FIRST", "", ["new", *ALL], id="first"),
        pytest.param("INSERT_FIRST", "{name: fixed}", ["new", *ALL], id="first-if-there"),
        pytest.param("INSERT_FIRST", "{name: x}", ALL, id="first-if-not-there"),
        pytest.param("INSERT_BEFORE", "{name: moved}", ["first", "new", "moved", "fixed"],
                     id="before"),
        pytest.param("INSERT_BEFORE", "", ["new", *ALL], id="before-anything"),
        pytest.param("INSERT_BEFORE", "{name: x}", ALL, id="before-nobody"),
        pytest.param("INSERT_AFTER", "{action: REDIRECT}", ["first", "moved", "new", "fixed"],
                     id="after-a-redirect"),
        pytest.param("INSERT_AFTER", "", [*ALL, "new"], id="after-anything"),
        pytest.param("REMOVE", "{action: ROUTE}", ["moved", "fixed"], id="remove-a-route"),
        pytest.param("REMOVE", "{action: DIRECT_RESPONSE}", ["first", "moved"],
                     id="remove-a-response"),
        pytest.param("REMOVE", "{name: x}", ALL, id="remove-nobody"),
        pytest.param("REMOVE", "", [], id="remove-all"),
        pytest.param("MERGE", "{name: moved}", ["first", "new", "fixed"], id="merge"),
        pytest.param("MERGE", "{name: moved, action: ROUTE}", ALL, id="name-and-action"),
    ],
)  # fmt: skip
def test_operations_on_routes(operation: str, route: str, expected: list[str]) -> None:
    wanted = f", route: {route}" if route else ""
    value = "" if operation == "REMOVE" else ", value: {name: new}"
    made, record = patched(
        "[{applyTo: HTTP_ROUTE, match: {routeConfiguration: {vhost: {name: 'web:80'%s}}},"
        " patch: {operation: %s%s}}]" % (wanted, operation, value)
    )
    assert [each["name"] for each in made["virtual_hosts"][0].get("routes", ())] == expected
    assert bool(record.applied) is (expected != ALL)


def test_a_route_is_merged_header_by_header() -> None:
    made, _ = patched(
        "[{applyTo: HTTP_ROUTE, match: {routeConfiguration: {vhost: {route: {name: first}}}},"
        " patch: {operation: MERGE, value: {route: {timeout: 3s}, request_headers_to_add:"
        " [{header: {key: a, value: b}}]}}}]"
    )
    route = made["virtual_hosts"][0]["routes"][0]
    assert route["route"] == {"cluster": "a", "timeout": "3s"}
    assert route["request_headers_to_add"] == [{"header": {"key": "a", "value": "b"}}]
