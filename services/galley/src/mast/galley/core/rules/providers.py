"""MeshConfig.extensionProviders and defaultProviders (B3; pilot.md J6, K5)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from envoy.type.v3.http_status_pb2 import StatusCode

from mast.galley.core.metadata import dns_label
from mast.galley.core.problem import Finding, Path, warning
from mast.galley.core.rules import values
from mast.galley.core.rules.table import (
    SPEC,
    Family,
    json_name,
    prefixed,
    required,
    when,
)

_TRACERS = frozenset({"zipkin", "datadog", "skywalking", "opentelemetry"})
_LOGGERS = frozenset({"envoy_file_access_log", "envoy_http_als", "envoy_tcp_als", "envoy_otel_als"})
_USES = {
    "tracing": (_TRACERS, "tracer"),
    "metrics": (frozenset({"prometheus"}), "provider of metrics"),
    "access_logging": (_LOGGERS, "provider of access logs"),
}
_STATUSES = tuple(sorted(set(StatusCode.values()) - {0}))
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def default_providers(spec: Any) -> Iterator[Finding]:
    """Names of providers that there are, each for what it can do."""
    kinds = {"prometheus": "prometheus", "stackdriver": "stackdriver"}
    kinds["envoy"] = "envoy_file_access_log"
    kinds |= {each.name: each.WhichOneof("provider") or "" for each in spec.extension_providers}
    for use, (allowed, what) in _USES.items():
        at = (*SPEC, "defaultProviders", json_name(spec.default_providers, use))
        names = list(getattr(spec.default_providers, use))
        for index, name in enumerate(names):
            if name not in kinds:
                message = f"there is no provider {name!r}; there are: {', '.join(sorted(kinds))}"
                yield Finding((*at, index), "provider", message)
            elif kinds[name] and kinds[name] not in allowed:
                yield Finding((*at, index), "provider", f"{name!r} is no {what}")
        for index in values.duplicates(names):
            yield Finding((*at, index), "duplicate", f"{names[index]!r} is given twice")
        if use == "tracing" and len(names) > 1:
            yield warning(at, "unused", "only the first tracing provider is used")


def _provider(provider: Any, at: Path) -> Iterator[Finding]:
    if not provider.name:
        yield required((*at, "name"), "name")
    kind = provider.WhichOneof("provider")
    if kind is None:
        yield Finding(at, "required", "the provider says not what it is")
        return
    settings = getattr(provider, kind)
    fields = settings.DESCRIPTOR.fields_by_name
    if "service" in fields and "port" in fields:
        yield from _service(settings, (*at, json_name(provider, kind)))


def _service(settings: Any, here: Path) -> Iterator[Finding]:
    """A service ``[NAMESPACE/]HOST`` and its port."""
    if not settings.service:
        yield required((*here, "service"), "service")
    else:
        namespace, _, host = settings.service.rpartition("/")
        yield from when(values.host_or_ip(host), (*here, "service"), "host")
        if namespace:
            yield from when(dns_label(namespace), (*here, "service"), "name")
    yield from when(values.port(settings.port), (*here, "port"), "port")


def _path(settings: Any, at: Path) -> Iterator[Finding]:
    if settings.path and not re.fullmatch(r"/[!-~]*", settings.path):
        yield Finding((*at, "path"), "path", f"{settings.path!r} must be a path of a URL, as /a")


def _authorizer(settings: Any, at: Path) -> Iterator[Finding]:
    """An external authorizer, asked by HTTP or gRPC."""
    if settings.status_on_error:
        yield from when(_status(settings.status_on_error), (*at, "statusOnError"), "http-status")
    body = settings.include_request_body_in_check
    if settings.HasField("include_request_body_in_check") and not body.max_request_bytes:
        yield required((*at, "includeRequestBodyInCheck", "maxRequestBytes"), "maxRequestBytes")


def _http_authorizer(settings: Any, at: Path) -> Iterator[Finding]:
    yield from _authorizer(settings, at)
    prefix = settings.path_prefix
    if prefix and not re.fullmatch(r"/[!-~]*", prefix):
        yield Finding((*at, "pathPrefix"), "path", f"{prefix!r} must be a path of a URL, as /a")


def _status(text: str) -> str | None:
    """A status that Envoy answers with."""
    if values.digits(text) in _STATUSES:
        return None
    return f"{text!r} is no HTTP status; allowed: {', '.join(map(str, _STATUSES))}"


def _pattern(text: str) -> str | None:
    """The name of a header, with ``*`` at either end for any."""
    name = text.removeprefix("*") if text.startswith("*") else text.removesuffix("*")
    if text == "*":
        return None
    return f"{text!r}: '*' is only allowed at one end" if "*" in name else values.token(name)


def _header(header: Any, at: Path) -> Iterator[Finding]:
    if header.WhichOneof("header_value") is None:
        yield required(at, "value", "envName")


def _opentelemetry(settings: Any, at: Path) -> Iterator[Finding]:
    if settings.HasField("http") and settings.HasField("grpc"):
        yield Finding((*at, "grpc"), "one-of", "only one of 'http' and 'grpc' may be set")


def _sampler_api(settings: Any, at: Path) -> Iterator[Finding]:
    yield from _service(settings, at)
    if not settings.http.path:
        yield required((*at, "http", "path"), "path")


def _sampler(settings: Any, at: Path) -> Iterator[Finding]:
    if not settings.tenant:
        yield required((*at, "tenant"), "tenant")
    if not settings.HasField("http_service"):
        yield required((*at, "httpService"), "httpService")


def _labels(settings: Any, at: Path) -> Iterator[Finding]:
    """Envoy's JSON logs hold texts, numbers, lists and objects."""
    for key, value in settings.labels.fields.items():
        if value.WhichOneof("kind") in {"bool_value", "null_value"}:
            message = f"{key!r} must be a text, a number, a list or an object"
            yield Finding((*at, "labels", key), "label", message)


