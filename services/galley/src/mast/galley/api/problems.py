"""Problems and domain errors as the wire has them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import status_pb2
from grpc import StatusCode, aio

from mast.common.etcd import Compacted, Rejected, Unavailable
from mast.galley.core.plan import Aborted, NotFound, TooLarge
from mast.galley.core.problem import InvalidConfig, Problem, Severity
from mast.galley.core.resources import Unreadable
from mast.galley.core.sealed import NoSealingKey
from mast.galley.core.selection import BadSelection
from mastapi.galley.v1 import config_pb2

Context = aio.ServicerContext[Any, Any]

STATUS: dict[type[Exception], StatusCode] = {
    InvalidConfig: StatusCode.INVALID_ARGUMENT,
    BadSelection: StatusCode.INVALID_ARGUMENT,
    Aborted: StatusCode.ABORTED,
    NotFound: StatusCode.NOT_FOUND,
    TooLarge: StatusCode.RESOURCE_EXHAUSTED,
    Unavailable: StatusCode.UNAVAILABLE,
    Compacted: StatusCode.UNAVAILABLE,
    NoSealingKey: StatusCode.FAILED_PRECONDITION,
    Rejected: StatusCode.INTERNAL,
    Unreadable: StatusCode.DATA_LOSS,
}

_DETAILS = "grpc-status-details-bin"
# A report in the trailers must fit into a peer's limit of metadata (8 KiB by default), one in a
# message into that of messages (4 MiB).
_DETAILS_LIMIT_BYTES = 7000
REPORT_LIMIT = 1000
_SEVERITIES = {
    Severity.ERROR: config_pb2.Problem.ERROR,
    Severity.WARNING: config_pb2.Problem.WARNING,
}


@asynccontextmanager
async def aborting(context: Context) -> AsyncIterator[None]:
    """End the call with the status of a domain error; let bugs through.

    With INVALID_ARGUMENT goes a ValidationReport among the status details. One that is too long
    for the trailers is cut, its warnings first; Validate gives a longer one.
    """
    try:
        yield
    except tuple(STATUS) as error:
        code = next(code for kind, code in STATUS.items() if isinstance(error, kind))
        metadata: tuple[tuple[str, str | bytes], ...] = ()
        if isinstance(error, InvalidConfig):
            metadata = ((_DETAILS, _details(code, error)),)
        await context.abort(code, str(error), metadata)


def _details(code: StatusCode, error: InvalidConfig) -> bytes:
    problems = list(error.problems)
    while True:
        detail = AnyMessage()
        detail.Pack(report(problems, error.objects))
        status = status_pb2.Status(code=code.value[0], message=str(error), details=[detail])
        content = status.SerializeToString()
        if len(content) <= _DETAILS_LIMIT_BYTES or len(problems) <= 1:
            return bytes(content)
        problems = _errors_first(problems)[: len(problems) * 3 // 4]


def report(problems: Iterable[Problem], objects: int) -> config_pb2.ValidationReport:
    """All findings on so many objects."""
    return config_pb2.ValidationReport(problems=messages(problems), objects=objects)


def messages(problems: Iterable[Problem]) -> list[config_pb2.Problem]:
    """Findings in their order; of more than a thousand the errors first, and how many are left."""
    found = list(problems)
    if len(found) > REPORT_LIMIT:
        found = _errors_first(found)
        rest = found[REPORT_LIMIT:]
        message = f"{len(rest)} more findings are not told"
        found[REPORT_LIMIT:] = [Problem("too-many", message, severity=rest[0].severity)]
    return [problem(each) for each in found]


def _errors_first(problems: Iterable[Problem]) -> list[Problem]:
    return sorted(problems, key=lambda each: each.severity is not Severity.ERROR)


def problem(found: Problem) -> config_pb2.Problem:
    """One finding."""
    return config_pb2.Problem(
        severity=_SEVERITIES[found.severity],
        source=found.source,
        line=found.position.line,
        kind=found.kind,
        namespace=found.namespace,
        name=found.name,
        path=found.path,
        rule=found.rule,
        message=found.message,
    )
