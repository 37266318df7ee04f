"""The bootstrap row by row, as the specification's table has it (citadel-and-agent.md B5, D11).

That all of it together passes ``--mode validate`` and makes an Envoy ready on empty answers is
shown by ``test_bootstrap.py::test_golden`` and by the integration tests of the agent.
"""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from istio.networking.v1alpha3.destination_rule_pb2 import ClientTLSSettings
from mast.agent.core import tls
from mast.agent.core.bootstrap import Places, as_json, bootstrap
from mast.agent.core.node import Surroundings, node
from mast.agent.core.proxy_config import merged

ENV = {
    "ISTIO_META_CLUSTER_ID": "c1",
    "ISTIO_META_MESH_ID": "m1",
    "ISTIO_META_NETWORK": "n1",
    "ISTIO_META_WORKLOAD_NAME": "reviews-v1",
    "ISTIO_META_OWNER": "kubernetes://apis/apps/v1/namespaces/shop/deployments/reviews-v1",
    "ISTIO_META_NODE_NAME": "host-1",
    "ISTIO_META_POD_PORTS": '[{"containerPort":9080}]',
    "ISTIO_META_APP_CONTAINERS": "reviews",
    "ISTIO_META_DNS_CAPTURE": "true",
}
SIDECAR: dict[str, Any] = {
    "hostname": "h",
    "instance_ip": "10.1.2.3",
    "pod_name": "reviews-1",
    "namespace": "shop",
    "service_account": "reviews",
    "labels": {"app": "reviews", "istio-locality": "eu.west.rack1"},
    "annotations": {"a": "b"},
}
HTTP_OPTIONS = (
    "typed_extension_protocol_options",
    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
)
HCM = ("filter_chains", 0, "filters", 0, "typed_config")


def made(
    *,
    proxy_config: dict[str, Any] | None = None,
    places: Places | None = None,
    exit_on_zero: bool = False,
    **changes: Any,
) -> dict[str, Any]:
    place = {**SIDECAR, "env": ENV, **changes}
    config = merged({"case": proxy_config or {}})
    chosen = places or Places(env=place["env"])
    result = bootstrap(
        node(Surroundings(**place), config), config, chosen, exit_on_zero=exit_on_zero
    )
    found: dict[str, Any] = json.loads(json.dumps(as_json(result)))
    return found


def at(found: Any, *path: str | int) -> Any:
    """The value at a path; in lists a text is the name of an item, or its port."""
    for step in path:
        if isinstance(found, list) and isinstance(step, str):
            (found,) = [each for each in found if step in {each.get("name"), _port(each)}]
        else:
            found = found[step]
    return found


def _port(item: dict[str, Any]) -> str:
    return str(item.get("address", {}).get("socket_address", {}).get("port_value"))


def cluster(name: str, *path: str | int) -> tuple[str | int, ...]:
    return ("static_resources", "clusters", name, *path)


def address(name: str) -> tuple[str | int, ...]:
    inside = ("load_assignment", "endpoints", 0, "lb_endpoints", 0, "endpoint", "address")
    return cluster(name, *inside)


def listener(port: str, *path: str | int) -> tuple[str | int, ...]:
    return ("static_resources", "listeners", port, *path)


