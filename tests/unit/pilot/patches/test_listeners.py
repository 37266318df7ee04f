"""Patches of listeners, chains and filters: every match and operation (pilot.md K1 to K3)."""

# ruff: noqa: UP031 - YAML is full of braces

from __future__ import annotations

from typing import Any

import pytest
from envoy.config.listener.v3.listener_pb2 import Listener

from istio.networking.v1alpha3.envoy_filter_pb2 import EnvoyFilter
from mast.pilot.core.patches.conditions import Scene
from mast.pilot.core.patches.listeners import patched_listener
from mast.pilot.core.patches.record import Record
from tests.support.envoy_patches import EXTENSIONS, envoy_message, patches, plain

HCM = "envoy.filters.network.http_connection_manager"
NETWORK = f"{EXTENSIONS}.filters.network"
HTTP = f"{EXTENSIONS}.filters.http"
LISTENER = f"""
name: NAME
address: {{socket_address: {{address: 10.0.0.1, port_value: 80}}}}
listener_filters:
- name: envoy.filters.listener.tls_inspector
- name: envoy.filters.listener.http_inspector
filter_chains:
- name: one
  filter_chain_match:
    destination_port: 80
    server_names: [a.com]
    transport_protocol: tls
    application_protocols: [h2, http/1.1]
  filters:
  - name: envoy.filters.network.rbac
    typed_config: {{"@type": {NETWORK}.rbac.v3.RBAC, stat_prefix: a}}
  - name: {HCM}
    typed_config:
      "@type": {NETWORK}.http_connection_manager.v3.HttpConnectionManager
      stat_prefix: in
      route_config: {{name: "inbound|80||", virtual_hosts: [{{name: v, domains: ["*"]}}]}}
      http_filters:
      - name: envoy.filters.http.jwt_authn
      - name: envoy.filters.http.grpc_stats
        typed_config: {{"@type": {HTTP}.grpc_stats.v3.FilterConfig, emit_filter_state: true}}
      - name: envoy.filters.http.router
        typed_config: {{"@type": {HTTP}.router.v3.Router}}
- name: two
  filter_chain_match: {{destination_port: 81}}
  filters:
  - name: envoy.filters.network.tcp_proxy
    typed_config: {{"@type": {NETWORK}.tcp_proxy.v3.TcpProxy, stat_prefix: t, cluster: c}}
default_filter_chain:
  name: rest
  filters:
  - name: envoy.filters.network.tcp_proxy
    typed_config: {{"@type": {NETWORK}.tcp_proxy.v3.TcpProxy, stat_prefix: r, cluster: r}}
"""
SCENE = Scene(EnvoyFilter.SIDECAR_INBOUND)
ECHO = "{name: new, typed_config: {'@type': %s.echo.v3.Echo}}" % NETWORK
LUA = "{name: new, typed_config: {'@type': %s.lua.v3.Lua}}" % HTTP


def patched(text: str, name: str = "10.0.0.1_80") -> tuple[Any, Record]:
    """The listener as JSON data, and what became of the patches."""
    record = Record()
    message = envoy_message(Listener, LISTENER.replace("NAME", name))
    result = patched_listener(message, patches(text), SCENE, record)
    return None if result is None else plain(result), record


def http_filters(listener: Any) -> list[Any]:
    """HTTP filters of the first chain."""
    (manager,) = (each for each in listener["filter_chains"][0]["filters"] if each["name"] == HCM)
    found: list[Any] = manager["typed_config"]["http_filters"]
    return found


def names(items: list[Any]) -> list[str]:
    """Their names without the usual prefixes."""
    return [each["name"].rpartition(".")[2] for each in items]


