"""Spans and access logs of a real Envoy that Telemetry configures (pilot.md E17, K5)."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support.ads_server import until
from tests.support.http_probe import echo_server
from tests.support.meshed_envoy import Meshed, meshed_envoy, service
from tests.support.span_collector import Collector, Span, span_collector

PROVIDERS = """
extensionProviders: [
  {{name: otlp, opentelemetry: {{
    service: collector.test, port: 80, resourceDetectors: {{environment: {{}}}},
    serviceAttributeEnrichment: OTEL_SEMANTIC_CONVENTIONS,
    http: {{path: /v1/traces, timeout: 3s,
            headers: [{{name: x-literal, value: 50% off}}, {{name: x-env, envName: SECRET}}]}}}}}},
  {{name: zipkin, zipkin: {{service: shop/collector.test, port: 80}}}},
  {{name: zipkin-key, zipkin: {{service: collector.test, port: 80, path: /api/v2/keyed,
                               timeout: 2s, headers: [{{name: x-key, value: secret}}]}}}},
  {{name: nowhere, zipkin: {{service: nowhere.test, port: 80}}}},
  {{name: lines, envoyFileAccessLog: {{path: "{directory}/lines", logFormat: {{labels: {{
    status: "%RESPONSE_CODE%", path: "%REQ(:PATH)%", nothing: "%REQ(X-NO)%"}}}},
    omitEmptyValues: true}}}},
  {{name: text, envoyFileAccessLog: {{path: "{directory}/text",
                                      logFormat: {{text: "%PROTOCOL% 5% %ROUTE_NAME%\\n"}}}}}}],
"""


def telemetry(spec: str, name: str = "default") -> str:
    return f"""
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {{name: {name}, namespace: shop}}
spec: {{{spec}}}
"""


@asynccontextmanager
async def site(directory: Path, *texts: str) -> AsyncIterator[tuple[Meshed, Collector]]:
    environment = {
        "SECRET": "%from the environment%",
        "OTEL_RESOURCE_ATTRIBUTES": "team=shopping",
        "ZONE": "z1",
    }
    async with echo_server("web") as backend, span_collector() as collector:
        mesh = (service("web", backend.port), service("collector", collector.port), *texts)
        async with meshed_envoy(
            directory,
            *mesh,
            mesh=PROVIDERS.format(directory=directory),
            environment=environment,
            WORKLOAD_NAME="web-v1",
        ) as running:
            yield running, collector


async def spans(running: Meshed, collector: Collector, path: str, tag: str) -> Span:
    """The first span that comes on a path, of requests made until it does."""

    async def found() -> bool:
        await running.get("web.test", "/traced", headers={"x-user": "me"})
        return any(tag in each.tags for each in collector.spans.get(path, ()))

    await until(found, seconds=30)
    return next(each for each in collector.spans[path] if tag in each.tags)


TAGS = """randomSamplingPercentage: 100, customTags: {
  user: {header: {name: x-user}}, zone: {environment: {name: ZONE, defaultValue: none}},
  fixed: {literal: {value: "1"}}, path: {formatter: {value: "%REQ(:PATH)%"}},
  istio.mesh_id: {literal: {value: ours}}}"""


async def test_otlp_over_http(tmp_path: Path) -> None:
    text = telemetry(f"tracing: [{{providers: [{{name: otlp}}], {TAGS}}}]")
    async with site(tmp_path, text) as (running, collector):
        span = await spans(running, collector, "/v1/traces", "user")
    assert span.service == "web"
    assert {name: span.tags[name] for name in ("user", "zone", "fixed", "path")} == {
        "user": "me",
        "zone": "z1",
        "fixed": "1",
        "path": "/traced",
    }
    assert span.tags["istio.mesh_id"] == "ours"
    assert span.tags["istio.canonical_service"] == "web"
    assert span.resource["service.namespace"] == "shop"
    assert span.resource["team"] == "shopping"
    assert span.headers["x-literal"] == "50% off"
    assert span.headers["x-env"] == "%from the environment%"


async def test_zipkin(tmp_path: Path) -> None:
    text = telemetry(f"tracing: [{{providers: [{{name: zipkin}}], {TAGS}}}]")
    async with site(tmp_path, text) as (running, collector):
        span = await spans(running, collector, "/api/v2/spans", "user")
        assert span.service == "web.shop"
        assert span.tags["user"] == "me"
        keyed = telemetry(f"tracing: [{{providers: [{{name: zipkin-key}}], {TAGS}}}]")
        await running.apply(keyed)
        span = await spans(running, collector, "/api/v2/keyed", "user")
        assert span.headers["x-key"] == "secret"


async def test_a_provider_without_service_is_left_out(tmp_path: Path) -> None:
    text = telemetry(f"tracing: [{{providers: [{{name: nowhere}}], {TAGS}}}]")
    async with site(tmp_path, text) as (running, collector):
        reply = await running.get("web.test")
        assert reply.status == 200
        assert "x-b3-traceid" not in reply.echo.headers
        assert collector.spans == {}
        assert await running.envoy.stat("listener_manager.lds.update_rejected") == 0


async def test_access_logs(tmp_path: Path) -> None:
    text = telemetry("""accessLogging: [
      {providers: [{name: lines}], filter: {expression: "response.code >= 400"}},
      {providers: [{name: text}], match: {mode: CLIENT}}]""")
    async with site(tmp_path, text) as (running, _):
        for path in ("/", "/status/503"):
            await running.get("web.test", path)
        lines, plain = tmp_path / "lines", tmp_path / "text"
        await until(lambda: lines.exists() and lines.read_text(), seconds=30)
        await until(lambda: plain.read_text().count("\n") == 2, seconds=30)
        assert json.loads(lines.read_text()) == {"status": 503, "path": "/status/503"}
        assert plain.read_text().splitlines() == ["HTTP/1.1 5% default"] * 2
        off = telemetry("accessLogging: [{disabled: true}]", "own")
        selected = off.replace("spec: {", "spec: {selector: {matchLabels: {app: web}}, ")
        before = await running.envoy.stat("listener_manager.lds.update_success")
        await running.apply(selected)
        await until(lambda: _more(running, before))
        await until(lambda: _quiet(running))


async def _more(running: Meshed, before: int) -> bool:
    return await running.envoy.stat("listener_manager.lds.update_success") > before


async def _quiet(running: Meshed) -> bool:
    return "access_log" not in await running.envoy.get("/config_dump?resource=dynamic_listeners")
