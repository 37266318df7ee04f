"""One side of an xDS stream for tests of sessions: short ways to say requests, and answers read."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from typing import Any

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
    DiscoveryResponse,
)

from mast.pilot.core.model.proxy import Proxy
from mast.pilot.core.xds.outputs import Send
from mast.pilot.core.xds.resources import CDS, EDS, LDS, RDS, SDS, SHORT_NAMES
from mast.pilot.core.xds.responses import DeltaEncoder, Responses, SotwEncoder
from mast.pilot.core.xds.session_delta import DeltaSession
from mast.pilot.core.xds.session_sotw import SotwSession
from mast.pilot.core.xds.shared import Shared
from tests.fakes.pilot_views import FakeMesh, proxy

TYPES = {short: url for url, short in SHORT_NAMES.items()}


@dataclass(frozen=True)
class Told:
    """A response, read: names of its resources, removals, and the message itself."""

    type: str
    names: tuple[str, ...]
    removed: tuple[str, ...]
    message: Any
    send: Send

    @property
    def nonce(self) -> str:
        return str(self.message.nonce)


@dataclass
class Stream:
    """A session and a clock that tests move by hand."""

    mesh: FakeMesh
    proxy: Proxy = field(default_factory=proxy)
    delta: bool = True
    shared: Shared | None = None
    withheld: frozenset[str] = frozenset()
    now: timedelta = timedelta()
    facts: list[Any] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=count)

    def __post_init__(self) -> None:
        encoder = DeltaEncoder(b"") if self.delta else SotwEncoder(b"")
        self.shared = self.shared or Shared(Responses(encoder), lambda: next(self.numbers))
        kind = DeltaSession if self.delta else SotwSession
        self.session: Any = kind(self.proxy, self.mesh.view(), self.shared, withheld=self.withheld)

    def ask(self, kind: str, *names: str, **more: Any) -> list[Told]:
        """A request: `nonce`, `error`, and by protocol `version` or `drop` and `initial`."""
        request: Any
        if self.delta:
            request = DeltaDiscoveryRequest(
                resource_names_subscribe=names,
                resource_names_unsubscribe=more.pop("drop", ()),
                initial_resource_versions=more.pop("initial", {}),
            )
        else:
            request = DiscoveryRequest(resource_names=names, version_info=more.pop("version", ""))
        request.type_url = TYPES[kind]
        request.response_nonce = more.pop("nonce", "")
        if "error" in more:
            request.error_detail.code = 3
            request.error_detail.message = more.pop("error")
        assert not more, more
        return self._read(self.session.receive(request, self.now))

    def ack(self, *told: Told, names: dict[str, tuple[str, ...]] | None = None) -> list[Told]:
        """Acknowledge responses; in the state of the world with the names given by type."""
        answers: list[Told] = []
        for each in told:
            if self.delta:
                answers += self.ask(each.type, nonce=each.nonce)
            else:
                subscribed = (names or {}).get(each.type, self._names(each.type))
                version = each.message.version_info
                answers += self.ask(each.type, *subscribed, nonce=each.nonce, version=version)
        return answers

    def nack(self, told: Told, reason: str = "bad") -> list[Told]:
        """Reject a response."""
        names = () if self.delta else self._names(told.type)
        return self.ask(told.type, *names, nonce=told.nonce, error=reason)

    def push(self, *, resend: bool = False, number: int | None = None) -> list[Told]:
        """The mesh as it is now; give the number if it is a push to several streams."""
        if number is None:
            number = next(self.numbers)
            self.shared.age()
        view = self.mesh.view()
        return self._read(self.session.push(view, number, self.now, resend=resend))

    def after(self, seconds: float) -> list[Told]:
        """Let time pass; what is due happens."""
        self.now += timedelta(seconds=seconds)
        deadline = self.session.state.deadline
        if deadline is None or deadline > self.now:
            return []
        return self._read(self.session.expire(self.now))

    def _names(self, kind: str) -> tuple[str, ...]:
        return tuple(sorted(self.session.state.watches[TYPES[kind]].names))

    def _read(self, outputs: list[Any]) -> list[Told]:
        self.facts += [each for each in outputs if not isinstance(each, Send)]
        return [self._told(each) for each in outputs if isinstance(each, Send)]

    def _told(self, send: Send) -> Told:
        kind = SHORT_NAMES[send.type_url]
        if not self.delta:
            response = DiscoveryResponse.FromString(send.payload)
            assert response.type_url == send.type_url
            assert response.nonce == send.nonce
            return Told(kind, tuple(map(_name, response.resources)), (), response, send)
        delta = DeltaDiscoveryResponse.FromString(send.payload)
        assert delta.type_url == send.type_url
        assert delta.nonce == send.nonce
        names = tuple(each.name for each in delta.resources)
        return Told(kind, names, tuple(delta.removed_resources), delta, send)


MESSAGES: dict[str, tuple[Any, str]] = {
    CDS: (Cluster, "name"),
    EDS: (ClusterLoadAssignment, "cluster_name"),
    LDS: (Listener, "name"),
    RDS: (RouteConfiguration, "name"),
    SDS: (Secret, "name"),
}


def _name(packed: Any) -> str:
    kind, name_field = MESSAGES[packed.type_url]
    return str(getattr(kind.FromString(packed.value), name_field))


def said(told: list[Told]) -> list[tuple[str, tuple[str, ...], tuple[str, ...]]]:
    """Responses as (type, names, removed names)."""
    return [(each.type, each.names, each.removed) for each in told]


def started(stream: Stream) -> Stream:
    """A client that has everything of the mesh of tests of sessions, and said so."""
    for kind, names in (("cds", ()), ("eds", ("a", "b")), ("lds", ()), ("rds", ("r",))):
        assert stream.ack(*stream.ask(kind, *names)) == []
    stream.facts.clear()
    return stream


def versions(mesh: FakeMesh, type_url: str) -> dict[str, str]:
    """Versions of all resources of a type, as a client that reconnects tells them."""
    return {name: each.version for name, each in mesh.view().collection(type_url).resources.items()}
