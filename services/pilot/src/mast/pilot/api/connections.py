"""All streams of this replica, and the push they share."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from itertools import count
from types import MappingProxyType
from typing import Final

from mast.common.latest import Latest
from mast.pilot.api.connection import Connection, Facilities
from mast.pilot.core.debug import events
from mast.pilot.core.xds.experience import Experiences
from mast.pilot.core.xds.following import follows
from mast.pilot.core.xds.outputs import Rejected
from mast.pilot.core.xds.push import Push
from mast.pilot.core.xds.report import version_text
from mast.pilot.core.xds.resources import Resource
from mast.pilot.core.xds.responses import DeltaEncoder, Encoder, Responses, SotwEncoder
from mast.pilot.core.xds.shared import Shared

PROXIES: Final = frozenset({"", "grpc"})
"""Generators that proxies ask for."""


class Connections:
    """Takes pushes and hands each to every stream that is open or opens later.

    `control_plane` is a serialised ControlPlane, said in every response (pilot.md B22).
    """

    def __init__(self, facilities: Facilities, control_plane: bytes) -> None:
        self.facilities = facilities
        self._numbers = count(1)
        self._push: Latest[Push | None] = Latest(None)
        self._open: dict[str, Connection] = {}
        self._serial = count(1)
        self.changes = 0
        """Rises whenever a stream opens or ends."""
        self.draining = False
        self._experiences = Experiences()
        self.sotw = self._shared(SotwEncoder(control_plane))
        self.delta = self._shared(DeltaEncoder(control_plane))

    def _shared(self, encoder: Encoder) -> Shared:
        return Shared(Responses(encoder), self.next_number, self._experiences)

    def next_number(self) -> int:
        """A number that no push and no answer had before (design 4)."""
        return next(self._numbers)

    @property
    def push(self) -> Push | None:
        """The push made last; None until the first complete snapshot."""
        return self._push.value

    @property
    def open(self) -> Mapping[str, Connection]:
        """Open streams by name."""
        return MappingProxyType(self._open)

    @property
    def proxies(self) -> Sequence[Connection]:
        """Open streams of proxies, without those of operators and other control planes."""
        return [each for each in self._open.values() if each.proxy.generator in PROXIES]

    async def publish(self, push: Push) -> None:
        """Hand a push to every stream."""
        await self.facilities.work(self._age)
        self._push.publish(push)
        for each in tuple(self._open.values()):
            each.offer(push)

    def _age(self) -> None:
        self._experiences.age()
        self.sotw.age()
        self.delta.age()

    async def followed(self, generation: int) -> bool:
        """Whether every proxy has taken over that generation of the mesh."""
        sessions = [each.session.state for each in self.proxies]
        return await self.facilities.work(
            lambda: all(follows(each, generation) for each in sessions)
        )

    async def registered(self, revision: int) -> None:
        """Wait until workloads of that revision of the store are in the push made last."""
        push = self.push
        while push is None or push.registered < revision:
            push = await self._push.after(push)

    def name(self, node_id: str) -> str:
        """Name for a new connection: `ID-COUNTER` (pilot.md A1)."""
        return f"{node_id}-{next(self._serial)}"

    def rejected(self, connection: Connection, rejection: Rejected) -> None:
        """A client rejected a response: an event."""
        self._announce(events.NACK, partial(events.rejected, connection.proxy, rejection))

    def _announce(self, type_url: str, make: Callable[[], Resource]) -> None:
        following = [each for each in self._open.values() if each.follows(type_url)]
        if following:
            event = make()
            for each in following:
                each.notify(type_url, event)

    @contextmanager
    def joined(self, connection: Connection, seen: Push) -> Iterator[None]:
        """Among the open streams within the block; `seen` is the push its state is made from."""
        self._announce(events.CONNECT, partial(events.came, connection.proxy))
        self._open[connection.name] = connection
        self._count(connection, 1)
        if self.push is not None and self.push is not seen:
            connection.offer(self.push)
        if self.draining:  # it was admitted before
            connection.close(self.facilities.clock.instant())
        try:
            yield
        finally:
            del self._open[connection.name]
            self._count(connection, -1)
            self._announce(events.DISCONNECT, partial(events.came, connection.proxy))

    def _count(self, connection: Connection, change: int) -> None:
        self.changes += 1
        self.facilities.instruments.connected(version_text(connection.proxy), change)

    def drain(self, within: timedelta, random: Callable[[], float]) -> None:
        """Take on no more streams, and close all, spread over a time: proxies move one by one."""
        self.draining = True
        now = self.facilities.clock.instant()
        for each in self._open.values():
            each.close(now + within * random())
