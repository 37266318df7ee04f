"""Fault injection (pilot.md F, fault)."""

import pytest

from istio.networking.v1alpha3.virtual_service_pb2 import HTTPFaultInjection
from mast.pilot.core.filters.faults import GRPC_STATUS, fault, fraction
from tests.support.messages import made, plain, read


@pytest.mark.parametrize(
    ("percent", "numerator"), [(100, 1_000_000), (0.1, 1000), (33.3333, 333_333), (0, 0)]
)
def test_fraction_of_a_million(percent: float, numerator: int) -> None:
    assert (fraction(percent).numerator, fraction(percent).denominator) == (numerator, 2)


@pytest.mark.parametrize(
    ("injection", "expected"),
    [
        pytest.param(
            "delay: {fixedDelay: 5s, percentage: {value: 0.5}}",
            "delay: {fixed_delay: 5s, percentage: {numerator: 5000, denominator: MILLION}}",
            id="delay",
        ),
        pytest.param(
            "delay: {fixedDelay: 5s, percent: 10}",
            "delay: {fixed_delay: 5s, percentage: {numerator: 100000, denominator: MILLION}}",
            id="delay-in-old-percent",
        ),
        pytest.param(
            "abort: {httpStatus: 503, percentage: {value: 1}}",
            "abort: {http_status: 503, percentage: {numerator: 10000, denominator: MILLION}}",
            id="abort",
        ),
        pytest.param(
            "abort: {grpcStatus: UNAVAILABLE, percentage: {value: 100}}",
            "abort: {grpc_status: 14, percentage: {numerator: 1000000, denominator: MILLION}}",
            id="grpc-abort",
        ),
        pytest.param(
            """
            delay: {fixedDelay: 1s, percentage: {value: 100}}
            abort: {httpStatus: 500, percentage: {value: 100}}
            """,
            """
            delay: {fixed_delay: 1s, percentage: {numerator: 1000000, denominator: MILLION}}
            abort: {http_status: 500, percentage: {numerator: 1000000, denominator: MILLION}}
            """,
            id="both",
        ),
    ],
)
def test_fault(injection: str, expected: str) -> None:
    made_fault = fault(made(HTTPFaultInjection, injection))
    assert made_fault is not None
    assert plain(made_fault) == read(expected)


@pytest.mark.parametrize(
    "injection",
    [
        pytest.param("{}", id="nothing"),
        pytest.param("delay: {fixedDelay: 5s}", id="nobody-delayed"),
        pytest.param("{delay: {fixedDelay: 5s, percentage: {value: 0}, percent: 10}}", id="zero"),
        pytest.param("delay: {exponentialDelay: 5s, percentage: {value: 1}}", id="exponential"),
        pytest.param("abort: {httpStatus: 500}", id="nobody-aborted"),
        pytest.param("abort: {http2Error: X, percentage: {value: 1}}", id="http2-error"),
        pytest.param("abort: {grpcStatus: NO_SUCH, percentage: {value: 1}}", id="unknown-status"),
    ],
)
def test_no_fault(injection: str) -> None:
    assert fault(made(HTTPFaultInjection, injection)) is None


def test_grpc_status_numbers() -> None:
    assert len(GRPC_STATUS) == 17
    assert (GRPC_STATUS["OK"], GRPC_STATUS["UNAUTHENTICATED"]) == (0, 16)
