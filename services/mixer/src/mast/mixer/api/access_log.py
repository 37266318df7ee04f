"""Envoy's access-log face: reports of requests and connections, in batches (mixer_proxy.md K6)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Protocol, TypeAlias

import grpc
import grpc.aio
import structlog
from envoy.service.accesslog.v3.als_pb2 import StreamAccessLogsMessage, StreamAccessLogsResponse

from mast.mixer.api.admission import Admission
from mast.mixer.api.callers import check_reporter
from mast.mixer.api.errors import Context, Overloaded, aborting
from mast.mixer.core.client_config import ClientConfig
from mast.mixer.core.engine import Engine
from mast.mixer.core.envoy_attributes import Registry
from mast.mixer.core.envoy_entries import excerpt
from mast.mixer.core.envoy_reports import HttpReports, Stream
from mast.mixer.core.tcp_flows import Entries, Flows
from mast.mixer.core.values import Attributes
from mastapi.mixer.v1.access_log_pb2 import AccessLogMessage

SERVICE = "envoy.service.accesslog.v3.AccessLogService"

_Identifier: TypeAlias = StreamAccessLogsMessage.Identifier

HTTP, TCP = "http", "tcp"
TAKEN, SHED = "taken", "shed"

# A message that comes so soon after another one was on its way already.
_AT_ONCE = timedelta(milliseconds=5)

log = structlog.get_logger()


def _uncounted(log: str, outcome: str, entries: int) -> None:
    """Nobody wants to know."""


class Handover(Protocol):
    """Where Mixers leave what they have reported of connections that stay open."""

    async def leave(self, node_id: str, reported: Callable[[], Entries]) -> None:
        """Leave it for whom the proxy goes on with."""

    async def take(self, node_id: str) -> Entries:
        """What was left, nothing if nothing was."""


@dataclass(slots=True)
class Intake:
    """What all faces for access logs of a Mixer have in common.

    ``counted`` is told of entries: of which log, what became of them, how many.
    """

    counted: Callable[[str, str, int], None] = _uncounted
    handover: Handover | None = None
    flows: Flows = field(default_factory=Flows)
    closing: asyncio.Event = field(default_factory=asyncio.Event)

    async def close(self) -> None:
        """Have streams end, so that proxies go on with another Mixer, and leave it the rest."""
        self.closing.set()
        for node in tuple(self.flows.nodes):
            await self.leave(node)

    async def leave(self, node_id: str) -> None:
        """Leave what has been reported of a proxy's open connections."""
        if self.handover is not None and node_id in self.flows.nodes:
            await self.handover.leave(node_id, partial(self.flows.reported, node_id))

    async def take(self, node_id: str, now: Callable[[], datetime]) -> None:
        """Go on from what another Mixer has reported of a proxy's open connections."""
        if self.handover is not None:
            self.flows.adopt(node_id, await self.handover.take(node_id), now())


class AccessLogs:
    """Turns the entries of all streams into reports, each exactly once, in order."""

    def __init__(
        self,
        engine: Engine,
        registry: Registry,
        client: Callable[[], ClientConfig],
        admission: Admission,
        now: Callable[[], datetime],
        intake: Intake,
    ) -> None:
        self._admission = admission
        self._engine = engine
        self._client = client
        self._intake = intake
        self._registry = registry
        self._now = now

    async def StreamAccessLogs(
        self, request_iterator: AsyncIterator[AccessLogMessage], context: Context
    ) -> StreamAccessLogsResponse:
        """Take batches until the proxy ends the stream; the next batch waits for this one.

        A batch that comes while Mixer is overloaded is lost: Envoy would not repeat it (K6).
        """
        stream: Stream | None = None
        requests: HttpReports | None = None
        taken = False
        incoming = self._messages(aiter(request_iterator))
        async with aborting(context), aclosing(incoming) as messages:
            async for message in messages:
                if message.HasField("identifier"):
                    identifier = _Identifier.FromString(message.identifier)
                    stream = Stream.of(identifier.node, identifier.log_name)
                    check_reporter(context, stream.reporter.uid)
                    requests = HttpReports(stream, self._registry)
                if stream is None or requests is None:
                    await context.abort(
                        grpc.StatusCode.INVALID_ARGUMENT,
                        "identifier: the first message must have it",
                    )
                if message.HasField("http_logs"):
                    entries = len(message.http_logs.log_entry)
                    await self._report(HTTP, entries, self._requests(message, requests), stream)
                else:
                    if not taken:
                        await self._intake.take(stream.node_id, self._now)
                        taken = True
                    logged = Entries.FromString(message.tcp_logs)
                    entries = len(logged.log_entry)
                    await self._report(TCP, entries, self._connections(logged, stream), stream)
            if stream is not None and self._intake.closing.is_set():
                await self._intake.leave(stream.node_id)
        return StreamAccessLogsResponse()

    async def _messages(
        self, incoming: AsyncIterator[AccessLogMessage]
    ) -> AsyncGenerator[AccessLogMessage, None]:
        """Those of a stream, until it ends or Mixer closes.

        Then it ends after a message, when the next one is least likely to be on its way: Envoy does
        not repeat what it has sent (K6).
        """
        async for message in incoming:
            yield message
            if self._intake.closing.is_set():
                break
        with suppress(TimeoutError, StopAsyncIteration):
            while True:
                async with asyncio.timeout(_AT_ONCE.total_seconds()):
                    message = await anext(incoming)
                yield message

    def _requests(self, message: AccessLogMessage, requests: HttpReports) -> list[Attributes]:
        entries, apis = message.http_logs.log_entry, self._client().apis
        if not apis.bindings:
            reads = self._engine.report_reads
            return [requests.attributes(entry, reads) for entry in entries]
        found = [requests.attributes(entry) for entry in entries]
        return [{**each, **apis.attributes(each).values} for each in found]

    def _connections(self, logged: Entries, stream: Stream) -> list[Attributes]:
        now, flows = self._now(), self._intake.flows
        flows.expire(now)
        return [
            record
            for entry in logged.log_entry
            for record in flows.attributes(entry, stream, self._registry, now)
        ]

    async def _report(
        self, kind: str, entries: int, records: list[Attributes], stream: Stream
    ) -> None:
        if not records:
            self._intake.counted(kind, TAKEN, entries)
            return
        try:
            started = self._admission.admit(len(records))
        except Overloaded:
            self._intake.counted(kind, SHED, entries)
            return
        self._intake.counted(kind, TAKEN, entries)
        errors = await self._engine.report(records)
        self._admission.done(started)
        if errors:
            log.warning(
                "report.failed",
                uid=stream.reporter.uid,
                records=len(records),
                errors=len(errors),
                first=errors[0],
            )


def register(
    server: grpc.aio.Server,
    engine: Engine,
    registry: Registry,
    client: Callable[[], ClientConfig],
    admission: Admission,
    now: Callable[[], datetime],
    intake: Intake | None = None,
) -> None:
    """Serve access logs on a server; the full name of the service is :data:`SERVICE`."""
    logs = AccessLogs(engine, registry, client, admission, now, intake or Intake())
    handler = grpc.stream_unary_rpc_method_handler(
        logs.StreamAccessLogs,
        request_deserializer=excerpt,
        response_serializer=StreamAccessLogsResponse.SerializeToString,
    )
    methods = {"StreamAccessLogs": handler}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
