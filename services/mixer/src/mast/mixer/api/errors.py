"""The gRPC statuses that Mixer's calls end with (mixer.md A1, A2, A23, B4)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

from google.protobuf.message import DecodeError
from grpc import StatusCode, aio

from mast.mixer.core.engine import CheckFailed
from mast.mixer.core.wire import DictionaryMismatch

Context: TypeAlias = aio.ServicerContext[Any, Any]

# Details travel in a header, which peers limit to 8 KiB.
_MAX_DETAIL = 4096


class Overloaded(Exception):
    """The call was shed (A1)."""

    def __init__(self) -> None:
        super().__init__("Server is currently overloaded. Please try again.")


class NotServed(Exception):
    """The call is for a Mixer of another role."""

    def __init__(self, what: str) -> None:
        super().__init__(f"this Mixer takes {what} only, by its flag --role")


class NotAllowed(Exception):
    """The caller proved another identity than the one it reports as."""


class ReportFailed(Exception):
    """Something of a report was lost; the rest was delivered (B4)."""

    def __init__(self, errors: Sequence[str]) -> None:
        super().__init__(", ".join(errors))


STATUS: Mapping[type[Exception], StatusCode] = {
    Overloaded: StatusCode.UNAVAILABLE,
    NotServed: StatusCode.UNIMPLEMENTED,
    NotAllowed: StatusCode.PERMISSION_DENIED,
    DictionaryMismatch: StatusCode.INTERNAL,
    CheckFailed: StatusCode.INTERNAL,
    ReportFailed: StatusCode.UNKNOWN,
    DecodeError: StatusCode.INVALID_ARGUMENT,
}


@asynccontextmanager
async def aborting(context: Context) -> AsyncIterator[None]:
    """End the call with the status registered for a domain error; let bugs through."""
    try:
        yield
    except tuple(STATUS) as error:
        code = next(code for kind, code in STATUS.items() if isinstance(error, kind))
        await context.abort(code, str(error)[:_MAX_DETAIL])
