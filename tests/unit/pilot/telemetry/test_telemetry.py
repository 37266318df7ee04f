"""All that a proxy logs, traces and measures: providers found and not found (pilot.md K5)."""

from typing import Any

import pytest

from mast.pilot.core.filters.extensions import Direction
from mast.pilot.core.model.finding import Fault
from mast.pilot.core.model.proxy import Proxy
from mast.pilot.core.telemetry.telemetry import Flow, Telemetry, telemetry
from mast.pilot.core.xds.resources import CDS, LDS
from tests.support.mesh_yaml import scope, sidecar_proxy, world
from tests.support.messages import plain

SERVICE = """
{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: logs, namespace: ops},
 spec: {hosts: [logs.ops.svc.cluster.local], resolution: STATIC,
        ports: [{number: 4317, name: grpc, protocol: GRPC}]}}
"""
HIDDEN = SERVICE.replace("hosts:", "exportTo: [.], hosts:")


def mesh(spec: str) -> str:
    return f"""
{{apiVersion: mesh.istio.io/v1alpha1, kind: MeshConfig,
 metadata: {{name: default, namespace: istio-system}}, spec: {{{spec}}}}}
"""


def settings(spec: str, *, namespace: str = "shop", name: str = "default") -> str:
    return f"""
{{apiVersion: telemetry.istio.io/v1, kind: Telemetry,
 metadata: {{name: {name}, namespace: {namespace}}}, spec: {{{spec}}}}}
"""


def found(*texts: str, proxy: Proxy | None = None) -> Telemetry:
    whose = proxy or sidecar_proxy(labels={"app": "web"})
    return telemetry(scope(whose, *texts), whose)


def traced(provider: str, *texts: str, more: str = "", **metadata: object) -> dict[str, Any] | None:
    """Tracing of a proxy for one provider."""
    config = mesh(f"extensionProviders: [{{name: p, {provider}}}] {more}")
    proxy = sidecar_proxy(labels={"app": "web", "version": "v1"}, **metadata)
    where = [config, SERVICE, settings("tracing: [{providers: [{name: p}]}]"), *texts]
    flow = found(*where, proxy=proxy).of(Direction.OUTBOUND)
    return plain(flow.traced.config) if flow.traced else None


TO = "service: logs.ops.svc.cluster.local, port: 4317"
CLUSTER = "outbound|4317||logs.ops.svc.cluster.local"


def config_of(provider: str, **metadata: object) -> dict[str, Any]:
    tracing = traced(provider, **metadata)
    assert tracing is not None
    config: dict[str, Any] = tracing["provider"]["typed_config"]
    return config


def test_zipkin() -> None:
    config = config_of(
        f"zipkin: {{{TO}, enable64bitTraceId: true, path: /a, maxTagLength: 9,"
        " traceContextOption: USE_B3_WITH_W3C_PROPAGATION}"
    )
    assert config["collector_cluster"] == CLUSTER
    assert (config["collector_endpoint"], config["collector_hostname"]) == (
        "/a",
        "logs.ops.svc.cluster.local",
    )
    assert config.get("trace_id_128bit", False) is False
    assert config["trace_context_option"] == "USE_B3_WITH_W3C_PROPAGATION"
    with_headers = config_of(f"zipkin: {{{TO}, headers: [{{name: a, envName: B}}]}}")
    assert "collector_cluster" not in with_headers
    (header,) = with_headers["collector_service"]["request_headers_to_add"]
    assert header["header"] == {"key": "a", "value": "%ENVIRONMENT(B)%"}


def test_datadog_has_a_service_name() -> None:
    assert config_of(f"datadog: {{{TO}}}")["service_name"] == "web.shop"
    assert config_of(f"datadog: {{{TO}}}")["collector_cluster"] == CLUSTER


def test_skywalking() -> None:
    tracing = traced(f"skywalking: {{{TO}, accessToken: t}}")
    assert tracing is not None
    config = tracing["provider"]["typed_config"]
    assert config["client_config"] == {"service_name": "web.shop", "backend_token": "t"}
    assert tracing["spawn_upstream_span"] is True


def test_opentelemetry_over_grpc() -> None:
    config = config_of(
        f"opentelemetry: {{{TO}, grpc: {{timeout: 2s, initialMetadata: [{{name: k, value: 5%}}]}},"
        " resourceDetectors: {environment: {}, dynatrace: {}}}"
    )
    service = config["grpc_service"]
    assert service["envoy_grpc"]["cluster_name"] == CLUSTER
    assert (service["timeout"], service["initial_metadata"]) == (
        "2s",
        [{"key": "k", "value": "5%%"}],
    )
    assert [each["name"].rpartition(".")[2] for each in config["resource_detectors"]] == [
        "environment",
        "dynatrace",
    ]