@pytest.mark.parametrize(
    ("name", "match", "hit"),
    [
        pytest.param("a", "{}", True, id="everything"),
        pytest.param("a", "{context: SIDECAR_INBOUND}", True, id="context"),
        pytest.param("a", "{context: SIDECAR_OUTBOUND}", False, id="other-context"),
        pytest.param("a", "{listener: {name: a}}", True, id="name"),
        pytest.param("a", "{listener: {name: b}}", False, id="other-name"),
        pytest.param("a", "{listener: {portNumber: 80}}", True, id="port"),
        pytest.param("a", "{listener: {portNumber: 81}}", False, id="other-port"),
        pytest.param("virtualInbound", "{listener: {portNumber: 81}}", False,
                     id="virtual-listener-has-its-own-port"),
    ],
)  # fmt: skip
def test_match_of_listeners(name: str, match: str, hit: bool) -> None:
    listener, record = patched(
        "[{applyTo: LISTENER, match: %s, patch: {operation: MERGE,"
        " value: {stat_prefix: x}}}]" % match,
        name,
    )
    assert listener.get("stat_prefix") == ("x" if hit else None)
    assert bool(record.applied) is hit


def test_a_listener_is_removed_or_replaced() -> None:
    assert patched("[{applyTo: LISTENER, patch: {operation: REMOVE}}]")[0] is None
    listener, _ = patched(
        "[{applyTo: LISTENER, patch: {operation: REPLACE, value: {name: other}}}]"
    )
    assert listener == {"name": "other"}


@pytest.mark.parametrize(
    ("operation", "match", "expected"),
    [
        pytest.param("ADD", "", ["tls_inspector", "http_inspector", "new"], id="add"),
        pytest.param("INSERT_FIRST", "", ["new", "tls_inspector", "http_inspector"], id="first"),
        pytest.param("INSERT_BEFORE", "envoy.filters.listener.http_inspector",
                     ["tls_inspector", "new", "http_inspector"], id="before"),
        pytest.param("INSERT_BEFORE", "", ["new", "tls_inspector", "http_inspector"],
                     id="before-anything"),
        pytest.param("INSERT_BEFORE", "nobody", ["tls_inspector", "http_inspector"],
                     id="before-nobody"),
        pytest.param("INSERT_AFTER", "envoy.listener.tls_inspector",
                     ["tls_inspector", "new", "http_inspector"], id="after-an-old-name"),
        pytest.param("INSERT_AFTER", "", ["tls_inspector", "http_inspector", "new"],
                     id="after-anything"),
        pytest.param("REPLACE", "envoy.filters.listener.tls_inspector", ["new", "http_inspector"],
                     id="replace"),
        pytest.param("REPLACE", "", ["tls_inspector", "http_inspector"], id="replace-nobody"),
        pytest.param("REMOVE", "envoy.filters.listener.tls_inspector", ["http_inspector"],
                     id="remove"),
        pytest.param("REMOVE", "", ["tls_inspector", "http_inspector"], id="remove-nobody"),
    ],
)  # fmt: skip
def test_operations_on_listener_filters(operation: str, match: str, expected: list[str]) -> None:
    wanted = "{listener: {listenerFilter: %s}}" % match if match else "{}"
    value = "" if operation == "REMOVE" else ", value: {name: new}"
    listener, record = patched(
        f"[{{applyTo: LISTENER_FILTER, match: {wanted}, patch: {{operation: {operation}{value}}}}}]"
    )
    assert names(listener["listener_filters"]) == expected
    assert bool(record.applied) is (expected != ["tls_inspector", "http_inspector"])


def test_a_listener_filter_is_merged() -> None:
    listener, _ = patched(
        "[{applyTo: LISTENER_FILTER, match: {listener: {listenerFilter:"
        " envoy.filters.listener.http_inspector}}, patch: {operation: MERGE,"
        " value: {filter_disabled: {any_match: true}}}}]"
    )
    assert "filter_disabled" not in listener["listener_filters"][0]
    assert listener["listener_filters"][1]["filter_disabled"] == {"any_match": True}


