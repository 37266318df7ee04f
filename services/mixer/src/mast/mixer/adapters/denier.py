"""Adapter ``denier``: refuses everything (mixer.md G.1)."""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc.status_pb2 import Status as RpcStatus

from istio.mixer.adapter.denier.config.config_pb2 import Params
from istio.policy.v1beta1.http_response_pb2 import DirectHttpResponse
from mast.mixer.core.adapter import (
    Adapter,
    CheckResult,
    DirectResponse,
    HandlerConfig,
    Instance,
    QuotaArguments,
    QuotaResult,
)
from mast.mixer.core.engine import Status

FAILED_PRECONDITION = 9


def direct_response(details: Iterable[AnyMessage]) -> DirectResponse | None:
    """The direct HTTP response among the details of a status, if there is one (A27)."""
    response = DirectHttpResponse()
    for detail in details:
        if detail.Is(DirectHttpResponse.DESCRIPTOR) and detail.Unpack(response):
            return DirectResponse(int(response.code), response.body, dict(response.headers))
    return None


class Denier:
    """Answers every check with one verdict, grants no quota."""

    def __init__(self, params: Params) -> None:
        self._verdict = CheckResult(
            Status(params.status.code, params.status.message),
            params.valid_duration.ToTimedelta(),
            params.valid_use_count,
            direct_response(params.status.details),
        )

    def check(self, _: Instance) -> CheckResult:
        """The configured verdict."""
        return self._verdict

    def quota(self, _: Instance, __: QuotaArguments) -> QuotaResult:
        """Nothing."""
        return QuotaResult()


def _build(config: HandlerConfig) -> Denier:
    return Denier(config.params)


ADAPTER = Adapter(
    name="denier",
    templates=frozenset({"checknothing", "listentry", "quota"}),
    defaults=Params(
        status=RpcStatus(code=FAILED_PRECONDITION),
        valid_duration=Duration(seconds=5),
        valid_use_count=1000,
    ),
    build=_build,
)
