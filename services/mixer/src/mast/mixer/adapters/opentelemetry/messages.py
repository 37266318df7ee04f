"""OTLP's messages as xds-protos brings them: of an early version, without type stubs.

What OTLP calls a scope today they call an instrumentation library; numbers of fields, and so the
wire, are the same.
"""

from __future__ import annotations

from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs_service
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics_service
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as trace_service
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue  # type: ignore[attr-defined]
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord  # type: ignore[attr-defined]
from opentelemetry.proto.metrics.v1.metrics_pb2 import (  # type: ignore[attr-defined]
    AGGREGATION_TEMPORALITY_CUMULATIVE,
    Metric,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span  # type: ignore[attr-defined]

__all__ = [
    "AGGREGATION_TEMPORALITY_CUMULATIVE",
    "AnyValue",
    "KeyValue",
    "LogRecord",
    "Metric",
    "Span",
    "logs_service",
    "metrics_service",
    "trace_service",
]