@pytest.mark.parametrize(
    ("listener", "match", "expected"),
    [
        pytest.param("a", "{}", ["one", "two", "rest"], id="everything"),
        pytest.param("a", "{listener: {filterChain: {name: two}}}", ["two"], id="name"),
        pytest.param("a", "{listener: {filterChain: {sni: a.com}}}", ["one"], id="sni"),
        pytest.param("a", "{listener: {filterChain: {sni: b.com}}}", [], id="other-sni"),
        pytest.param("a", "{listener: {filterChain: {transportProtocol: tls}}}", ["one"],
                     id="transport"),
        pytest.param("a", "{listener: {filterChain: {applicationProtocols: 'http/1.1,h2'}}}",
                     ["one"], id="protocols"),
        pytest.param("a", "{listener: {filterChain: {applicationProtocols: 'h2,h3'}}}", [],
                     id="one-protocol-too-many"),
        pytest.param("a", "{listener: {filterChain: {destinationPort: 81}}}", ["two"], id="port"),
        pytest.param("virtualInbound", "{listener: {portNumber: 81}}", ["two"],
                     id="port-of-virtual-listener"),
        pytest.param("a", "{listener: {portNumber: 81}}", [], id="port-of-another-listener"),
    ],
)  # fmt: skip
def test_match_of_chains(listener: str, match: str, expected: list[str]) -> None:
    made, _ = patched(
        "[{applyTo: FILTER_CHAIN, match: %s, patch: {operation: MERGE,"
        " value: {transport_socket_connect_timeout: 3s}}}]" % match,
        listener,
    )
    chains = [*made["filter_chains"], made["default_filter_chain"]]
    found = [each["name"] for each in chains if "transport_socket_connect_timeout" in each]
    assert found == expected


@pytest.mark.parametrize(
    ("operation", "value", "expected"),
    [
        pytest.param("ADD", "{name: three}", ["one", "two", "three"], id="add"),
        pytest.param("INSERT_FIRST", "{name: three}", ["one", "two", "three"],
                     id="insert-is-add"),
        pytest.param("REMOVE", "", ["one"], id="remove"),
        pytest.param("REPLACE", "{name: three}", ["one", "three"], id="replace"),
        pytest.param("MERGE", "{name: three}", ["one", "three"], id="merge"),
    ],
)  # fmt: skip
def test_operations_on_chains(operation: str, value: str, expected: list[str]) -> None:
    made, record = patched(
        "[{applyTo: FILTER_CHAIN, match: {listener: {filterChain: {name: two}}},"
        f" patch: {{operation: {operation}{', value: ' + value if value else ''}}}}}]"
    )
    assert names(made["filter_chains"]) == expected
    assert record.applied


def test_the_default_chain_may_be_removed() -> None:
    made, _ = patched(
        "[{applyTo: FILTER_CHAIN, match: {listener: {filterChain: {name: rest}}},"
        " patch: {operation: REMOVE}}]"
    )
    assert "default_filter_chain" not in made


RBAC = "envoy.filters.network.rbac"
BEFORE = ["rbac", "http_connection_manager"]


@pytest.mark.parametrize(
    ("operation", "match", "expected"),
    [
        pytest.param("ADD", "", [*BEFORE, "new"], id="add"),
        pytest.param("INSERT_FIRST", "", ["new", *BEFORE], id="first"),
        pytest.param("INSERT_BEFORE", "envoy.http_connection_manager",
                     ["rbac", "new", "http_connection_manager"], id="before-an-old-name"),
        pytest.param("INSERT_BEFORE", "", ["new", *BEFORE], id="before-anything"),
        pytest.param("INSERT_BEFORE", "x", BEFORE, id="before-nobody"),
        pytest.param("INSERT_AFTER", RBAC, ["rbac", "new", "http_connection_manager"], id="after"),
        pytest.param("INSERT_AFTER", "", [*BEFORE, "new"], id="after-anything"),
        pytest.param("INSERT_AFTER", "x", BEFORE, id="after-nobody"),
        pytest.param("REPLACE", RBAC, ["new", "http_connection_manager"], id="replace"),
        pytest.param("REPLACE", "x", BEFORE, id="replace-nobody"),
        pytest.param("REMOVE", RBAC, ["http_connection_manager"], id="remove"),
        pytest.param("REMOVE", "", BEFORE, id="remove-nothing"),
    ],
)  # fmt: skip
def test_operations_on_network_filters(operation: str, match: str, expected: list[str]) -> None:
    chain = f"name: one, filter: {{name: {match}}}" if match else "name: one"
    value = "" if operation == "REMOVE" else f", value: {ECHO}"
    made, record = patched(
        f"[{{applyTo: NETWORK_FILTER, match: {{listener: {{filterChain: {{{chain}}}}}}},"
        f" patch: {{operation: {operation}{value}}}}}]"
    )
    assert names(made["filter_chains"][0]["filters"]) == expected
    assert names(made["filter_chains"][1]["filters"]) == ["tcp_proxy"]
    assert bool(record.applied) is (expected != BEFORE)


