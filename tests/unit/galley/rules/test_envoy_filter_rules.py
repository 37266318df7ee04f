"""EnvoyFilter: what is accepted, what Envoy would refuse, what has no effect (B2, pilot.md K1)."""

# ruff: noqa: UP031 - YAML is full of braces

from __future__ import annotations

import pytest

from mast.galley.core.judge import judge
from mast.galley.core.objects import Defaults, read_text
from tests.support.galley_rules import found

T = "'@type': type.googleapis.com/envoy.extensions"
LUA = "{%s.filters.http.lua.v3.Lua, default_source_code: {inline_string: x = 1}}" % T
VALUES = {
    "LISTENER": "{name: a, address: {pipe: {path: /a}}}",
    "LISTENER_FILTER": "{name: a, typed_config: {%s.filters.listener.original_dst.v3.OriginalDst}}"
    % T,
    "FILTER_CHAIN": "{filters: [{name: a, typed_config: {%s.filters.network.echo.v3.Echo}}]}" % T,
    "NETWORK_FILTER": "{name: a, typed_config: {%s.filters.network.echo.v3.Echo}}" % T,
    "HTTP_FILTER": "{name: a, typed_config: %s}" % LUA,
    "ROUTE_CONFIGURATION": "{name: a}",
    "VIRTUAL_HOST": "{name: a, domains: [a]}",
    "HTTP_ROUTE": "{match: {prefix: /}, direct_response: {status: 200}}",
    "CLUSTER": "{name: a, connect_timeout: 1s}",
    "EXTENSION_CONFIG": "{name: a, typed_config: %s}" % LUA,
    "BOOTSTRAP": "{stats_flush_interval: 1s}",
}
INSERTS = ["INSERT_BEFORE", "INSERT_AFTER", "INSERT_FIRST"]
EVERY = ["MERGE", "MERGE_AND_REPLACE_LIST", "ADD", "REMOVE", "REPLACE", *INSERTS]
REFUSED = {
    "ROUTE_CONFIGURATION": {"REPLACE"},
    "HTTP_ROUTE": {"REPLACE"},
    "CLUSTER": {"REPLACE"},
    "EXTENSION_CONFIG": {"MERGE", "MERGE_AND_REPLACE_LIST", "REMOVE", "REPLACE"},
    "BOOTSTRAP": set(EVERY) - {"MERGE"},
}
FILTERS = {"LISTENER_FILTER", "NETWORK_FILTER", "HTTP_FILTER"}


def patch_findings(patch: str) -> list[str]:
    """What is found in a patch: the path below it, errors without a word."""
    at = "spec.configPatches[0]"
    general, *rest = found("EnvoyFilter", "{configPatches: [%s]}" % patch)
    assert general == "warning spec envoy-filter"
    return [each.replace(f"{at}.", "").removeprefix("error ") for each in rest]


@pytest.mark.parametrize("operation", EVERY)
@pytest.mark.parametrize("apply_to", VALUES)
def test_what_may_be_done_to_what(apply_to: str, operation: str) -> None:
    value = "" if operation == "REMOVE" else f", value: {VALUES[apply_to]}"
    patch = "{applyTo: %s, patch: {operation: %s%s}}" % (apply_to, operation, value)
    expected = []
    if operation in REFUSED.get(apply_to, ()):
        expected = ["patch.operation operation"]
    elif operation in {"REPLACE", "REMOVE"} and apply_to in FILTERS:
        expected = ["warning match without-effect"]
    assert patch_findings(patch) == expected


MATCHES = {
    "listener": {"LISTENER", "FILTER_CHAIN", *FILTERS},
    "routeConfiguration": {"ROUTE_CONFIGURATION", "VIRTUAL_HOST", "HTTP_ROUTE"},
    "cluster": {"CLUSTER"},
}


@pytest.mark.parametrize("match", MATCHES)
@pytest.mark.parametrize("apply_to", VALUES)
def test_which_match_goes_with_what(apply_to: str, match: str) -> None:
    operation = "MERGE" if apply_to == "BOOTSTRAP" else "ADD"
    patch = "{applyTo: %s, match: {%s: {}}, patch: {operation: %s, value: %s}}"
    expected = [] if apply_to in MATCHES[match] else [f"match.{match} match"]
    assert patch_findings(patch % (apply_to, match, operation, VALUES[apply_to])) == expected