THRESHOLD = {"max_connections": 100000, "max_pending_requests": 100000, "max_requests": 100000}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("node", "id"), "sidecar~10.1.2.3~reviews-1.shop~shop.svc.cluster.local"),
        (("node", "cluster"), "reviews.shop"),
        (("node", "locality"), {"region": "eu", "zone": "west", "sub_zone": "rack1"}),
        (("layered_runtime", "layers", 0, "name"), "global config"),
        (
            ("layered_runtime", "layers", 0, "static_layer"),
            {
                "re2.max_program_size.error_level": "32768",
                "envoy.reloadable_features.http_reject_path_with_fragment": False,
                "envoy.reloadable_features.fixed_heap_use_allocated": True,
                "envoy.reloadable_features.coalesce_lb_rebuilds_on_batch_update": False,
            },
        ),
        (("layered_runtime", "layers", 1, "admin_layer"), {}),
        (("bootstrap_extensions", 0, "typed_config", "buffer_size_kb"), 64),
        (("stats_config", "use_all_default_tags"), False),
        (("admin", "address", "socket_address"), {"address": "127.0.0.1", "port_value": 15000}),
        (("admin", "access_log", 0, "typed_config", "path"), "/dev/null"),
        (("admin", "profile_path"), "/var/lib/istio/data/envoy.prof"),
        (
            ("dynamic_resources", "lds_config"),
            {"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"},
        ),
        (("dynamic_resources", "ads_config", "api_type"), "DELTA_GRPC"),
        (("dynamic_resources", "ads_config", "transport_api_version"), "V3"),
        (("dynamic_resources", "ads_config", "set_node_on_first_message_only"), True),
        (
            ("dynamic_resources", "ads_config", "grpc_services"),
            [{"envoy_grpc": {"cluster_name": "xds-grpc"}}],
        ),
        (address("xds-grpc"), {"pipe": {"path": "./etc/istio/proxy/XDS"}}),
        (cluster("xds-grpc", "type"), "STATIC"),
        (cluster("xds-grpc", "connect_timeout"), "1s"),
        (
            cluster("xds-grpc", "circuit_breakers", "thresholds"),
            [THRESHOLD, {**THRESHOLD, "priority": "HIGH"}],
        ),
        (
            cluster("xds-grpc", "upstream_connection_options", "tcp_keepalive"),
            {"keepalive_time": 300},
        ),
        (
            cluster("xds-grpc", *HTTP_OPTIONS, "explicit_http_config"),
            {"http2_protocol_options": {}},
        ),
        (
            cluster("xds-grpc", *HTTP_OPTIONS, "common_http_protocol_options"),
            {"max_requests_per_connection": 1},
        ),
        (address("sds-grpc"), {"pipe": {"path": "./var/run/secrets/workload-spiffe-uds/socket"}}),
        (cluster("sds-grpc", "connect_timeout"), "1s"),
        (
            cluster("sds-grpc", *HTTP_OPTIONS, "explicit_http_config"),
            {"http2_protocol_options": {}},
        ),
        (
            address("prometheus_stats"),
            {"socket_address": {"address": "127.0.0.1", "port_value": 15000}},
        ),
        (address("agent"), {"socket_address": {"address": "127.0.0.1", "port_value": 15020}}),
        (cluster("agent", "connect_timeout"), "0.250s"),
        (cluster("prometheus_stats", "connect_timeout"), "0.250s"),
        *(
            (listener(port, key), True)
            for port in ("15090", "15021")
            for key in ("ignore_global_conn_limit", "bypass_overload_manager")
        ),
        (listener("15090", "address", "socket_address", "address"), "0.0.0.0"),  # noqa: S104
        (
            ("overload_manager", "resource_monitors", 0, "typed_config"),
            {
                "@type": "type.googleapis.com/envoy.extensions.resource_monitors."
                "downstream_connections.v3.DownstreamConnectionsConfig",
                "max_active_downstream_connections": "2147483647",
            },
        ),
        (("deferred_stat_options", "enable_deferred_creation_stats"), True),
        (("cluster_manager", "enable_deferred_cluster_creation"), True),
        (("application_log_config", "log_format", "json_format", "message"), "%j"),
    ],
    ids=lambda each: ".".join(map(str, each)) if isinstance(each, tuple) else "",
)
def test_row(path: tuple[str | int, ...], value: Any) -> None:
    assert at(made(), *path) == value


@pytest.mark.parametrize(
    "key",
    [
        *("NAME", "NAMESPACE", "CLUSTER_ID", "MESH_ID", "NETWORK", "LABELS", "ANNOTATIONS"),
        *("INSTANCE_IPS", "WORKLOAD_NAME", "OWNER", "SERVICE_ACCOUNT", "NODE_NAME"),
        *("INTERCEPTION_MODE", "POD_PORTS", "APP_CONTAINERS", "ISTIO_VERSION", "PROXY_CONFIG"),
        "DNS_CAPTURE",
    ],
)
def test_metadata(key: str) -> None:
    value = made()["node"]["metadata"][key]
    assert value == ENV.get(f"ISTIO_META_{key}", value)
    assert value