def test_dynatrace_sampler() -> None:
    sampler = (
        f"dynatraceSampler: {{tenant: t, clusterId: 5, rootSpansPerMinute: 7, httpService: {{{TO},"
        " http: {path: /s}}}"
    )
    config = config_of(f"opentelemetry: {{{TO}, {sampler}}}")["sampler"]["typed_config"]
    assert (config["tenant"], config["cluster_id"], config["root_spans_per_minute"]) == ("t", 5, 7)
    assert config["http_service"]["http_uri"]["uri"].endswith(":4317/s")
    assert traced(f"opentelemetry: {{{TO}, {sampler.replace('4317', '1')}}}") is None


@pytest.mark.parametrize(
    ("provider", "reason"),
    [
        ("zipkin: {service: nobody.test, port: 1}", "no service nobody.test with a port 1"),
        ("zipkin: {service: logs.ops.svc.cluster.local, port: 2}", "with a port 2"),
        ("datadog: {service: x/nobody, port: 1}", "no service x/nobody"),
        ("skywalking: {service: x/nobody, port: 1}", "no service x/nobody"),
        ("opentelemetry: {service: x/nobody, port: 1}", "no service x/nobody"),
        ("prometheus: {}", "is no tracer"),
    ],
)
def test_providers_that_cannot_be_used(provider: str, reason: str) -> None:
    assert traced(provider) is None
    config = mesh(f"extensionProviders: [{{name: p, {provider}}}]")
    snapshot = world(config, SERVICE, settings("tracing: [{providers: [{name: p}]}]")).snapshot(1)
    proxy = sidecar_proxy()
    snapshot.view(proxy).collection(LDS)
    (fault,) = [each for each in snapshot.findings([proxy]) if each.fault is Fault.UNKNOWN_PROVIDER]
    assert reason in fault.message
    assert fault.subject is not None
    assert fault.subject.name == "default"


def test_a_service_that_the_proxy_may_not_see() -> None:
    config = mesh(f"extensionProviders: [{{name: p, zipkin: {{{TO}}}}}]")
    text = settings("tracing: [{providers: [{name: p}]}]")
    assert found(config, HIDDEN, text).collectors == ()
    by_namespace = config.replace("service: logs.ops.svc.cluster.local", "service: ops/logs")
    assert found(by_namespace, HIDDEN, text).collectors == ()
    (collector,) = found(by_namespace, SERVICE, text).collectors
    assert collector.cluster == CLUSTER


def test_a_sidecar_does_not_keep_telemetry_away() -> None:
    narrow = """
{apiVersion: networking.istio.io/v1, kind: Sidecar, metadata: {name: s, namespace: shop},
 spec: {egress: [{hosts: [./*]}]}}
"""
    config = mesh(
        f"extensionProviders: [{{name: p, zipkin: {{{TO}}}}}], defaultProviders: {{tracing: [p]}}"
    )
    view = world(config, SERVICE, narrow).snapshot(1).view(sidecar_proxy())
    assert CLUSTER in view.collection(CDS).resources
    without = world(SERVICE, narrow).snapshot(1).view(sidecar_proxy())
    assert CLUSTER not in without.collection(CDS).resources


ZIPKIN = f"extensionProviders: [{{name: p, zipkin: {{{TO}}}}}]"


def names(flow: Flow) -> dict[str, list[str]]:
    groups = {"http": flow.http_logs, "tcp": flow.tcp_logs, "listener": flow.listener_logs}
    return {
        key: [each.name.removeprefix("envoy.access_loggers.") for each in logs]
        for key, logs in groups.items()
    }


LOGGERS = f"""extensionProviders: [
  {{name: file, envoyFileAccessLog: {{path: /a}}}},
  {{name: http, envoyHttpAls: {{{TO}}}}}, {{name: tcp, envoyTcpAls: {{{TO}}}}},
  {{name: otel, envoyOtelAls: {{{TO},
                                logFormat: {{text: "5% %PROTOCOL%", labels: {{b: "%NO%"}}}}}}}}]
"""