@pytest.mark.parametrize(
    ("patch", "expected"),
    [
        pytest.param("{patch: {operation: REMOVE}}", ["applyTo required"], id="no-target"),
        pytest.param("{applyTo: CLUSTER}", ["patch required"], id="no-patch"),
        pytest.param("{applyTo: CLUSTER, patch: {}}", ["patch.operation required"],
                     id="no-operation"),
        pytest.param("{applyTo: CLUSTER, patch: {operation: MERGE}}", ["patch.value required"],
                     id="no-value"),
        pytest.param("{applyTo: CLUSTER, patch: {operation: REMOVE, value: {}}}",
                     ["warning patch.value without-effect"], id="value-of-remove"),
        pytest.param("{applyTo: NETWORK_FILTER, patch: {operation: REMOVE}, match: {listener:"
                     " {filterChain: {filter: {}}}}}",
                     ["warning match without-effect",
                      "match.listener.filterChain.filter.name required"], id="filter-name"),
        pytest.param("{applyTo: HTTP_FILTER, patch: {operation: REMOVE}, match: {listener:"
                     " {filterChain: {filter: {name: envoy.tcp_proxy, subFilter: {name: a}}}}}}",
                     ["match.listener.filterChain.filter.subFilter match"], id="sub-filter"),
        pytest.param("{applyTo: HTTP_FILTER, patch: {operation: REMOVE}, match: {listener:"
                     " {filterChain: {filter: {name: envoy.http_connection_manager,"
                     " subFilter: {}}}}}}",
                     ["warning match without-effect",
                      "match.listener.filterChain.filter.subFilter.name required"],
                     id="sub-filter-name"),
        pytest.param("{applyTo: CLUSTER, patch: {operation: REMOVE},"
                     " match: {proxy: {proxyVersion: '('}}}",
                     ["match.proxy.proxyVersion regex"], id="proxy-version"),
        pytest.param("{applyTo: CLUSTER, patch: {operation: REMOVE},"
                     " match: {proxy: {proxyVersion: %s}}}" % ("a" * 1025),
                     ["warning match.proxy.proxyVersion regex"], id="long-proxy-version"),
        pytest.param("{applyTo: CLUSTER, patch: {operation: REMOVE},"
                     " match: {cluster: {portNumber: 70000}}}",
                     ["match.cluster.portNumber port"], id="port"),
        pytest.param("{applyTo: HTTP_ROUTE, patch: {operation: REMOVE}, match:"
                     " {context: SIDECAR_OUTBOUND, routeConfiguration: {gateway: a/b}}}",
                     ["warning match.routeConfiguration.gateway without-effect"],
                     id="gateway-of-sidecar"),
        pytest.param("{applyTo: LISTENER, patch: {operation: REMOVE},"
                     " match: {listener: {portName: http}}}",
                     ["warning match.listener.portName without-effect"], id="port-name"),
        pytest.param("{applyTo: CLUSTER, patch: {operation: REMOVE}, match: {context: WAYPOINT}}",
                     ["warning match.context without-effect"], id="waypoint"),
        pytest.param("{applyTo: CLUSTER, patch: {operation: ADD, filterClass: AUTHN, value: %s}}"
                     % VALUES["CLUSTER"], ["warning patch.filterClass without-effect"], id="class"),
        pytest.param("{applyTo: HTTP_FILTER, patch: {operation: ADD, filterClass: AUTHN,"
                     " value: %s}}" % VALUES["HTTP_FILTER"], [], id="class-of-filter"),
    ],
)  # fmt: skip
def test_patch(patch: str, expected: list[str]) -> None:
    assert sorted(patch_findings(patch)) == sorted(expected)