@pytest.mark.parametrize(
    ("labels", "env", "name"),
    [
        ({"app": "reviews"}, ENV, "reviews.shop"),
        ({}, ENV, "reviews-v1.shop"),
        ({}, {}, "istio-proxy.shop"),
    ],
)
def test_node_cluster(labels: dict[str, str], env: dict[str, str], name: str) -> None:
    assert made(labels=labels, env=env)["node"]["cluster"] == name


def test_locality_of_the_newer_label_wins() -> None:
    labels = {"istio-locality": "a.b.c", "topology.istio.io/locality": "eu/west"}
    assert made(labels=labels)["node"]["locality"] == {"region": "eu", "zone": "west"}


def test_paths_that_are_served() -> None:
    routes = {}
    for each in made()["static_resources"]["listeners"]:
        (host,) = at(each, *HCM, "route_config", "virtual_hosts")
        (route,) = host["routes"]
        routes[_port(each)] = (route["match"], route["route"])
    assert routes == {
        "15090": ({"prefix": "/stats/prometheus"}, {"cluster": "prometheus_stats"}),
        "15021": ({"prefix": "/healthz/ready"}, {"cluster": "agent"}),
    }
    filters = [each["name"] for each in at(made(), *listener("15090", *HCM, "http_filters"))]
    assert filters == [
        *(f"envoy.filters.http.compressor.{each}" for each in ("brotli", "zstd", "gzip")),
        "envoy.filters.http.router",
    ]


def test_every_cluster_has_a_name_for_statistics() -> None:
    tracing = {"tracing": {"zipkin": {"address": "z:1"}}, "envoyMetricsService": {"address": "m:1"}}
    for each in made(proxy_config=tracing)["static_resources"]["clusters"]:
        assert each["alt_stat_name"] == f"{each['name']};"


def test_files_socket_of_an_external_server() -> None:
    found = made(places=Places(files_socket="./files-socket"))
    assert at(found, *address("sds-files-grpc")) == {"pipe": {"path": "./files-socket"}}


TAGGED = {
    "cluster_name": ("cluster.outbound|80||a.b;.upstream_rq", "outbound|80||a.b"),
    "http_conn_manager_prefix": ("http.outbound_0.0.0.0_80;.rq", "outbound_0.0.0.0_80"),
    "listener_address": ("listener.0.0.0.0_80.cx", "0.0.0.0_80"),
    "tcp_prefix": ("tcp.outbound.cx_total", "outbound"),
    "mongo_prefix": ("mongo.m.op_query", "op_"),  # as Istio has it: the second group counts
    "thread_name": ("server.main.watchdog", "main"),
    "response_code": ("upstream_rq_503", "503"),
    "response_code_class": ("upstream_rq_5xx", "5xx"),
    "cache": ("cache.c.hits", "c"),
    "component": ("component.proxy.x", "proxy"),
    "wasm_filter": ("wasm_filter.f.x", "f"),
    "tag": ("tag.t;.x", "t"),
    "authz_enforce_result": ("rbac.allowed", "allowed"),
    "authz_dry_run_action": ("x.istio_dry_run_deny_shadow", "deny"),
    "authz_dry_run_result": ("x.shadow_denied", "denied"),
}


@pytest.mark.parametrize("name", TAGGED)
def test_tags(name: str) -> None:
    tags = {each["tag_name"]: each["regex"] for each in made()["stats_config"]["stats_tags"]}
    pattern = tags[name].replace("[:digit:]", "0-9")
    stat, value = TAGGED[name]
    match = re.search(pattern, stat)
    assert match is not None
    assert match.group(min(match.re.groups, 2)) == value


def test_custom_tags() -> None:
    found = made(proxy_config={"extraStatTags": ["team"]})["stats_config"]["stats_tags"]
    assert found[-1] == {"tag_name": "team", "regex": r"(team=\.=(.*?);\.;)"}


