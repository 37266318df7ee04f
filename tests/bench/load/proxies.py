"""Simulated Envoys: they subscribe, acknowledge and reconnect as one does, and decode little.

Both protocols. The order of a start is Envoy's (pilot.md B1): clusters, endpoints of those, the
acknowledgement of the clusters, listeners, the routes these ask for. Responses are looked at as
far as an acknowledgement needs: type, nonce and version are read off the raw bytes.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from sys import intern
from typing import Final

from envoy.config.core.v3.base_pb2 import Node
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
    DiscoveryResponse,
)

from mast.pilot.api.ads import SERVICE
from mast.pilot.core.routes.listener_routes import route_configurations
from mast.pilot.core.xds.resources import CDS, EDS, LDS, RDS
from tests.bench.load.grpc_stream import GrpcStream

_RETRY_SECONDS: Final = (0.5, 1.5)
"""A refused proxy comes again after a time between these."""


@dataclass
class Tally:
    """What all proxies received: messages and bytes, and when they acknowledged."""

    messages: dict[str, int] = field(default_factory=dict)
    bytes: int = 0
    refused: int = 0
    ready: int = 0
    acknowledged: dict[tuple[str, int], float] = field(default_factory=dict)
    """Time of the last acknowledgement by type and number of the proxy."""
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def clear(self) -> None:
        """Begin a measurement."""
        self.messages.clear()
        self.acknowledged.clear()
        self.bytes = 0

    def note(self, type_url: str, proxy: int, size: int) -> None:
        """A response was acknowledged."""
        self.messages[type_url] = self.messages.get(type_url, 0) + 1
        self.bytes += size
        self.acknowledged[type_url, proxy] = time.monotonic()
        self.news.set()

    def times(self, type_url: str) -> Sequence[float]:
        """When the proxies acknowledged a type last, in order."""
        return sorted(at for (kind, _), at in self.acknowledged.items() if kind == type_url)

    async def until(self, condition: Callable[[], bool], seconds: float) -> None:
        """Wait for a condition on what is counted here."""
        async with asyncio.timeout(seconds):
            while not condition():
                self.news.clear()
                await self.news.wait()


@dataclass
class Shape:
    """What proxies of a class learned from their first responses: the others need not decode them.

    `routes` are the route configurations that their listeners ask for.
    """

    clusters: Sequence[str] = ()
    routes: Sequence[str] = ()


@dataclass
class Proxy:
    """One Envoy. `shape` is shared by proxies that get the same clusters and listeners by name.

    With `remembers` it keeps the versions of what it has and tells them when it reconnects.
    """

    number: int
    node: Node
    tally: Tally
    shape: Shape
    delta: bool = True
    remembers: bool = False
    versions: dict[str, dict[str, str]] = field(default_factory=dict)
    _stream: GrpcStream | None = None
    _over: asyncio.Event = field(default_factory=asyncio.Event)
    _begun: set[str] = field(default_factory=set)
    _configured: bool = False

    async def connect(self, target: str) -> None:
        """Open a stream and ask for clusters; the rest follows by itself."""
        host, _, port = target.rpartition(":")
        method = "DeltaAggregatedResources" if self.delta else "StreamAggregatedResources"
        self._begun = set()
        self._configured = False
        self._over = asyncio.Event()
        over, loop = self._over, asyncio.get_running_loop()

        def make() -> GrpcStream:
            return GrpcStream(f"/{SERVICE}/{method}", self._receive, over.set)

        _, self._stream = await loop.create_connection(make, host, int(port))
        self._ask(CDS, (), self.node)
        if self.versions:
            self._begun.update((CDS, EDS, LDS))
            self._ask(EDS, self.shape.clusters)
            self._ask(LDS, ())
            self._ask(RDS, self.shape.routes)

    async def stay(self, target: str, random: Callable[[], float]) -> None:
        """Be connected for ever: come again when the stream ends, after a while if refused."""
        while True:
            await self.connect(target)
            await self._over.wait()
            self.tally.ready -= self._configured
            self.tally.refused += not self._begun
            low, high = _RETRY_SECONDS
            await asyncio.sleep(low + (high - low) * random())

    def close(self) -> None:
        """Go away without a word."""
        if self._stream is not None:
            self._stream.close()

    def _ask(self, type_url: str, names: Sequence[str], node: Node | None = None) -> None:
        if self.delta:
            self._send(
                DeltaDiscoveryRequest(
                    type_url=type_url,
                    resource_names_subscribe=names,
                    initial_resource_versions=self.versions.get(type_url, {}),
                    node=node,
                )
            )
        else:
            self._send(DiscoveryRequest(type_url=type_url, resource_names=names, node=node))

    def _send(self, request: DeltaDiscoveryRequest | DiscoveryRequest) -> None:
        if self._stream is not None:
            self._stream.send(request.SerializeToString())

    def _receive(self, payload: bytes) -> None:
        type_url, nonce, version = envelope(payload)
        first = type_url not in self._begun
        self._begun.add(type_url)
        if self.remembers:
            self._remember(type_url, payload)
        if first and type_url == CDS:
            self._ask(EDS, self._clusters(payload))
        self._acknowledge(type_url, nonce, version)
        self.tally.note(type_url, self.number, len(payload))
        if first:
            self._go_on(type_url, payload)

    def _go_on(self, type_url: str, payload: bytes) -> None:
        """What the first response of a type makes Envoy ask for next."""
        if type_url == EDS:
            self._ask(LDS, ())
        elif type_url == LDS:
            if not self.shape.routes:
                self.shape.routes = tuple(sorted(set(_routes(payload, self.delta))))
            self._ask(RDS, self.shape.routes)
        elif type_url == RDS and not self._configured:
            self._configured = True
            self.tally.ready += 1
            self.tally.news.set()

    def _clusters(self, payload: bytes) -> Sequence[str]:
        if not self.shape.clusters:
            self.shape.clusters = tuple(_names(payload, self.delta))
        return self.shape.clusters

    def _acknowledge(self, type_url: str, nonce: str, version: str) -> None:
        if self.delta:
            self._send(DeltaDiscoveryRequest(type_url=type_url, response_nonce=nonce))
            return
        names: Mapping[str, Sequence[str]] = {EDS: self.shape.clusters, RDS: self.shape.routes}
        self._send(
            DiscoveryRequest(
                type_url=type_url,
                response_nonce=nonce,
                version_info=version,
                resource_names=names.get(type_url, ()),
            )
        )

    def _remember(self, type_url: str, payload: bytes) -> None:
        response = DeltaDiscoveryResponse.FromString(payload)
        known = self.versions.setdefault(type_url, {})
        known.update((intern(each.name), intern(each.version)) for each in response.resources)
        for name in response.removed_resources:
            known.pop(name, None)


def envelope(payload: bytes) -> tuple[str, str, str]:
    """Type, nonce and version of a response of either protocol, without looking into resources.

    Fields 4 and 5 are type and nonce in both, field 1 is the version.
    """
    found = dict.fromkeys((4, 5, 1), b"")
    for number, start, end in _fields(payload):
        if number in found:
            found[number] = payload[start:end]
    type_url, nonce, version = (each.decode() for each in found.values())
    return type_url, nonce, version


def _fields(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Number and place of each field; all fields of a response are length-delimited."""
    at, size = 0, len(data)
    while at < size:
        tag = data[at]
        length, shift = 0, 0
        while True:
            at += 1
            byte = data[at]
            length |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
        at += 1
        yield tag >> 3, at, at + length
        at += length


def _names(payload: bytes, delta: bool) -> Iterator[str]:
    """Clusters that get their endpoints over EDS: in the meshes made here, all outbound ones."""
    if delta:
        for each in DeltaDiscoveryResponse.FromString(payload).resources:
            if each.name.startswith("outbound|"):
                yield each.name
        return
    for packed in DiscoveryResponse.FromString(payload).resources:
        name = next(packed.value[a:b] for number, a, b in _fields(packed.value) if number == 1)
        if name.startswith(b"outbound|"):
            yield name.decode()


def _routes(payload: bytes, delta: bool) -> Iterator[str]:
    response: DeltaDiscoveryResponse | DiscoveryResponse
    if delta:
        response = DeltaDiscoveryResponse.FromString(payload)
        packed = [each.resource for each in response.resources]
    else:
        response = DiscoveryResponse.FromString(payload)
        packed = list(response.resources)
    for each in packed:
        yield from route_configurations(Listener.FromString(each.value))