MERGE_MANAGER = (
    "[{applyTo: NETWORK_FILTER, match: {listener: {filterChain: {filter: {name: %s}}}},"
    " patch: {operation: MERGE, value: {typed_config: {'@type':"
    f" {NETWORK}.http_connection_manager.v3.HttpConnectionManager,"
    " stream_idle_timeout: 9s}}}}]"
)


def test_settings_of_a_network_filter_are_merged_inside() -> None:
    made, record = patched(MERGE_MANAGER % HCM)
    manager = made["filter_chains"][0]["filters"][1]["typed_config"]
    assert (manager["stat_prefix"], manager["stream_idle_timeout"]) == ("in", "9s")
    assert not record.skipped


def test_settings_of_another_type_are_told() -> None:
    made, record = patched(MERGE_MANAGER % RBAC)
    assert made["filter_chains"][0]["filters"][0]["typed_config"]["stat_prefix"] == "a"
    (skipped,) = record.skipped.values()
    assert "is a envoy.extensions.filters.network.rbac.v3.RBAC, not a" in skipped.reason


def test_without_a_name_filters_of_the_type_are_merged() -> None:
    text = MERGE_MANAGER.replace("match: {listener: {filterChain: {filter: {name: %s}}}},", "")
    made, record = patched(text)
    assert made["filter_chains"][0]["filters"][1]["typed_config"]["stream_idle_timeout"] == "9s"
    assert not record.skipped


FILTERS = ["jwt_authn", "grpc_stats", "router"]


@pytest.mark.parametrize(
    ("operation", "match", "expected"),
    [
        pytest.param("ADD", "", [*FILTERS, "new"], id="add"),
        pytest.param("ADD, filterClass: AUTHN", "", ["jwt_authn", "new", *FILTERS[1:]],
                     id="add-after-authentication"),
        pytest.param("ADD, filterClass: AUTHZ", "", ["jwt_authn", "new", *FILTERS[1:]],
                     id="add-after-authorization"),
        pytest.param("ADD, filterClass: STATS", "", ["jwt_authn", "new", *FILTERS[1:]],
                     id="add-before-statistics"),
        pytest.param("INSERT_FIRST", "envoy.router", ["new", *FILTERS], id="first"),
        pytest.param("INSERT_BEFORE", "envoy.router", [*FILTERS[:2], "new", "router"],
                     id="before-an-old-name"),
        pytest.param("INSERT_BEFORE", "", ["new", *FILTERS], id="before-anything"),
        pytest.param("INSERT_BEFORE", "x", FILTERS, id="before-nobody"),
        pytest.param("INSERT_AFTER", "envoy.filters.http.jwt_authn",
                     ["jwt_authn", "new", *FILTERS[1:]], id="after"),
        pytest.param("INSERT_AFTER", "", [*FILTERS, "new"], id="after-anything"),
        pytest.param("REPLACE", "envoy.filters.http.grpc_stats", ["jwt_authn", "new", "router"],
                     id="replace"),
        pytest.param("REPLACE", "", FILTERS, id="replace-nobody"),
        pytest.param("REMOVE", "envoy.filters.http.grpc_stats", ["jwt_authn", "router"],
                     id="remove"),
        pytest.param("REMOVE", "", FILTERS, id="remove-nothing"),
    ],
)  # fmt: skip
def test_operations_on_http_filters(operation: str, match: str, expected: list[str]) -> None:
    wanted = "{name: %s, subFilter: {name: %s}}" % (HCM, match) if match else "{name: %s}" % HCM
    value = "" if operation == "REMOVE" else f", value: {LUA}"
    made, record = patched(
        f"[{{applyTo: HTTP_FILTER, match: {{listener: {{filterChain: {{filter: {wanted}}}}}}},"
        f" patch: {{operation: {operation}{value}}}}}]"
    )
    assert names(http_filters(made)) == expected
    assert bool(record.applied) is (expected != FILTERS)


