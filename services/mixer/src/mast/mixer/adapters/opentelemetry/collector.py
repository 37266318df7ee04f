"""What a collector is sent, signal by signal, and the headers that go with it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from google.protobuf.message import Message

from mast.mixer.adapters.opentelemetry.messages import (
    LogRecord,
    Metric,
    Span,
    logs_service,
    metrics_service,
    trace_service,
)
from mast.mixer.adapters.opentelemetry.records import attributes
from mast.mixer.adapters.opentelemetry.transports import (
    LOGS,
    METRICS,
    TRACES,
    Signal,
    transport,
)
from mast.mixer.adapters.remote.security import Metadata
from mast.mixer.core.adapter import AdapterError
from mastapi.opentelemetry.v1.opentelemetry_pb2 import Params

SCOPE: Final = "mast.mixer"
SERVICE_NAME: Final = "service.name"
_HEADER: Final = re.compile(r"([0-9A-Za-z_.-]+):\s*([\x20-\x7e]*)")


class Collector:
    """Takes exports; a call that fails is an AdapterError or an OSError."""

    def __init__(self, params: Params) -> None:
        self._headers_file = Path(params.headers_file) if params.headers_file else None
        self._resource = {SERVICE_NAME: "mast-mixer", **params.resource_attributes}
        self._transport = transport(params)

    async def metrics(self, found: Sequence[Metric]) -> None:
        """Export metrics."""
        request: Any = metrics_service.ExportMetricsServiceRequest()  # type: ignore[attr-defined]
        group = request.resource_metrics.add()
        self._describe(group.resource)
        _put(group.instrumentation_library_metrics.add(), "metrics", found)
        await self._export(METRICS, request)

    async def logs(self, records: Sequence[LogRecord]) -> None:
        """Export log entries."""
        request: Any = logs_service.ExportLogsServiceRequest()  # type: ignore[attr-defined]
        group = request.resource_logs.add()
        self._describe(group.resource)
        _put(group.instrumentation_library_logs.add(), "logs", records)
        await self._export(LOGS, request)

    async def spans(self, named: Sequence[tuple[str, Span]]) -> None:
        """Export spans, each with the name of its service."""
        by_service: dict[str, list[Span]] = {}
        for service, span in named:
            by_service.setdefault(service, []).append(span)
        request: Any = trace_service.ExportTraceServiceRequest()  # type: ignore[attr-defined]
        for service, spans in by_service.items():
            group = request.resource_spans.add()
            self._describe(group.resource, {SERVICE_NAME: service} if service else {})
            _put(group.instrumentation_library_spans.add(), "spans", spans)
        await self._export(TRACES, request)

    def _describe(self, resource: Any, more: Mapping[str, str] | None = None) -> None:
        resource.attributes.extend(attributes({**self._resource, **(more or {})}))

    async def _export(self, signal: Signal, request: Message) -> None:
        await self._transport.send(signal, request, self._metadata())

    def _metadata(self) -> Metadata:
        """The headers of the file as it is now."""
        if self._headers_file is None:
            return ()
        try:
            lines = self._headers_file.read_text().splitlines()
        except (OSError, ValueError) as error:
            raise AdapterError(f"headers_file: {error}") from error
        return tuple(headers(lines))

    async def close(self) -> None:
        """Hang up."""
        await self._transport.close()


def headers(lines: Iterable[str]) -> Iterable[tuple[str, str]]:
    """Metadata from lines ``NAME: VALUE``; AdapterError names a line that is none, not its text."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        found = _HEADER.fullmatch(line.strip())
        if found is None or found[1].lower().startswith("grpc-"):
            raise AdapterError(f"headers_file: line {number} is not NAME: VALUE")
        yield found[1].lower(), found[2]


def _put(scope: Any, name: str, items: Sequence[Message]) -> None:
    """Fill what newer versions call a scope; the field numbers are the same."""
    scope.instrumentation_library.name = SCOPE
    getattr(scope, name).extend(items)
