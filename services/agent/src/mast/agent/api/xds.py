"""The ADS server for Envoy: a proxy to Pilot that lets bytes through and adds the agent (B4)."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

import grpc
import grpc.aio
import structlog

from istio.mesh.v1alpha1.proxy_pb2 import ProxyConfig
from istio.networking.nds.v1.nds_pb2 import NameTable
from mast.agent.core import ads
from mast.agent.core.ads import AdsSession, Consumed, Health
from mast.agent.core.outbox import Outbox
from mast.common.latest import Latest
from mastapi.trust.v1.trust_pb2 import TrustBundle

log = structlog.get_logger()

SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"
SOTW = "StreamAggregatedResources"
DELTA = "DeltaAggregatedResources"

Call = grpc.aio.StreamStreamCall[bytes, bytes]
Localise = Callable[[bytes, bool], Awaitable[bytes]]
Dial = Callable[[str], AbstractAsyncContextManager[Call]]
Context = grpc.aio.ServicerContext[bytes, bytes]


_EXTENSIONS = 16
"""Responses about extensions that may wait for modules of those before."""


class _Over(Exception):
    """A stream ended: the status for Envoy, OK if Envoy itself is done."""

    def __init__(self, code: grpc.StatusCode, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


@dataclass(eq=False, slots=True)
class _Stream:
    session: AdsSession
    outbox: Outbox = field(default_factory=Outbox)
    filled: asyncio.Event = field(default_factory=asyncio.Event)
    drained: asyncio.Event = field(default_factory=asyncio.Event)
    told_to_end: asyncio.Event = field(default_factory=asyncio.Event)
    ending: _Over | None = None
    extensions: asyncio.Queue[bytes] = field(default_factory=lambda: asyncio.Queue(_EXTENSIONS))
    bundles: Latest[Consumed | None] = field(default_factory=lambda: Latest(None))
    writing: asyncio.Lock = field(default_factory=asyncio.Lock)

    def send_own(self, kind: str, data: bytes) -> None:
        self.outbox.add_own(kind, data)
        self.filled.set()

    def end(self, over: _Over) -> None:
        """Have the stream end with a status."""
        self.ending = over
        self.told_to_end.set()


class AdsProxy:
    """Each stream of Envoy is one stream to Pilot, in the same variant; a newer one ends an older.

    gRPC libraries that speak xDS themselves have as many as they like.

    ``dial`` opens a stream of raw messages by method name and raises ``unreachable`` if it
    cannot. ``wants`` are the types that the agent subscribes for itself; their contents go to
    ``on_names``, ``on_proxy_config`` and ``on_bundles``; bundles are confirmed when that is done,
    rejected if it gives a reason. ``localise`` puts files in the place of modules that a
    response (and whether it is of the incremental variant) wants fetched; if it raises
    ``unavailable`` the response is rejected. Publish to ``health`` what the workload's probe says.
    """

    def __init__(
        self,
        dial: Dial,
        *,
        unreachable: type[Exception],
        localise: Localise,
        unavailable: type[Exception],
        wants: frozenset[str],
        on_names: Callable[[NameTable], None],
        on_proxy_config: Callable[[ProxyConfig], None],
        on_bundles: Callable[[Mapping[str, TrustBundle]], Awaitable[str]],
    ) -> None:
        self.health: Latest[Health | None] = Latest(None)
        self._dial = dial
        self._unreachable = unreachable
        self._localise = localise
        self._unavailable = unavailable
        self._wants = wants
        self._on_names = on_names
        self._on_proxy_config = on_proxy_config
        self._on_bundles = on_bundles
        self._current: _Stream | None = None
        self._streams: set[_Stream] = set()

    def redial(self, why: str) -> None:
        """End every stream, so that its client comes back and Pilot is dialled anew (B2.4)."""
        for stream in self._streams:
            stream.end(_Over(grpc.StatusCode.UNAVAILABLE, why))

    def register(self, server: grpc.aio.Server) -> None:
        """Add both variants to a gRPC server; messages stay serialised."""
        methods: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
            SOTW: grpc.stream_stream_rpc_method_handler(self._sotw),
            DELTA: grpc.stream_stream_rpc_method_handler(self._delta),
        }
        handler = grpc.method_handlers_generic_handler(SERVICE, methods)
        server.add_generic_rpc_handlers((handler,))

    async def _sotw(self, requests: AsyncIterator[bytes], context: Context) -> None:
        await self._proxy(SOTW, requests, context)

    async def _delta(self, requests: AsyncIterator[bytes], context: Context) -> None:
        await self._proxy(DELTA, requests, context)

    async def _proxy(self, method: str, requests: AsyncIterator[bytes], context: Context) -> None:
        stream = _Stream(AdsSession(delta=method == DELTA, wants=self._wants))
        self._streams.add(stream)
        try:
            async with self._dial(method) as call:
                log.info("ads.connected", method=method)
                over = await self._run(stream, call, requests, context)
        except self._unreachable as error:
            over = _Over(grpc.StatusCode.UNAVAILABLE, str(error))
        finally:
            self._streams.discard(stream)
            if self._current is stream:
                self._current = None
        log.info("ads.disconnected", method=method, status=over.code.name, detail=over.detail)
        if over.code is not grpc.StatusCode.OK:
            await context.abort(over.code, over.detail)

    async def _run(
        self, stream: _Stream, call: Call, requests: AsyncIterator[bytes], context: Context
    ) -> _Over:
        """Move messages both ways until one side is done; what it said."""
        ends: list[_Over] = []
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._take(stream, requests), name="ads-take")
                tasks.create_task(self._send(stream, call), name="ads-send")
                tasks.create_task(self._return(stream, call, context), name="ads-return")
                tasks.create_task(self._extend(stream, context), name="ads-extensions")
                tasks.create_task(self._trust(stream), name="ads-trust")
                tasks.create_task(self._report(stream), name="ads-health")
                tasks.create_task(_end_when_told(stream), name="ads-end")
        except* _Over as group:
            ends += [error for error in group.exceptions if isinstance(error, _Over)]
        return ends[0]

    async def _take(self, stream: _Stream, requests: AsyncIterator[bytes]) -> None:
        async for data in requests:
            while stream.outbox.full:
                stream.drained.clear()
                await stream.drained.wait()
            introduced = stream.session.without_proxy is not None
            try:
                own = stream.session.envoy_sent(data, self.health.value)
            except ValueError as error:
                raise _Over(grpc.StatusCode.INVALID_ARGUMENT, f"ADS request: {error}") from error
            if not introduced and not stream.session.without_proxy:
                self._replace(stream)
            stream.outbox.add(data)
            for number, request in enumerate(own):
                stream.outbox.add_own(f"first-{number}", request)
            stream.filled.set()
        raise _Over(grpc.StatusCode.OK, "Envoy closed the stream")

    def _replace(self, stream: _Stream) -> None:
        """End the stream that Envoy had before this one."""
        if self._current is not None:
            over = _Over(grpc.StatusCode.CANCELLED, "a newer stream of Envoy took over")
            self._current.end(over)
        self._current = stream

    async def _send(self, stream: _Stream, call: Call) -> None:
        while True:
            stream.filled.clear()
            while (data := stream.outbox.next()) is not None:
                try:
                    await call.write(data)
                except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
                    raise await _status(call) from error
                stream.drained.set()
            await stream.filled.wait()

    async def _return(self, stream: _Stream, call: Call, context: Context) -> None:
        while True:
            try:
                data = await call.read()
            except grpc.aio.AioRpcError as error:
                raise await _status(call) from error
            if not isinstance(data, bytes):  # the end of the stream
                raise await _status(call)
            try:
                consumed = stream.session.upstream_sent(data)
                extends = stream.session.brings_extensions(data)
            except ValueError as error:
                raise _Over(grpc.StatusCode.INTERNAL, f"ADS response: {error}") from error
            if extends:
                await stream.extensions.put(data)
            elif consumed is None:
                async with stream.writing:
                    await context.write(data)
            else:
                self._consume(stream, consumed)

    def _consume(self, stream: _Stream, consumed: Consumed) -> None:
        if consumed.error:
            log.warning("ads.rejected", type_url=consumed.type_url, error=consumed.error)
        if consumed.bundles is not None:
            stream.bundles.publish(consumed)  # answered when it is in use
            return
        if consumed.names is not None:
            self._on_names(consumed.names)
        if consumed.proxy_config is not None:
            self._on_proxy_config(consumed.proxy_config)
        stream.send_own(consumed.type_url, consumed.reply)

    async def _trust(self, stream: _Stream) -> None:
        """Take trust bundles over and answer when all that follows from them is done (A8.5).

        Pilot waits for an answer before it sends the next, and only the newest matters.
        """
        consumed: Consumed | None = None
        while True:
            consumed = await stream.bundles.after(consumed)
            if consumed is None or consumed.bundles is None or consumed.refusal is None:
                continue
            problem = await self._on_bundles(consumed.bundles)
            reply = consumed.refusal(problem) if problem else consumed.reply
            stream.send_own(consumed.type_url, reply)

    async def _extend(self, stream: _Stream, context: Context) -> None:
        """Pass responses about extensions on, in order, once their modules are there.

        Others do not wait for them; what cannot be had is rejected alone (B4.4).
        """
        while True:
            data = await stream.extensions.get()
            try:
                local = await self._localise(data, stream.session.delta)
            except self._unavailable as error:
                log.warning("extension.rejected", error=str(error))
                stream.send_own("extension", stream.session.rejection(data, str(error)))
                continue
            except ValueError as error:
                raise _Over(grpc.StatusCode.INTERNAL, f"ADS response: {error}") from error
            async with stream.writing:
                await context.write(local)

    async def _report(self, stream: _Stream) -> None:
        """Tell changes of health; the state at subscription went with it."""
        seen = self.health.value
        while True:
            seen = await self.health.after(seen)
            if seen is not None and stream.session.subscribed:
                stream.send_own(ads.HEALTH, stream.session.health_report(seen))


async def _end_when_told(stream: _Stream) -> None:
    await stream.told_to_end.wait()
    if stream.ending is not None:
        raise stream.ending


async def _status(call: Call) -> _Over:
    """How Pilot ended the stream. A clean end is a reason for Envoy to come back, too."""
    code = await call.code()
    detail = await call.details() or ""
    if code is grpc.StatusCode.OK:
        return _Over(grpc.StatusCode.UNAVAILABLE, "Pilot closed the stream")
    return _Over(code, detail)