def test_each_kind_of_logger_where_it_fits() -> None:
    providers = "[{name: file}, {name: http}, {name: tcp}, {name: otel}, {name: nobody}]"
    flow = found(
        mesh(LOGGERS), SERVICE, settings(f"accessLogging: [{{providers: {providers}}}]")
    ).of(Direction.INBOUND)
    assert names(flow) == {
        "http": ["file", "http_grpc", "open_telemetry"],
        "tcp": ["file", "open_telemetry", "tcp_grpc"],
        "listener": ["file", "open_telemetry", "tcp_grpc"],
    }
    typed = plain(flow.http_logs[2])["typed_config"]
    assert typed["type_url"].endswith("open_telemetry.v3.OpenTelemetryAccessLogConfig")
    config = typed["value"]
    # Envoy warns of it.
    assert "common_config" not in config
    assert config["grpc_service"]["envoy_grpc"]["cluster_name"]
    assert config["body"] == {"string_value": "5%% %PROTOCOL%"}
    assert config["attributes"]["values"] == [{"key": "b", "value": {"string_value": "%%NO%%"}}]
    assert config["log_name"] == "otel_envoy_accesslog"


def test_the_log_service_of_the_bootstrap() -> None:
    config = mesh("enableEnvoyAccessLogService: true")
    assert names(found(config).of(Direction.INBOUND))["http"] == []
    own = {"envoyAccessLogService": {"address": "als:1"}}
    flow = found(config, proxy=sidecar_proxy(PROXY_CONFIG=own)).of(Direction.INBOUND)
    assert names(flow) == {"http": ["http_grpc"], "tcp": ["tcp_grpc"], "listener": ["tcp_grpc"]}


def test_listeners_may_be_quiet() -> None:
    config = mesh("accessLogFile: /a, disableEnvoyListenerLog: true")
    flow = found(config).of(Direction.OUTBOUND)
    assert names(flow) == {"http": ["file"], "tcp": ["file"], "listener": []}


def test_tracing_without_providers() -> None:
    config = mesh("enableTracing: true, defaultConfig: {tracing: {sampling: 5}}")
    flow = found(config).of(Direction.OUTBOUND)
    assert flow.traced is not None
    tracing = plain(flow.traced.config)
    assert tracing["random_sampling"] == {"value": 5.0}
    assert "provider" not in tracing
    tags = {each["tag"]: each["literal"]["value"] for each in tracing["custom_tags"]}
    assert tags == {
        "istio.canonical_revision": "latest",
        "istio.canonical_service": "web",
        "istio.cluster_id": "unknown",
        "istio.mesh_id": "unknown",
        "istio.namespace": "shop",
    }
    assert found().of(Direction.OUTBOUND).traced is None


def test_tracing_of_the_proxy_itself() -> None:
    own = {
        "tracing": {
            "maxPathTagLength": 9,
            "enableIstioTags": False,
            "customTags": {"a": {"literal": {"value": "b"}}, "empty": {"literal": {}}},
        }
    }
    proxy = sidecar_proxy(PROXY_CONFIG=own)
    flow = found(mesh("enableTracing: true"), proxy=proxy).of(Direction.INBOUND)
    assert flow.traced is not None
    tracing = plain(flow.traced.config)
    assert tracing["max_path_tag_length"] == 9
    assert tracing["custom_tags"] == [{"tag": "a", "literal": {"value": "b"}}]
    assert tracing["random_sampling"] == {"value": 1.0}


def test_levels() -> None:
    def sampled(value: int) -> str:
        return f"tracing: [{{randomSamplingPercentage: {value}}}]"

    texts = [
        mesh(f"defaultProviders: {{tracing: [p]}}, {ZIPKIN}"),
        SERVICE,
        settings(sampled(1), namespace="istio-system"),
        settings(sampled(2)),
        settings(sampled(3), name="younger"),
        settings("selector: {matchLabels: {app: db}}, " + sampled(4), name="db"),
    ]
    tracing = found(*texts).of(Direction.OUTBOUND).traced
    assert tracing is not None
    assert tracing.config.random_sampling.value == 2, "the oldest of the namespace"
    texts.append(settings("selector: {matchLabels: {app: web}}, " + sampled(5), name="web"))
    tracing = found(*texts).of(Direction.OUTBOUND).traced
    assert tracing is not None
    assert tracing.config.random_sampling.value == 5


def test_equal_settings_make_equal_values() -> None:
    logs = mesh("accessLogFile: /a")
    same = settings("metrics: [{}]")
    assert found(logs) == found(logs, same)
    assert hash(found(logs)) == hash(found(logs, same))
    other = settings("metrics: [{overrides: [{disabled: true}]}]")
    assert found(logs) != found(logs, other)
    tags = [each.tag for each in found(other).of(Direction.INBOUND).metric_tags]
    assert tags == ["telemetry"]
