"""A collector of spans over HTTP: OTLP in protobuf, and Zipkin's JSON (version 2)."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from google.protobuf.message import Message
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.support.http_site import http_site


@dataclass(frozen=True)
class Span:
    """A span, the service it is from, and the headers of the request that brought it."""

    service: str
    tags: Mapping[str, str]
    resource: Mapping[str, str]
    headers: Mapping[str, str]


@dataclass
class Collector:
    """What came so far, by path."""

    port: int = 0
    spans: dict[str, list[Span]] = field(default_factory=dict)

    async def take(self, request: web.Request) -> web.Response:
        """Keep the spans of one request."""
        body = await request.read()
        found = _zipkin(body) if request.path.startswith("/api") else _otlp(body)
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.spans.setdefault(request.path, []).extend(
            Span(service, tags, resource, headers) for service, tags, resource in found
        )
        return web.Response(status=202)


@asynccontextmanager
async def span_collector() -> AsyncIterator[Collector]:
    """A collector on a port of its own."""
    collector = Collector()
    application = web.Application()
    application.router.add_post("/{path:.*}", collector.take)
    async with http_site(application) as collector.port:
        yield collector


def _otlp(body: bytes) -> list[tuple[str, dict[str, str], dict[str, str]]]:
    """Names of fields have changed since the messages that are installed, numbers have not."""
    found = []
    for group in ExportTraceServiceRequest.FromString(body).resource_spans:
        resource = _texts(group.resource.attributes)
        for scope in _numbered(group, 2):
            found += [
                (resource["service.name"], _texts(span.attributes), resource)
                for span in _numbered(scope, 2)
            ]
    return found


def _numbered(message: Message, number: int) -> Any:
    return getattr(message, message.DESCRIPTOR.fields_by_number[number].name)


def _texts(attributes: Any) -> dict[str, str]:
    return {each.key: each.value.string_value for each in attributes}


def _zipkin(body: bytes) -> list[tuple[str, dict[str, str], dict[str, str]]]:
    return [(span["localEndpoint"]["serviceName"], span["tags"], {}) for span in json.loads(body)]