def _flat_labels(settings: Any, at: Path) -> Iterator[Finding]:
    """Attributes of OpenTelemetry logs are texts."""
    for key, value in settings.labels.fields.items():
        if value.WhichOneof("kind") != "string_value":
            yield Finding((*at, "labels", key), "label", f"{key!r} must be a text")


def _variable(name: str) -> str | None:
    return None if _VARIABLE.fullmatch(name) else f"{name!r} is not the name of a variable"


def _header_value(value: str) -> str | None:
    """A value that stands for itself: Envoy is told so."""
    return values.header_value(value.replace("%", "%%"))


_PROVIDER = "istio.mesh.v1alpha1.MeshConfig.ExtensionProvider"
_NO_TRACER = "Envoy has no such tracer any more; use opentelemetry"
_NAMES = ("header-name", values.token)
_PATTERNS = ("header-name", _pattern)
_HTTP_AUTHORIZER = "EnvoyExternalAuthorizationHttpProvider"

FAMILY = Family(
    fields=prefixed(
        _PROVIDER,
        {
            "HttpHeader.name": _NAMES,
            "HttpHeader.value": ("header-value", _header_value),
            "HttpHeader.env_name": ("variable", _variable),
            "EnvoyHttpGrpcV3LogProvider.additional_request_headers_to_log": _NAMES,
            "EnvoyHttpGrpcV3LogProvider.additional_response_headers_to_log": _NAMES,
            "EnvoyHttpGrpcV3LogProvider.additional_response_trailers_to_log": _NAMES,
            "EnvoyHttpGrpcV3LogProvider.filter_state_objects_to_log": ("empty", values.nonempty),
            "EnvoyTcpGrpcV3LogProvider.filter_state_objects_to_log": ("empty", values.nonempty),
            f"{_HTTP_AUTHORIZER}.include_headers_in_check": _PATTERNS,
            f"{_HTTP_AUTHORIZER}.include_request_headers_in_check": _PATTERNS,
            f"{_HTTP_AUTHORIZER}.headers_to_upstream_on_allow": _PATTERNS,
            f"{_HTTP_AUTHORIZER}.headers_to_downstream_on_deny": _PATTERNS,
            f"{_HTTP_AUTHORIZER}.headers_to_downstream_on_allow": _PATTERNS,
            f"{_HTTP_AUTHORIZER}.include_additional_headers_in_check": (
                "header-value",
                values.header_value,
            ),
            "OpenTelemetryTracingProvider.DynatraceSampler.cluster_id": (
                "number",
                values.not_negative,
            ),
        },
    ),
    keys={
        f"{_PROVIDER}.{_HTTP_AUTHORIZER}.include_additional_headers_in_check": (
            "header-name",
            values.header_name,
        )
    },
    messages={
        _PROVIDER: _provider,
        **prefixed(
            _PROVIDER,
            {
                _HTTP_AUTHORIZER: _http_authorizer,
                "EnvoyExternalAuthorizationGrpcProvider": _authorizer,
                "ZipkinTracingProvider": _path,
                "HttpService": _path,
                "HttpHeader": _header,
                "OpenTelemetryTracingProvider": _opentelemetry,
                "OpenTelemetryTracingProvider.DynatraceSampler": _sampler,
                "OpenTelemetryTracingProvider.DynatraceSampler.DynatraceApi": _sampler_api,
                "EnvoyFileAccessLogProvider.LogFormat": _labels,
                "EnvoyOpenTelemetryLogProvider.LogFormat": _flat_labels,
            },
        ),
    },
    unsupported={
        f"{_PROVIDER}.lightstep": _NO_TRACER,
        f"{_PROVIDER}.opencensus": _NO_TRACER,
        f"{_PROVIDER}.stackdriver": "Envoy has no such tracer, logger or sink; use opentelemetry",
        f"{_PROVIDER}.sds": "certificates come from the agent, from Secrets or from files",
    },
)
