"""Counts the calls of our gRPC services, under the names of Istio's gRPC metrics (mixer.md I)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import grpc
from grpc import aio

from mast.mixer.api.errors import Context

# Takes note of a finished call: method without leading slash, status name, seconds.
Served: TypeAlias = Callable[[str, str, float], None]

_Behaviour: TypeAlias = Callable[[Any, Context], Awaitable[Any]]
_Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"

_STATUS = {code.value[0]: code.name for code in grpc.StatusCode}


class Counting(aio.ServerInterceptor):
    """Measures every call that has one answer."""

    def __init__(self, served: Served, clock: Callable[[], float]) -> None:
        self._served = served
        self._clock = clock
        self._known: dict[str, _Handler] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[_Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> _Handler | None:
        """The handler of a call, measured; None if there is none.

        What comes after this for a method is always the same: it is asked for once.
        """
        method = str(handler_call_details.method)
        handler = self._known.get(method) or await continuation(handler_call_details)
        if handler is not None and method not in self._known:
            handler = self._known[method] = self._counted(method.lstrip("/"), handler)
        return handler

    def _counted(self, method: str, handler: _Handler) -> _Handler:
        for name, make in _MAKERS.items():
            behaviour: _Behaviour | None = getattr(handler, name, None)
            if behaviour is not None:
                return make(
                    self._measured(method, behaviour),
                    request_deserializer=handler.request_deserializer,
                    response_serializer=handler.response_serializer,
                )
        return handler

    def _measured(self, method: str, behaviour: _Behaviour) -> _Behaviour:
        async def measured(request: Any, context: Context) -> Any:
            start = self._clock()
            otherwise = "UNKNOWN"
            try:
                answer = await behaviour(request, context)
                otherwise = "OK"
            except asyncio.CancelledError:
                otherwise = "CANCELLED"
                raise
            finally:
                self._served(method, _status(context, otherwise), self._clock() - start)
            return answer

        return measured


_MAKERS: dict[str, Callable[..., _Handler]] = {
    "unary_unary": grpc.unary_unary_rpc_method_handler,
    "stream_unary": grpc.stream_unary_rpc_method_handler,
}


def _status(context: Context, otherwise: str) -> str:
    """The name of the status that the call has been given, if it has."""
    code: Any = context.code()
    number = code.value[0] if isinstance(code, grpc.StatusCode) else code
    return _STATUS.get(number, otherwise) if number else otherwise
