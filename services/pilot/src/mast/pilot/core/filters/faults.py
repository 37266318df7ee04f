"""Fault injection and percentages of HTTP routes."""

from typing import Final

from envoy.extensions.filters.common.fault.v3.fault_pb2 import FaultDelay
from envoy.extensions.filters.http.fault.v3.fault_pb2 import FaultAbort, HTTPFault
from envoy.type.v3.percent_pb2 import FractionalPercent

from istio.networking.v1alpha3.virtual_service_pb2 import HTTPFaultInjection

FAULT_FILTER: Final = "envoy.filters.http.fault"

_PER_MILLION: Final = 10_000
"""Millionths in a percent, the finest that Envoy can roll."""

GRPC_STATUS: Final = {
    name: number
    for number, name in enumerate(
        (
            "OK",
            "CANCELLED",
            "UNKNOWN",
            "INVALID_ARGUMENT",
            "DEADLINE_EXCEEDED",
            "NOT_FOUND",
            "ALREADY_EXISTS",
            "PERMISSION_DENIED",
            "RESOURCE_EXHAUSTED",
            "FAILED_PRECONDITION",
            "ABORTED",
            "OUT_OF_RANGE",
            "UNIMPLEMENTED",
            "INTERNAL",
            "UNAVAILABLE",
            "DATA_LOSS",
            "UNAUTHENTICATED",
        )
    )
}
"""Numbers of gRPC status codes by name (gRPC, "Status codes and their use")."""


def fraction(percent: float) -> FractionalPercent:
    """A percentage as a fraction of a million."""
    return FractionalPercent(
        numerator=round(percent * _PER_MILLION), denominator=FractionalPercent.MILLION
    )


def fault(injection: HTTPFaultInjection) -> HTTPFault | None:
    """The per-route fault configuration, None when it would hit no request (pilot.md F).

    Percentages default to none. Exponential delays and HTTP/2 errors, which Envoy cannot inject,
    have no effect.
    """
    result = HTTPFault()
    delay, abort = injection.delay, injection.abort
    if delayed := _delay_percent(delay):
        result.delay.CopyFrom(
            FaultDelay(fixed_delay=delay.fixed_delay, percentage=fraction(delayed))
        )
    aborted = _percent(abort)
    if aborted and abort.WhichOneof("error_type") == "http_status":
        result.abort.CopyFrom(
            FaultAbort(http_status=abort.http_status, percentage=fraction(aborted))
        )
    elif aborted and abort.grpc_status in GRPC_STATUS:
        result.abort.CopyFrom(
            FaultAbort(grpc_status=GRPC_STATUS[abort.grpc_status], percentage=fraction(aborted))
        )
    return result if result.ByteSize() else None


def _delay_percent(delay: HTTPFaultInjection.Delay) -> float:
    """Percentage of requests to delay; a delay of nothing hits none."""
    return _percent(delay) if delay.fixed_delay.ToTimedelta() else 0


def _percent(part: HTTPFaultInjection.Delay | HTTPFaultInjection.Abort) -> float:
    """Percentage of requests; [1.x] `percent` counts where `percentage` is not set."""
    return part.percentage.value if part.HasField("percentage") else part.percent
