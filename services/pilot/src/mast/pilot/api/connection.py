"""One ADS stream: requests in, responses out, one writer."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from functools import partial
from typing import Any, Final, Protocol

import structlog
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest

from mast.common.identity.spiffe import SpiffeId
from mast.pilot.api.instruments import Instruments
from mast.pilot.core.model.proxy import Proxy
from mast.pilot.core.xds.access import BadQuestion, NotAllowed, NotHere, Unauthenticated
from mast.pilot.core.xds.outputs import Output, Rejected, Send, Stale
from mast.pilot.core.xds.push import Pending, Push
from mast.pilot.core.xds.report import Stream
from mast.pilot.core.xds.resources import ASIDE, HEALTH, Resource, View
from mast.pilot.core.xds.session import Session
from mast.pilot.core.xds.watch import Instant
from mast.pilot.core.xds.work import Clock, Work

log = structlog.get_logger()

REFUSALS: Final = (NotAllowed, Unauthenticated, BadQuestion, NotHere)
"""Why a question aside is not answered."""

EVENTS: Final = 1000
"""Events that may wait for a client; then the oldest are lost, and counted."""

INBOX: Final = 100
"""Requests that may wait; then the stream is not read on."""


PATIENCE: Final = 0.1
"""Seconds that a push may hold up others; a proxy that reads more slowly is waited for aside."""


class Ended(Enum):
    """Why a stream is over; `REFUSED` because of what was asked aside, see `Connection.refusal`."""

    BY_CLIENT = "closed by the client"
    BY_DRAIN = "this replica is shutting down"
    NOT_READ = "the client does not read"
    REFUSED = "a question is refused"
    BAD_REQUEST = "type_url: must not be empty on an aggregated stream"


class Conversation(Protocol):
    """A session that speaks one of the protocols."""

    @property
    def state(self) -> Session:
        """What was sent and acknowledged."""

    def tell(self, type_url: str, resources: tuple[Resource, ...]) -> Send:
        """A response beside what is sent and acknowledged."""

    def receive(self, request: Any, now: Instant) -> list[Output]:
        """Record a request of the protocol, and answer it."""

    def push(self, view: View, number: int, now: Instant, *, resend: bool = False) -> list[Send]:
        """Take over a new view."""

    def expire(self, now: Instant) -> list[Send]:
        """Do what is due."""


@dataclass(frozen=True)
class Peer:
    """Who is at the other end: its address, and its identity if it proved one."""

    address: str
    identity: SpiffeId | None = None


class Asides(Protocol):
    """Who gets what proxies do not, and answers to what is asked aside (pilot.md B27, B28)."""

    def admit(self, proxy: Proxy, identity: SpiffeId | None) -> None:
        """Raises `NotAllowed` or `Unauthenticated` if a client may not have its generator."""

    async def answer(
        self, proxy: Proxy, identity: SpiffeId | None, type_url: str, names: Sequence[str]
    ) -> tuple[Resource, ...] | None:
        """What is told at once; None if nothing is. Raises one of `REFUSALS`."""


class Writer(Protocol):
    """The sending half of a stream."""

    async def write(self, message: Any) -> None:
        """Send; waits while the client does not read."""


@dataclass(frozen=True)
class Facilities:
    """What all connections share.

    `pushing` bounds how many push at a time (pilot.md B20); those that do not read do not count.
    """

    work: Work
    clock: Clock
    instruments: Instruments
    pushing: asyncio.Semaphore
    send_timeout: timedelta = timedelta(seconds=10)


class Connection:
    """A proxy's stream; `run` is its life.

    Its session is only touched through `Facilities.work`. Requests come before pushes, pushes
    that wait coalesce, nothing else writes to the stream (pilot.md B18).
    """

    def __init__(
        self,
        name: str,
        proxy: Proxy,
        peer: Peer,
        session: Conversation,
        facilities: Facilities,
        *,
        changed: Callable[["Connection"], None],
        health: Callable[[bool], None],
        asides: Asides,
        rejected: Callable[["Connection", Rejected], None],
        revision: int = 0,
    ) -> None:
        """`changed` is told when the state may have; `health` what the agent found (B26).

        `rejected` is told of responses that the client rejects. `revision` is that of the snapshot
        which the session begins with.
        """
        self.name = name
        self.proxy = proxy
        self.peer = peer
        self.session = session
        self.revision = revision
        """Revision of the store whose configuration it was sent last."""
        self.connected_at = facilities.clock.now()
        self.opened = facilities.clock.instant()
        self._facilities = facilities
        self._changed = changed
        self._health = health
        self._asides = asides
        self._rejected = rejected
        self.refusal: Exception | None = None
        """Why the stream was ended as `REFUSED`."""
        self._asked: dict[str, Sequence[str]] = {}
        self._events: deque[tuple[str, Resource]] = deque()
        self._inbox: asyncio.Queue[Any] = asyncio.Queue(INBOX)
        self._pending = Pending()
        self._offered = self.opened
        self._wake = asyncio.Event()
        self._over = False
        self._close_at: Instant | None = None
        self._log = log.bind(connection=name)

    @property
    def stream(self) -> Stream:
        """What reports say of the connection beside its session."""
        return Stream(
            self.name,
            self.proxy,
            self.connected_at,
            self.peer.address,
            "" if self.peer.identity is None else str(self.peer.identity),
            lambda instant: self.connected_at + (instant - self.opened),
        )

    def offer(self, push: Push) -> None:
        """A new snapshot, to be pushed when its turn comes."""
        if not self._pending:
            self._offered = self._facilities.clock.instant()
        self._pending.offer(push)
        self._wake.set()

    def follows(self, type_url: str) -> bool:
        """The client asked for events of a type."""
        return type_url in self._asked

    def notify(self, type_url: str, event: Resource) -> None:
        """Something happened that the client follows."""
        if len(self._events) >= EVENTS:
            self._events.popleft()
            self._facilities.instruments.events_lost.add()
        self._events.append((type_url, event))
        self._wake.set()

    def close(self, at: Instant) -> None:
        """End the stream at that time, so that the proxy goes to another replica."""
        self._close_at = at
        self._wake.set()

    async def run(self, first: Any, requests: AsyncIterator[Any], writer: Writer) -> Ended:
        """Answer the first request and those that follow, and push, until either side ends."""
        self._inbox.put_nowait(first)
        async with asyncio.TaskGroup() as tasks:
            reading = tasks.create_task(self._read(requests), name=f"read {self.name}")
            try:
                return await self._converse(writer)
            except REFUSALS as refusal:
                self.refusal = refusal
                return Ended.REFUSED
            except TimeoutError:
                self._facilities.instruments.write_timeouts.add()
                return Ended.NOT_READ
            finally:
                reading.cancel()

    async def _read(self, requests: AsyncIterator[Any]) -> None:
        async for request in requests:
            await self._inbox.put(request)
            self._wake.set()
        self._over = True
        self._wake.set()

    async def _converse(self, writer: Writer) -> Ended:
        while True:
            self._wake.clear()
            now = self._facilities.clock.instant()
            due = self.session.state.deadline
            if not self._inbox.empty():
                request = self._inbox.get_nowait()
                if not request.type_url:
                    return Ended.BAD_REQUEST
                await self._answer(request, now, writer)
            elif self._over:
                return Ended.BY_CLIENT
            elif self._close_at is not None and now >= self._close_at:
                return Ended.BY_DRAIN
            elif self._pending:
                await self._push(writer)
            elif self._events:
                await self._send([await self._do(self._told)], now, writer)
            elif due is not None and now >= due:
                await self._send(await self._do(partial(self.session.expire, now)), now, writer)
            else:
                await self._sleep(now, due)

    async def _sleep(self, now: Instant, due: Instant | None) -> None:
        """Until something happens, or one of the times has come."""
        times = [each for each in (due, self._close_at) if each is not None]
        if not times:
            await self._wake.wait()
            return
        try:
            async with asyncio.timeout((min(times) - now).total_seconds()):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _answer(self, request: Any, now: Instant, writer: Writer) -> None:
        if request.type_url == HEALTH:
            self._health(not request.HasField("error_detail"))
            return
        if request.type_url.startswith(ASIDE):
            await self._answer_aside(request, now, writer)
            return
        outputs = await self._do(partial(self.session.receive, request, now))
        for each in outputs:
            self._note(each)
        await self._send(outputs, now, writer)

    async def _answer_aside(self, request: Any, now: Instant, writer: Writer) -> None:
        """Answer a question; what only acknowledges an answer is none (pilot.md B28)."""
        sotw = isinstance(request, DiscoveryRequest)
        names = tuple(request.resource_names if sotw else request.resource_names_subscribe)
        known = self._asked.get(request.type_url)
        if request.HasField("error_detail") or (request.response_nonce and names in ((), known)):
            return
        self._asked[request.type_url] = names
        identity = self.peer.identity
        told = await self._asides.answer(self.proxy, identity, request.type_url, names)
        if told is not None:
            answer = await self._do(partial(self.session.tell, request.type_url, told))
            await self._send([answer], now, writer)

    def _told(self) -> Send:
        """The oldest event that waits."""
        type_url, event = self._events.popleft()
        return self.session.tell(type_url, (event,))

    async def _push(self, writer: Writer) -> None:
        instruments, clock = self._facilities.instruments, self._facilities.clock
        async with _turn(self._facilities.pushing):
            push = self._pending.take()
            if push is None:
                return
            begun = clock.instant()
            instruments.queue_time.record((begun - self._offered).total_seconds())
            await self._send(await self._do(partial(self._pushed, push, begun)), begun, writer)
            self.revision = push.snapshot.revision
            ended = clock.instant()
        instruments.convergence.record((ended - push.started).total_seconds())

    def _pushed(self, push: Push, now: Instant) -> list[Send]:
        view = push.view(self.proxy)
        return self.session.push(view, push.number, now, resend=push.resend)

    async def _do(self, task: Callable[[], Any]) -> Any:
        outputs, missed = await self._facilities.work(lambda: (task(), self.session.state.missed()))
        if missed:
            self._facilities.instruments.missed(len(missed))
            self._log.warning("secrets.unavailable", names=missed[:10])
        self._changed(self)
        return outputs

    async def _send(self, outputs: Iterable[Output], since: Instant, writer: Writer) -> None:
        """Write what was begun at an instant; raises TimeoutError if the client does not read."""
        instruments, clock = self._facilities.instruments, self._facilities.clock
        for each in outputs:
            if not isinstance(each, Send):
                continue
            begun = clock.instant()
            try:
                async with asyncio.timeout(self._facilities.send_timeout.total_seconds()):
                    await writer.write(each.payload)
            except TimeoutError:
                instruments.send_failed(each.type_url)
                raise
            ended = clock.instant()
            instruments.send_time.record((ended - begun).total_seconds())
            instruments.sent(each.type_url, len(each.payload), (ended - since).total_seconds())
            since = ended
            self._log.debug(
                "response.sent", type=each.type_url, nonce=each.nonce, resources=each.resources
            )

    def _note(self, output: Output) -> None:
        instruments = self._facilities.instruments
        if isinstance(output, Stale):
            instruments.expired(output.type_url)
            self._log.debug("nonce.stale", type=output.type_url, nonce=output.nonce)
        elif isinstance(output, Rejected):
            instruments.rejected(output.type_url, self.proxy.node_id, output.reason)
            self._rejected(self, output)
            self._log.warning(
                "response.rejected",
                type=output.type_url,
                nonce=output.nonce,
                reason=output.reason,
                resources=output.names[:10],
            )


@asynccontextmanager
async def _turn(slots: asyncio.Semaphore) -> AsyncIterator[None]:
    """Within the block, but no longer than `PATIENCE`, one of the slots is taken (pilot.md N20)."""
    await slots.acquire()
    taken = [slots]

    def free() -> None:
        while taken:
            taken.pop().release()

    timer = asyncio.get_running_loop().call_later(PATIENCE, free)
    try:
        yield
    finally:
        timer.cancel()
        free()
