"""The adapter bypass, with and without a session (mixer.md G9)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage

from istio.mixer.adapter.bypass.config.config_pb2 import Params as BypassParams
from istio.mixer.adapter.model.v1beta1 import infrastructure_backend_pb2 as sessions
from istio.mixer.template.metric import template_handler_service_pb2 as metric
from mast.common.expressions.types import ValueType
from mast.mixer.adapters.remote.builder import SERVICES, bypass
from mast.mixer.core.adapter import (
    AdapterError,
    Batch,
    HandlerConfig,
    Instance,
    InstanceType,
    QuotaArguments,
)
from tests.support.remote_adapter import serving
from tests.support.remote_handlers import (
    NAME,
)


class Sessions:
    """The session service of a backend."""

    def __init__(self, refusal: int = 0) -> None:
        self.calls: list[str] = []
        self.types: dict[str, Any] = {}
        self._refusal = refusal

    def handlers(self) -> grpc.GenericRpcHandler:
        name = sessions.DESCRIPTOR.services_by_name["InfrastructureBackend"].full_name
        methods = {
            "Validate": (self.validate, sessions.ValidateRequest),
            "CreateSession": (self.create, sessions.CreateSessionRequest),
            "CloseSession": (self.close, sessions.CloseSessionRequest),
        }
        return grpc.method_handlers_generic_handler(
            name,
            {
                method: grpc.unary_unary_rpc_method_handler(
                    call,
                    request_deserializer=request.FromString,
                    response_serializer=lambda message: message.SerializeToString(),
                )
                for method, (call, request) in methods.items()
            },
        )

    async def validate(self, request: Any, _: Any) -> Any:
        self.calls.append("validate")
        self.types = dict(request.inferred_types)
        answer = sessions.ValidateResponse()
        answer.status.code, answer.status.message = self._refusal, "no" if self._refusal else ""
        return answer

    async def create(self, _: Any, __: Any) -> Any:
        self.calls.append("create")
        return sessions.CreateSessionResponse(session_id="s1")

    async def close(self, request: Any, _: Any) -> Any:
        self.calls.append(f"close {request.session_id}")
        return sessions.CloseSessionResponse()


@asynccontextmanager
async def bypassing(
    told: Sessions, seen: list[Any], *, session_based: bool
) -> AsyncIterator[tuple[str, Any]]:
    service = SERVICES["metric"]

    async def report(request: Any, context: Any) -> Any:
        metadata = {str(key): str(value) for key, value in context.invocation_metadata()}
        seen.append((request, metadata.get("session_id", "")))
        return service.response()

    name, method = service.path.strip("/").split("/")
    server = grpc.aio.server()
    handlers = {
        method: grpc.unary_unary_rpc_method_handler(
            report,
            request_deserializer=service.request.FromString,
            response_serializer=lambda message: message.SerializeToString(),
        )
    }
    generic = grpc.method_handlers_generic_handler(name, handlers)
    server.add_generic_rpc_handlers([told.handlers(), generic])
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    params = BypassParams(backend_address=address, session_based=session_based)
    params.params.CopyFrom(AnyMessage(type_url="x/y", value=b"z"))
    types = {"value": ValueType.INT64, "dimensions[who]": ValueType.STRING}
    config = HandlerConfig("h", "bypass", params, (InstanceType(NAME, "metric", types),))
    built: Any = bypass(lambda: "id").build(config)
    try:
        yield address, built
    finally:
        await built.close()
        await server.stop(None)


def records() -> Batch:
    return Batch(Instance(NAME, "metric", {"dimensions": {"who": "ann"}}), [5], 1)


@pytest.mark.parametrize("session_based", [False, True])
async def test_bypass(session_based: bool) -> None:
    told, seen = Sessions(), list[Any]()
    async with bypassing(told, seen, session_based=session_based) as (_, built):
        await built.prepare()
        await built.report([records()])
    ((request, session),) = seen
    assert request.instances[0].dimensions["who"].string_value == "ann"
    if session_based:
        assert session == "s1"
        assert not request.HasField("adapter_config")
        assert told.calls == ["validate", "create", "close s1"]
        inferred = metric.Type()
        assert told.types[NAME].Unpack(inferred)
        assert inferred.value == ValueType.INT64
        assert dict(inferred.dimensions) == {"who": ValueType.STRING}
    else:
        assert (session, request.adapter_config.value) == ("", b"z")
        assert not told.calls


async def test_checks_and_quotas_are_forwarded_too() -> None:
    def check(request: Any, _: Any) -> Any:
        found: Any = SERVICES["checknothing"].response()
        found.status.code, found.status.message = 7, f"not {request.instance.name}"
        return found

    def quota(request: Any, _: Any) -> Any:
        found: Any = SERVICES["quota"].response()
        found.quotas[NAME].granted_amount = request.quota_request.quotas[NAME].amount - 1
        return found

    answers = {SERVICES["checknothing"]: check, SERVICES["quota"]: quota}
    async with serving(answers) as address:
        params = BypassParams(backend_address=address)
        types = tuple(InstanceType(NAME, each, {}) for each in ("checknothing", "quota"))
        built: Any = bypass(lambda: "id").build(HandlerConfig("h", "bypass", params, types))
        verdict = await built.check(Instance(NAME, "checknothing", {}))
        assert (verdict.status.code, verdict.status.message) == (7, f"not {NAME}")
        asked = Instance(NAME, "quota", {"dimensions": {"who": "ann"}})
        assert (await built.quota(asked, QuotaArguments(5))).amount == 4
        await built.close()


async def test_a_backend_may_refuse_a_configuration() -> None:
    async with bypassing(Sessions(refusal=3), [], session_based=True) as (_, built):
        with pytest.raises(AdapterError, match="refuses the configuration: no"):
            await built.prepare()


@pytest.mark.parametrize("address", ["", "nowhere"])
def test_bypass_needs_an_address(address: str) -> None:
    found = bypass(str)
    config = HandlerConfig("h", "bypass", BypassParams(backend_address=address))
    assert found.validate(config) == (f"backend_address: {address!r} is not HOST:PORT",)
