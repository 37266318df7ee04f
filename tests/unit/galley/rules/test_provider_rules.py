"""Providers of telemetry and authorization: accepted and rejected (B3; pilot.md J6, K5)."""

# ruff: noqa: E501 - providers have many fields

from __future__ import annotations

import pytest

from tests.support.galley_rules import found

AT = "spec.extensionProviders[0]"


@pytest.mark.parametrize(
    ("provider", "expected"),
    [
        pytest.param("zipkin: {service: ns/a.b, port: 1, path: /x, timeout: 1s, headers: [{name: a, value: 5%}]}",
                     [], id="zipkin"),
        pytest.param("zipkin: {service: a.b, port: 1, path: x}", [f"{AT}.zipkin.path path"],
                     id="relative-path"),
        pytest.param("opentelemetry: {service: a.b, port: 1, http: {path: /v1, timeout: 3s, headers: [{name: a, envName: B}]}}",
                     [], id="otlp-http"),
        pytest.param("opentelemetry: {service: a.b, port: 1, grpc: {timeout: 3s}, http: {}}",
                     [f"{AT}.opentelemetry.grpc one-of"], id="http-and-grpc"),
        pytest.param("opentelemetry: {service: a.b, port: 1, http: {headers: [{name: 'a b', value: x}, {name: a}, {name: a, envName: '1-'}, {name: b, value: \"a\\nb\"}]}}",
                     [f"{AT}.opentelemetry.http.headers[0].name header-name",
                      f"{AT}.opentelemetry.http.headers[1] required",
                      f"{AT}.opentelemetry.http.headers[2].envName variable",
                      f"{AT}.opentelemetry.http.headers[3].value header-value"], id="headers"),
        pytest.param("opentelemetry: {service: a.b, port: 1, dynatraceSampler: {clusterId: -1}}",
                     [f"{AT}.opentelemetry.dynatraceSampler.clusterId number",
                      f"{AT}.opentelemetry.dynatraceSampler.httpService required",
                      f"{AT}.opentelemetry.dynatraceSampler.tenant required"], id="sampler"),
        pytest.param("opentelemetry: {service: a.b, port: 1, dynatraceSampler: {tenant: a, httpService: {service: c.d, port: 0}}}",
                     [f"{AT}.opentelemetry.dynatraceSampler.httpService.http.path required",
                      f"{AT}.opentelemetry.dynatraceSampler.httpService.port port"], id="sampler-api"),
        pytest.param("envoyFileAccessLog: {logFormat: {labels: {a: x, b: 1, c: true, d: null}}}",
                     [f"{AT}.envoyFileAccessLog.logFormat.labels.c label",
                      f"{AT}.envoyFileAccessLog.logFormat.labels.d label"], id="labels"),
        pytest.param("envoyOtelAls: {service: a.b, port: 1, logFormat: {labels: {a: x, b: 1}}}",
                     [f"{AT}.envoyOtelAls.logFormat.labels.b label"], id="otel-labels"),
        pytest.param("envoyHttpAls: {service: a.b, port: 1, additionalRequestHeadersToLog: ['a b'], filterStateObjectsToLog: ['']}",
                     [f"{AT}.envoyHttpAls.additionalRequestHeadersToLog[0] header-name",
                      f"{AT}.envoyHttpAls.filterStateObjectsToLog[0] empty"], id="logged-headers"),
        pytest.param("envoyExtAuthzHttp: {service: a.b, port: 1, pathPrefix: /x, statusOnError: '503', includeRequestHeadersInCheck: [x-a, 'x-*', '*-b', '*'], includeHeadersInCheck: [b], includeAdditionalHeadersInCheck: {x-a: '%PROTOCOL%'}, includeRequestBodyInCheck: {maxRequestBytes: 1}}",
                     [], id="authorizer"),
        pytest.param("envoyExtAuthzHttp: {service: a.b, port: 0, pathPrefix: x, statusOnError: '599', includeRequestHeadersInCheck: ['a*b'], headersToUpstreamOnAllow: ['a b'], headersToDownstreamOnDeny: ['*a*'], headersToDownstreamOnAllow: [''], includeAdditionalHeadersInCheck: {host: a, x-a: 5%}, includeRequestBodyInCheck: {}}",
                     [f"{AT}.envoyExtAuthzHttp.headersToDownstreamOnAllow[0] header-name",
                      f"{AT}.envoyExtAuthzHttp.headersToDownstreamOnDeny[0] header-name",
                      f"{AT}.envoyExtAuthzHttp.headersToUpstreamOnAllow[0] header-name",
                      f"{AT}.envoyExtAuthzHttp.includeAdditionalHeadersInCheck.host header-name",
                      f"{AT}.envoyExtAuthzHttp.includeAdditionalHeadersInCheck.x-a header-value",
                      f"{AT}.envoyExtAuthzHttp.includeRequestBodyInCheck.maxRequestBytes required",
                      f"{AT}.envoyExtAuthzHttp.includeRequestHeadersInCheck[0] header-name",
                      f"{AT}.envoyExtAuthzHttp.pathPrefix path",
                      f"{AT}.envoyExtAuthzHttp.port port",
                      f"{AT}.envoyExtAuthzHttp.statusOnError http-status"], id="bad-authorizer"),
        pytest.param("envoyExtAuthzGrpc: {service: a.b, port: 1, statusOnError: x, includeRequestBodyInCheck: {packAsBytes: true}}",
                     [f"{AT}.envoyExtAuthzGrpc.includeRequestBodyInCheck.maxRequestBytes required",
                      f"{AT}.envoyExtAuthzGrpc.statusOnError http-status"], id="bad-grpc-authorizer"),
        pytest.param("lightstep: {service: a.b, port: 1}", [f"{AT}.lightstep unsupported"],
                     id="lightstep"),
        pytest.param("opencensus: {service: a.b, port: 1}", [f"{AT}.opencensus unsupported"],
                     id="opencensus"),
        pytest.param("stackdriver: {}", [f"{AT}.stackdriver unsupported"], id="stackdriver"),
        pytest.param("sds: {name: a, service: a.b, port: 1}", [f"{AT}.sds unsupported"], id="sds"),
    ],
)  # fmt: skip
def test_provider(provider: str, expected: list[str]) -> None:
    problems = found(
        "MeshConfig", f"{{extensionProviders: [{{name: a, {provider}}}]}}", name="default"
    )
    assert sorted(problems) == [f"error {each}" for each in expected]


