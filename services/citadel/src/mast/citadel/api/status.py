"""The gRPC status of each refusal (citadel-and-agent.md A4)."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import grpc
from grpc import aio

from mast.citadel.core.refusals import (
    BadCsr,
    CaNotReady,
    CredentialsUnverifiable,
    ImpersonationRefused,
    RateLimited,
    Refusal,
    SigningFailed,
    TtlTooLong,
    Unauthenticated,
)

Context = aio.ServicerContext[Any, Any]
Statuses = Mapping[type[Refusal], grpc.StatusCode]

CERTIFICATE_SERVICE: Statuses = {
    Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    ImpersonationRefused: grpc.StatusCode.UNAUTHENTICATED,
    CredentialsUnverifiable: grpc.StatusCode.UNAVAILABLE,
    RateLimited: grpc.StatusCode.RESOURCE_EXHAUSTED,
    CaNotReady: grpc.StatusCode.INTERNAL,
    BadCsr: grpc.StatusCode.INVALID_ARGUMENT,
    TtlTooLong: grpc.StatusCode.INVALID_ARGUMENT,
    SigningFailed: grpc.StatusCode.INTERNAL,
}
CA_SERVICE: Statuses = {**CERTIFICATE_SERVICE, TtlTooLong: grpc.StatusCode.INTERNAL}


@asynccontextmanager
async def refusing(context: Context, statuses: Statuses) -> AsyncIterator[None]:
    """End the call with the status of a Refusal; let bugs through."""
    try:
        yield
    except Refusal as refusal:
        await context.abort(statuses[type(refusal)], str(refusal))