def test_what_is_kept_of_statistics() -> None:
    def patterns(**more: Any) -> list[dict[str, Any]]:
        found = made(**more)["stats_config"]["stats_matcher"]["inclusion_list"]["patterns"]
        return list(found)

    standard = [
        *({"prefix": each} for each in ("reporter=", "cluster_manager", "listener_manager")),
        *(
            {"prefix": each}
            for each in (
                "server",
                "cluster.xds-grpc",
                "wasm",
                "component",
                "istio",
                "access_logs.grpc_access_log",
            )
        ),
        *({"suffix": each} for each in ("rbac.allowed", "rbac.denied")),
        *({"suffix": each} for each in ("shadow_allowed", "shadow_denied")),
        {"safe_regex": {"regex": r"vhost\..*\.route\..*"}},
    ]
    assert patterns() == standard
    assert {"suffix": "downstream_cx_active"} in patterns(exit_on_zero=True)
    annotated = {
        "sidecar.istio.io/statsInclusionPrefixes": "a",
        "sidecar.istio.io/statsInclusionSuffixes": "b",
        "sidecar.istio.io/statsInclusionRegexps": "c",
    }
    matcher = {"inclusionPrefixes": ["d"], "inclusionSuffixes": ["e"], "inclusionRegexps": ["f"]}
    more = patterns(annotations=annotated, proxy_config={"proxyStatsMatcher": matcher})
    assert [each for each in more if each not in standard] == [
        *({"prefix": "d"}, {"prefix": "a"}, {"suffix": "e"}, {"suffix": "b"}),
        *({"safe_regex": {"regex": "f"}}, {"safe_regex": {"regex": "c"}}),
    ]


def test_intervals_are_envoys_own_unless_they_are_given() -> None:
    assert not {"stats_flush_interval", "stats_eviction_interval"} & made().keys()
    named = {"sidecar.istio.io/statsFlushInterval": "500ms"}
    assert made(annotations=named)["stats_flush_interval"] == "0.500s"


def test_values_of_the_runtime_are_replaced_and_removed() -> None:
    values = {"re2.max_program_size.error_level": "", "some.switch": "true", "some.number": "7"}
    found = at(
        made(proxy_config={"runtimeValues": values}),
        *("layered_runtime", "layers", 0, "static_layer"),
    )
    assert "re2.max_program_size.error_level" not in found
    assert (found["some.switch"], found["some.number"]) == (True, "7")


def test_zipkin() -> None:
    found = made(proxy_config={"tracing": {"zipkin": {"address": "zipkin.obs:9411"}}})
    zipkin = at(found, *cluster("zipkin"))
    assert (zipkin["type"], zipkin["respect_dns_ttl"], zipkin["dns_refresh_rate"]) == (
        *("STRICT_DNS", True),
        "30s",
    )
    tracer = dict(found["tracing"]["http"]["typed_config"])
    tracer.pop("@type")
    assert tracer == {
        "collector_cluster": "zipkin",
        "collector_endpoint": "/api/v2/spans",
        "collector_endpoint_version": "HTTP_JSON",
        "trace_id_128bit": True,
        "shared_span_context": False,
    }


def test_secrets_of_contexts() -> None:
    settings = ClientTLSSettings(
        mode=ClientTLSSettings.ISTIO_MUTUAL, subject_alt_names=["spiffe://a/ns/b/sa/c"]
    )
    context = tls.upstream_context(settings)
    assert context is not None
    found = as_json(context)["common_tls_context"]  # type: ignore[arg-type]
    source = {
        "api_config_source": {
            "api_type": "GRPC",
            "transport_api_version": "V3",
            "grpc_services": [{"envoy_grpc": {"cluster_name": "sds-grpc"}}],
            "set_node_on_first_message_only": True,
        },
        "initial_fetch_timeout": "0s",
        "resource_api_version": "V3",
    }
    assert found["tls_certificate_sds_secret_configs"] == [
        {"name": "default", "sds_config": source}
    ]
    combined = found["combined_validation_context"]
    assert combined["validation_context_sds_secret_config"] == {
        "name": "ROOTCA",
        "sds_config": source,
    }
    assert combined["default_validation_context"]["match_typed_subject_alt_names"] == [
        {"san_type": "URI", "matcher": {"exact": "spiffe://a/ns/b/sa/c"}}
    ]
