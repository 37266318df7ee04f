"""Adapters denier and noop (mixer.md G.1, A27; checklist 42)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from istio.mixer.adapter.denier.config.config_pb2 import Params
from istio.policy.v1beta1.http_response_pb2 import DirectHttpResponse
from mast.mixer.adapters import denier, noop
from mast.mixer.core.adapter import (
    Batch,
    DirectResponse,
    HandlerConfig,
    Instance,
    QuotaArguments,
    QuotaResult,
)
from mast.mixer.core.engine import Status

INSTANCE = Instance("i", "checknothing", {})


def deny(params: Params) -> Any:
    return denier.ADAPTER.build(HandlerConfig("h", "denier", params))


def test_the_denier_by_default() -> None:
    defaults = denier.ADAPTER.defaults
    assert isinstance(defaults, Params)
    verdict = deny(defaults).check(INSTANCE)
    assert verdict.status == Status(9, "")
    assert (verdict.valid_duration, verdict.valid_use_count) == (timedelta(seconds=5), 1000)
    assert verdict.direct_response is None


def test_the_denier_grants_no_quota() -> None:
    assert deny(Params()).quota(INSTANCE, QuotaArguments(5)) == QuotaResult()


def test_the_denier_can_answer_directly() -> None:
    params = Params()
    params.status.code = 16
    params.status.details.add().Pack(Params())
    response = DirectHttpResponse(code=DirectHttpResponse().code, body="x", headers={"a": "b"})
    params.status.details.add().Pack(response)
    assert deny(params).check(INSTANCE).direct_response == DirectResponse(0, "x", {"a": "b"})


def test_noop() -> None:
    handler: Any = noop.ADAPTER.build(HandlerConfig("h", "noop", noop.ADAPTER.defaults))
    forever = timedelta(seconds=1_000_000_000)
    verdict = handler.check(INSTANCE)
    assert (verdict.status.code, verdict.valid_duration) == (0, forever)
    assert verdict.valid_use_count == 1_000_000_000
    assert handler.quota(INSTANCE, QuotaArguments(7)) == QuotaResult(7, forever)
    assert handler.report([Batch(INSTANCE)]) == ()