@pytest.mark.parametrize(
    ("apply_to", "operation", "value", "expected"),
    [
        pytest.param("CLUSTER", "ADD", "{name: a, nam: b}", ["nam unknown-field"], id="unknown"),
        pytest.param("CLUSTER", "ADD", "{name: 5}", ["name wrong-type"], id="wrong-type"),
        pytest.param("CLUSTER", "ADD", "{}", ["name required"], id="no-name"),
        pytest.param("HTTP_FILTER", "INSERT_FIRST", "{name: envoy.filters.http.lua}",
                     ["typed_config required"], id="no-type"),
        pytest.param("HTTP_FILTER", "MERGE", "{name: envoy.filters.http.lua}", [],
                     id="merge-needs-no-type"),
        pytest.param("FILTER_CHAIN", "MERGE", "{filters: [{name: envoy.filters.network.echo}]}",
                     ["filters[0].typed_config required"], id="no-type-within"),
        pytest.param("CLUSTER", "MERGE", "{}", [], id="merge-needs-no-name"),
        pytest.param("LISTENER", "ADD", "{}", ["name required"], id="listener-name"),
        pytest.param("CLUSTER", "MERGE", "{connect_timeout: 0s}", ["connect_timeout envoy-value"],
                     id="value-out-of-range"),
        pytest.param("CLUSTER", "MERGE", "{connect_timeout: 100ms}", [" wrong-type"],
                     id="go-duration"),
        pytest.param("CLUSTER", "MERGE", "{health_checks: [{}]}",
                     [f"health_checks[0]{each} envoy-value" for each in
                      ("", ".timeout", ".interval", ".unhealthy_threshold", ".healthy_threshold")],
                     id="items-are-complete"),
        pytest.param("CLUSTER", "MERGE", "{outlier_detection: {}}", [], id="parts-of-messages"),
        pytest.param("CLUSTER", "MERGE", "{type: DNS}", ["type wrong-type"], id="enum"),
        pytest.param("CLUSTER", "MERGE", "{dns_resolvers: [{pipe: {path: /a}}]}",
                     ["warning dns_resolvers deprecated"], id="deprecated-field"),
        pytest.param("VIRTUAL_HOST", "ADD", "{name: a}", ["domains envoy-value"], id="empty-list"),
        pytest.param("HTTP_ROUTE", "ADD", "{match: {safe_regex: {regex: '('}}, "
                     "direct_response: {status: 200}}", ["match.safe_regex.regex regex"],
                     id="regex"),
        pytest.param("HTTP_ROUTE", "ADD", "{match: {prefix: /}}", [" envoy-value"], id="no-action"),
        pytest.param("HTTP_ROUTE", "MERGE", "{route: {cluster: a, rate_limits: [{actions: ["
                     "{dynamic_metadata: {descriptor_key: a, metadata_key: {key: a,"
                     " path: [{key: a}]}}}]}]}}",
                     ["route.rate_limits[0].actions[0].dynamic_metadata envoy-value",
                      "warning route.rate_limits[0].actions[0].dynamic_metadata deprecated"],
                     id="disallowed"),
        pytest.param("HTTP_FILTER", "ADD", "{name: a, config: {}}", ["config typed-config"],
                     id="config-of-v2"),
        pytest.param("HTTP_FILTER", "ADD", "{name: a, typed_config: 5}",
                     ["typed_config wrong-type"], id="no-settings"),
        pytest.param("CLUSTER", "MERGE", "{metadata: {typed_filter_metadata: {a: {'@type':"
                     " type.googleapis.com/google.protobuf.StringValue, value: x}}}}", [],
                     id="well-known-type"),
        pytest.param("CLUSTER", "MERGE", "{metadata: {typed_filter_metadata: {a: {'@type':"
                     " type.googleapis.com/google.protobuf.StringValue, value: 5}}}}",
                     ["metadata.typed_filter_metadata.a wrong-type"], id="wrong-well-known-type"),
        pytest.param("CLUSTER", "MERGE", "{metadata: {typed_filter_metadata: {a: {'@type':"
                     " type.googleapis.com/envoy.extensions.filters.network.mysql_proxy.v3."
                     "MySQLProxy, stat_prefix: a}}}}",
                     ['metadata.typed_filter_metadata.a["@type"] unknown-type'],
                     id="contrib-is-unknown"),
        pytest.param("HTTP_FILTER", "ADD", "{name: a, typed_config: {}}",
                     ["typed_config typed-config"], id="no-type"),
        pytest.param("HTTP_FILTER", "ADD", "{name: a, typed_config: {'@type': a.b/istio.alpn}}",
                     ['typed_config["@type"] unknown-type'], id="unknown-type"),
        pytest.param("HTTP_FILTER", "ADD", "{name: envoy.lua, typed_config: %s}" % LUA,
                     ["warning name deprecated"], id="old-name"),
        pytest.param("HTTP_FILTER", "ADD", "{name: a, typed_config:"
                     " {%s.filters.network.echo.v3.Echo}}" % T, ["typed_config unknown-type"],
                     id="network-filter-as-http-filter"),
        pytest.param("HTTP_FILTER", "ADD", "{name: a, typed_config:"
                     " {%s.filters.http.lua.v3.LuaPerRoute, disabled: true}}" % T,
                     ["typed_config unknown-type"], id="settings-of-a-route"),
        pytest.param("HTTP_FILTER", "ADD", "{name: a, typed_config: {%s.filters.http.lua.v3.Lua,"
                     " source: x}}" % T, ["typed_config.source unknown-field"], id="inside-any"),
        pytest.param("HTTP_FILTER", "ADD", "{name: a, typed_config: {"
                     "'@type': type.googleapis.com/udpa.type.v1.TypedStruct, type_url:"
                     " type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua,"
                     " value: {stat_prefix: a}}}", [], id="typed-struct"),
        pytest.param("HTTP_FILTER", "ADD", "{name: a, typed_config: {"
                     "'@type': type.googleapis.com/udpa.type.v1.TypedStruct, type_url:"
                     " type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua,"
                     " value: {stat: a}}}", ["typed_config.value.stat unknown-field"],
                     id="inside-typed-struct"),
        pytest.param("HTTP_FILTER", "ADD", "{name: a, typed_config: {"
                     "'@type': type.googleapis.com/udpa.type.v1.TypedStruct, type_url: a/b.C}}",
                     ["typed_config.type_url unknown-type"], id="typed-struct-of-unknown"),
        pytest.param("HTTP_FILTER", "ADD", "{name: a, typed_config: {%s.filters.http.lua.v3.Lua,"
                     " default_source_code: {inline_string: 'function ('}}}" % T,
                     ["typed_config.default_source_code.inline_string lua"], id="lua"),
        pytest.param("LISTENER", "MERGE", "{access_log: [{name: a, filter: {extension_filter:"
                     " {name: b, typed_config: {%s.access_loggers.filters.cel.v3.ExpressionFilter,"
                     " expression: 'request.'}}}, typed_config: {%s.access_loggers.file.v3."
                     "FileAccessLog, path: /dev/null}}]}" % (T, T),
                     ["access_log[0].filter.extension_filter.typed_config.expression expression"],
                     id="cel"),
        pytest.param("CLUSTER", "MERGE", "{transport_socket: {name: a, typed_config:"
                     " {%s.filters.http.lua.v3.Lua}}}" % T,
                     ["transport_socket.typed_config unknown-type"], id="no-transport-socket"),
        pytest.param("CLUSTER", "MERGE", "{typed_extension_protocol_options: {a: {%s.upstreams."
                     "http.v3.HttpProtocolOptions, use_downstream_protocol_config: {}}}}" % T, [],
                     id="map-of-any"),
        pytest.param("CLUSTER", "MERGE", "{metadata: {filter_metadata: {a: {any: [1, x]}}}}", [],
                     id="free-form"),
        pytest.param("BOOTSTRAP", "MERGE", "{stats_config: {stats_tags: [{tag_name: a,"
                     " regex: '^((.+?)\\.)'}]}}", [], id="stats-tag"),
        pytest.param("NETWORK_FILTER", "MERGE", "{name: x, typed_config: {%s.filters.network."
                     "http_connection_manager.v3.HttpConnectionManager, stream_idle_timeout: 5s}}"
                     % T, [], id="part-of-connection-manager"),
        pytest.param("NETWORK_FILTER", "ADD", "{name: x, typed_config: {%s.filters.network."
                     "http_connection_manager.v3.HttpConnectionManager, stat_prefix: a}}"
                     % T, ["typed_config envoy-value"], id="whole-connection-manager"),
    ],
)  # fmt: skip
def test_value(apply_to: str, operation: str, value: str, expected: list[str]) -> None:
    patch = "{applyTo: %s, patch: {operation: %s, value: %s}}" % (apply_to, operation, value)
    at = "patch.value"
    full = [
        f"warning {at}.{each[8:]}" if each.startswith("warning ")
        else f"{at}{each if each[0] in ' [' else f'.{each}'}"
        for each in expected
    ]  # fmt: skip
    assert sorted(patch_findings(patch)) == sorted(full)