def test_an_http_filter_is_merged_inside() -> None:
    made, _ = patched(
        "[{applyTo: HTTP_FILTER, match: {listener: {filterChain: {filter: {name: %s,"
        " subFilter: {name: envoy.filters.http.grpc_stats}}}}}, patch: {operation: MERGE, value:"
        " {name: envoy.filters.http.grpc_stats, typed_config: {'@type': %s.grpc_stats.v3."
        "FilterConfig, stats_for_all_methods: true}}}}]" % (HCM, HTTP)
    )
    assert http_filters(made)[1]["typed_config"] == {
        "@type": f"{HTTP}.grpc_stats.v3.FilterConfig",
        "emit_filter_state": True,
        "stats_for_all_methods": True,
    }


def test_what_is_inserted_can_be_merged() -> None:
    made, _ = patched(
        "[{applyTo: HTTP_FILTER, match: {listener: {filterChain: {filter: {name: %(hcm)s,"
        " subFilter: {name: new}}}}}, patch: {operation: MERGE, value: {typed_config: {'@type':"
        " %(http)s.lua.v3.Lua, stat_prefix: x}}}},"
        " {applyTo: HTTP_FILTER, patch: {operation: INSERT_FIRST, value: %(lua)s}}]"
        % {"hcm": HCM, "http": HTTP, "lua": LUA}
    )
    assert http_filters(made)[0]["typed_config"]["stat_prefix"] == "x"


def test_inline_routes_are_patched() -> None:
    made, record = patched(
        "[{applyTo: VIRTUAL_HOST, match: {context: SIDECAR_INBOUND, routeConfiguration:"
        " {portNumber: 80}}, patch: {operation: MERGE, value: {include_request_attempt_count:"
        " true}}}]"
    )
    manager = made["filter_chains"][0]["filters"][1]["typed_config"]
    host = manager["route_config"]["virtual_hosts"][0]
    assert host["include_request_attempt_count"] is True
    assert record.applied


TLS = "{name: tls, typed_config: {'@type': %s.transport_sockets.tls.v3.DownstreamTlsContext%s}}"


def test_the_transport_socket_of_a_chain_is_merged_inside() -> None:
    change = "[{applyTo: FILTER_CHAIN, match: {listener: {filterChain: {name: one}}},"
    change += " patch: {operation: MERGE, value: {transport_socket: %s}}}]"
    first = change % (TLS % (EXTENSIONS, ", require_sni: true"))
    second = change % (TLS % (EXTENSIONS, ", disable_stateful_session_resumption: true"))
    made, _ = patched(first[:-1] + ", " + second[1:])
    socket = made["filter_chains"][0]["transport_socket"]["typed_config"]
    assert (socket["require_sni"], socket["disable_stateful_session_resumption"]) == (True, True)
    assert "transport_socket" not in made["filter_chains"][1]


def test_a_filter_without_settings_takes_none() -> None:
    value = "{typed_config: {'@type': %s.lua.v3.Lua}}" % HTTP
    _, record = patched(
        "[{applyTo: HTTP_FILTER, match: {listener: {filterChain: {filter: {name: %s, subFilter:"
        " {name: envoy.filters.http.jwt_authn}}}}}, patch: {operation: MERGE, value: %s}}]"
        % (HCM, value)
    )
    (skipped,) = record.skipped.values()
    assert "has no typed_config to merge into" in skipped.reason
