"""A collector of OTLP over gRPC: what it was sent, in its messages and in plain values."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
from google.protobuf import message_factory

from mast.mixer.adapters.opentelemetry.messages import (
    logs_service,
    metrics_service,
    trace_service,
)

SERVICES = {
    "MetricsService": metrics_service,
    "LogsService": logs_service,
    "TraceService": trace_service,
}


@dataclass
class OtlpCollector:
    """Requests by service in the order they came, and the metadata of each call."""

    address: str = ""
    refusal: grpc.StatusCode | None = None
    requests: dict[str, list[Any]] = field(default_factory=lambda: {name: [] for name in SERVICES})
    metadata: list[Mapping[str, str]] = field(default_factory=list)

    def handlers(self) -> list[grpc.GenericRpcHandler]:
        return [self._handler(name, module) for name, module in SERVICES.items()]

    def _handler(self, name: str, module: Any) -> grpc.GenericRpcHandler:
        method = module.DESCRIPTOR.services_by_name[name].methods_by_name["Export"]

        async def export(request: Any, context: Any) -> Any:
            self.metadata.append({str(k): str(v) for k, v in context.invocation_metadata()})
            if self.refusal is not None:
                await context.abort(self.refusal, "not now")
            self.requests[name].append(request)
            return message_factory.GetMessageClass(method.output_type)()

        return grpc.method_handlers_generic_handler(
            method.containing_service.full_name,
            {
                "Export": grpc.unary_unary_rpc_method_handler(
                    export,
                    request_deserializer=message_factory.GetMessageClass(
                        method.input_type
                    ).FromString,
                    response_serializer=lambda message: message.SerializeToString(),
                )
            },
        )

    @property
    def metrics(self) -> dict[str, list[Any]]:
        """All metrics by name."""
        found: dict[str, list[Any]] = {}
        for request in self.requests["MetricsService"]:
            for group in request.resource_metrics:
                for scope in group.instrumentation_library_metrics:
                    for metric in scope.metrics:
                        found.setdefault(metric.name, []).append(metric)
        return found

    @property
    def logs(self) -> list[Any]:
        """All log records."""
        return [
            record
            for request in self.requests["LogsService"]
            for group in request.resource_logs
            for scope in group.instrumentation_library_logs
            for record in scope.logs
        ]

    @property
    def spans(self) -> list[tuple[str, Any]]:
        """All spans with their services."""
        return [
            (plain(group.resource.attributes)["service.name"], span)
            for request in self.requests["TraceService"]
            for group in request.resource_spans
            for scope in group.instrumentation_library_spans
            for span in scope.spans
        ]


@asynccontextmanager
async def otlp_collector(
    credentials: grpc.ServerCredentials | None = None, address: str = "127.0.0.1:0"
) -> AsyncIterator[OtlpCollector]:
    """A collector, at a port of its own unless an address is given."""
    collector = OtlpCollector()
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers(collector.handlers())
    if credentials is None:
        port = server.add_insecure_port(address)
    else:
        port = server.add_secure_port(address, credentials)
    collector.address = f"127.0.0.1:{port}"
    await server.start()
    try:
        yield collector
    finally:
        await server.stop(None)


def plain(attributes: Any) -> dict[str, Any]:
    """Attributes as a dictionary."""
    return {each.key: _plain(each.value) for each in attributes}


def _plain(value: Any) -> Any:
    kind = value.WhichOneof("value")
    found = getattr(value, kind)
    return plain(found.values) if kind == "kvlist_value" else found