def test_problems_name_line_type_and_reason() -> None:
    text = """\
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: a, namespace: shop}
spec:
  configPatches:
  - applyTo: HTTP_FILTER
    patch:
      operation: INSERT_FIRST
      value:
        name: peer
        typed_config:
          "@type": type.googleapis.com/io.istio.http.peer_metadata.Config
"""
    problems = judge(read_text(text, "a.yaml", Defaults())).problems
    assert [str(each) for each in problems if each.rule == "unknown-type"] == [
        "a.yaml:12:11: error: EnvoyFilter shop/a: "
        'spec.configPatches[0].patch.value.typed_config["@type"]: '
        "'io.istio.http.peer_metadata.Config' is no message of Envoy's configuration [unknown-type]"
    ]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param("{workloadSelector: {labels: {a: b}}, targetRefs: [{kind: Gateway, name: a,"
                     " group: gateway.networking.k8s.io}]}",
                     ["error spec.workloadSelector one-of"], id="selector-and-targets"),
        pytest.param("{targetRefs: [{kind: Gateway, name: a, group: gateway.networking.k8s.io,"
                     " namespace: b}]}", ["error spec.targetRefs[0].namespace target-ref"],
                     id="target-elsewhere"),
        pytest.param("{workloadLabels: {a: b}, workloadSelector: {labels: {a: b}}}",
                     ["warning spec.workloadLabels deprecated", "error spec.workloadLabels one-of"],
                     id="both-selectors"),
        pytest.param("{priority: -5, configPatches: []}", [], id="priority"),
        pytest.param("{filters: [{filterName: envoy.lua, filterType: HTTP,"
                     " filterConfig: {inlineCode: 'x = 1'}}]}",
                     ["warning spec.filters deprecated",
                      "warning spec.filters[0].filterConfig.inline_code deprecated"], id="old"),
        pytest.param("{filters: [{filterName: envoy.echo, filterType: NETWORK, filterConfig: {},"
                     " listenerMatch: {portNamePrefix: a, listenerProtocol: TCP,"
                     " address: [10.0.0.1], listenerType: GATEWAY, portNumber: 80}}]}",
                     ["warning spec.filters deprecated",
                      *(f"warning spec.filters[0].listenerMatch.{each} without-effect"
                        for each in ("portNamePrefix", "listenerProtocol", "address"))],
                     id="old-match"),
        pytest.param("{filters: [{filterName: a}]}",
                     ["warning spec.filters deprecated",
                      "error spec.filters[0].filterType required"],
                     id="old-without-type"),
        pytest.param("{filters: [{filterType: HTTP}]}",
                     ["warning spec.filters deprecated",
                      "error spec.filters[0].filterName required"],
                     id="old-without-name"),
        pytest.param("{filters: [{filterType: HTTP, filterName: a}]}",
                     ["warning spec.filters deprecated",
                      "error spec.filters[0].filterName unknown-type"], id="old-unknown"),
        pytest.param("{filters: [{filterType: NETWORK, filterName: envoy.tcp_proxy}]}",
                     ["warning spec.filters deprecated",
                      "error spec.filters[0].filterConfig required"], id="old-without-settings"),
        pytest.param("{filters: [{filterType: NETWORK, filterName: envoy.echo,"
                     " filterConfig: {a: 1}, insertPosition: {index: BEFORE}}]}",
                     ["warning spec.filters deprecated",
                      "error spec.filters[0].filterConfig.a unknown-field",
                      "error spec.filters[0].insertPosition.relativeTo required"], id="old-wrong"),
    ],
)  # fmt: skip
def test_object(spec: str, expected: list[str]) -> None:
    general, *rest = found("EnvoyFilter", spec)
    assert general == "warning spec envoy-filter"
    assert sorted(rest) == sorted(expected)
