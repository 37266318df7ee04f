"""The face ``istio.mixer.v1.Mixer``: Check and Report for proxies up to 1.4 and mixc."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from google.rpc.status_pb2 import Status as RpcStatus
from grpc import aio

from istio.mixer.v1 import mixer_pb2, mixer_pb2_grpc
from mast.mixer.api.admission import Admission
from mast.mixer.api.errors import Context, NotServed, ReportFailed, aborting
from mast.mixer.core.engine import (
    CheckVerdict,
    Engine,
    HeaderOperation,
    Operation,
    QuotaAsk,
    QuotaGrant,
    RouteDirective,
    Status,
)
from mast.mixer.core.mixer_role import MixerRole
from mast.mixer.core.values import Attributes
from mast.mixer.core.wire import (
    WireError,
    Words,
    check_word_count,
    decode,
    encode_references,
    update,
)

SERVICE = "istio.mixer.v1.Mixer"


class MixerServicer(mixer_pb2_grpc.MixerServicer):
    """Decodes, asks the engine, encodes."""

    def __init__(
        self, engine: Engine, admission: Admission, role: MixerRole = MixerRole.ALL
    ) -> None:
        self._engine = engine
        self._admission = admission
        self._role = role

    async def Check(
        self, request: mixer_pb2.CheckRequest, context: Context
    ) -> mixer_pb2.CheckResponse:
        """A verdict with what it depends on, and the quotas asked for (A1)."""
        async with aborting(context):
            if not self._role.checks:
                raise NotServed("reports")
            started = self._admission.admit(1)
            check_word_count(request.global_word_count)
            attributes = decode(request.attributes, Words(request.attributes.words))
            quotas = {
                name: QuotaAsk(params.amount, params.best_effort)
                for name, params in request.quotas.items()
            }
            try:
                verdict = await self._engine.check(
                    attributes, quotas, deduplication_id=request.deduplication_id
                )
            finally:
                # What fails may be what takes longest.
                self._admission.done(started)
        return check_response(verdict, request.global_word_count)

    async def Report(
        self, request: mixer_pb2.ReportRequest, context: Context
    ) -> mixer_pb2.ReportResponse:
        """Takes records; UNKNOWN if some were lost, after the others were delivered (B4)."""
        async with aborting(context):
            if not self._role.reports:
                raise NotServed("checks")
            started = self._admission.admit(len(request.attributes))
            check_word_count(request.global_word_count)
            errors: list[str] = []
            records = list(_records(request, self._engine, errors))
            errors += await self._engine.report(records)
            self._admission.done(started)
            if errors:
                raise ReportFailed(errors)
        return mixer_pb2.ReportResponse()


def _records(
    request: mixer_pb2.ReportRequest, engine: Engine, errors: list[str]
) -> Iterator[Attributes]:
    """The records of a report; bad deltas are told and left out (B1, B2)."""
    delta = request.repeated_attributes_semantics == mixer_pb2.ReportRequest.DELTA_ENCODING
    # Of a record that stands alone, nothing needs decoding that nobody reads.
    wanted = None if delta else engine.report_reads.attributes
    default = Words(request.default_words, wanted=wanted)
    state: Attributes | None = None
    for message in request.attributes:
        words = Words(message.words, wanted=wanted) if message.words else default
        if not delta:
            yield decode(message, words)
        elif state is None:
            state = decode(message, words)
            yield state
        else:
            try:
                state = update(state, message, words)
            except WireError as error:
                errors.append(str(error))
            else:
                yield state


def check_response(verdict: CheckVerdict, known: int) -> mixer_pb2.CheckResponse:
    """A verdict for a caller that knows the first ``known`` global words."""
    response = mixer_pb2.CheckResponse()
    precondition = response.precondition
    precondition.status.CopyFrom(_status(verdict.status))
    precondition.valid_duration.FromTimedelta(verdict.valid_duration)
    precondition.valid_use_count = verdict.valid_use_count
    precondition.referenced_attributes.CopyFrom(encode_references(verdict.referenced, known))
    if verdict.directive is not None:
        precondition.route_directive.CopyFrom(_directive(verdict.directive))
    _put_quotas(response, verdict.quotas, known)
    return response


def _put_quotas(
    response: mixer_pb2.CheckResponse, quotas: Mapping[str, QuotaGrant], known: int
) -> None:
    for name, grant in quotas.items():
        result = response.quotas[name]
        result.granted_amount = grant.amount
        result.valid_duration.FromTimedelta(grant.valid_duration)
        result.referenced_attributes.CopyFrom(encode_references(grant.referenced, known))
        result.status.CopyFrom(_status(grant.status))


def _status(status: Status) -> RpcStatus:
    return RpcStatus(code=status.code, message=status.message)


def _directive(directive: RouteDirective) -> mixer_pb2.RouteDirective:
    return mixer_pb2.RouteDirective(
        request_header_operations=map(_operation, directive.request_operations),
        response_header_operations=map(_operation, directive.response_operations),
        direct_response_code=directive.direct_response_code,
        direct_response_body=directive.direct_response_body,
    )


_OPERATIONS = {
    Operation.REPLACE: mixer_pb2.HeaderOperation.REPLACE,
    Operation.REMOVE: mixer_pb2.HeaderOperation.REMOVE,
    Operation.APPEND: mixer_pb2.HeaderOperation.APPEND,
}


def _operation(operation: HeaderOperation) -> mixer_pb2.HeaderOperation:
    return mixer_pb2.HeaderOperation(
        name=operation.name,
        value=operation.value,
        operation=_OPERATIONS[operation.operation],
    )


def register(server: aio.Server, servicer: MixerServicer) -> None:
    """Add the service to a server."""
    mixer_pb2_grpc.add_MixerServicer_to_server(servicer, server)