@pytest.mark.parametrize(
    ("defaults", "expected"),
    [
        pytest.param("tracing: [z], accessLogging: [envoy]", [], id="good"),
        pytest.param("metrics: [prometheus]",
                     ["warning spec.defaultProviders.metrics without-effect"], id="metrics"),
        pytest.param("tracing: [nobody]", ["error spec.defaultProviders.tracing[0] provider"],
                     id="unknown"),
        pytest.param("tracing: [envoy], metrics: [z], accessLogging: [prometheus]",
                     ["error spec.defaultProviders.accessLogging[0] provider",
                      "error spec.defaultProviders.metrics[0] provider",
                      "error spec.defaultProviders.tracing[0] provider",
                      "warning spec.defaultProviders.metrics without-effect"], id="other-uses"),
        pytest.param("accessLogging: [envoy, envoy]",
                     ["error spec.defaultProviders.accessLogging[1] duplicate"], id="twice"),
        pytest.param("tracing: [z, y]",
                     ["warning spec.defaultProviders.tracing unused"], id="two-tracers"),
    ],
)  # fmt: skip
def test_defaults(defaults: str, expected: list[str]) -> None:
    providers = (
        "{name: z, zipkin: {service: a.b, port: 1}}, {name: y, datadog: {service: a.b, port: 1}}"
    )
    spec = f"{{extensionProviders: [{providers}], defaultProviders: {{{defaults}}}}}"
    assert sorted(found("MeshConfig", spec, name="default")) == expected


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        pytest.param("privateKeyProvider: {cryptomb: {pollDelay: 1s}}",
                     ["error spec.defaultConfig.privateKeyProvider unsupported"], id="accelerator"),
        pytest.param("connectionSettings: {globalDownstreamConnectionLimit: 5}", [], id="limit"),
        pytest.param("connectionSettings: {httpIdleTimeout: 5s}",
                     ["error spec.defaultConfig.connectionSettings.httpIdleTimeout unsupported"],
                     id="connections"),
        pytest.param("proxyHeaders: {server: {disabled: true}, requestId: {disabled: true}}", [],
                     id="headers"),
        pytest.param("proxyHeaders: {attemptCount: {disabled: true}}",
                     ["error spec.defaultConfig.proxyHeaders.attemptCount unsupported"],
                     id="attempts"),
        pytest.param("proxyHeaders: {metadataExchangeHeaders: {mode: IN_MESH}}",
                     ["warning spec.defaultConfig.proxyHeaders.metadataExchangeHeaders"
                      " without-effect"], id="exchange"),
        pytest.param("tracing: {zipkin: {address: 'a:1'}, tlsSettings: {mode: MUTUAL,"
                     " credentialName: x}}, envoyMetricsService: {address: a,"
                     " tlsSettings: {insecureSkipVerify: true}}",
                     ["error spec.defaultConfig.envoyMetricsService.address address",
                      "error spec.defaultConfig.envoyMetricsService.tlsSettings.insecureSkipVerify"
                      " not-allowed",
                      "error spec.defaultConfig.tracing.tlsSettings.credentialName not-allowed"],
                     id="collectors"),
        pytest.param("image: {imageType: debug}",
                     ["warning spec.defaultConfig.image without-effect"], id="image"),
    ],
)  # fmt: skip
def test_proxy_config(config: str, expected: list[str]) -> None:
    problems = found("MeshConfig", f"{{defaultConfig: {{{config}}}}}", name="default")
    assert sorted(problems) == expected
