"""Responses as bytes: written once, sent to every session that needs the same."""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, Protocol

from mast.pilot.core.xds.recent import Recent
from mast.pilot.core.xds.resources import (
    EDS,
    RDS,
    Resource,
    content_version,
    delta_discovery_response,
    discovery_response,
    nonce_field,
)

NO_RESOURCES: Final[Mapping[str, Resource]] = MappingProxyType({})


class Response:
    """What is said to a client in one message; the nonce is added when it is sent.

    `changed` are the resources the client did not have, `removed` the names it must forget. `full`
    is the full set, if the message carries one. `version` is the hash of the content, `count` the
    number of resources in it.
    """

    __slots__ = (
        "_number",
        "_parts",
        "_payload",
        "changed",
        "count",
        "full",
        "removed",
        "type_url",
        "version",
    )

    def __init__(
        self,
        type_url: str,
        version: str,
        parts: Sequence[bytes],
        changed: tuple[Resource, ...],
        removed: tuple[str, ...],
        full: Mapping[str, Resource] | None,
    ) -> None:
        self.type_url = type_url
        self.version = version
        self.changed = changed
        self.removed = removed
        self.full = NO_RESOURCES if full is None else full
        self.count = len(changed) if full is None else len(full)
        self._parts = parts
        self._number = -1
        self._payload = b""

    def nonce(self, number: int) -> str:
        """Number of the push and hash of the content: other content, other nonce (design 4)."""
        return f"{number:x}-{self.version}"

    def payload(self, number: int) -> bytes:
        """The serialised message."""
        return b"".join((*self._parts, nonce_field(self.nonce(number))))

    def shared_payload(self, number: int) -> bytes:
        """The serialised message; the same object for everybody who is sent it in that push."""
        if number != self._number:
            self._payload = self.payload(number)
            self._number = number
        return self._payload

    def forget_payload(self) -> None:
        """The push is over: whoever is late makes the message again."""
        self._number = -1
        self._payload = b""


class Encoder(Protocol):
    """One of the two protocols: how a message looks and what it can say."""

    @property
    def complete(self) -> bool:
        """Messages about clusters and listeners are the full set (state of the world)."""

    @property
    def stand_ins(self) -> frozenset[str]:
        """Types of which a missing name is answered with a stand-in (pilot.md B10)."""

    def response(
        self,
        type_url: str,
        changed: tuple[Resource, ...],
        removed: tuple[str, ...],
        full: Mapping[str, Resource] | None,
    ) -> Response:
        """A message that tells changes and removals or, if `full` is given, all there is."""


class SotwEncoder:
    """State-of-the-world protocol: DiscoveryResponse."""

    complete: Final = True
    stand_ins: Final = frozenset({EDS, RDS})

    def __init__(self, control_plane: bytes) -> None:
        self._control_plane = control_plane

    def response(
        self,
        type_url: str,
        changed: tuple[Resource, ...],
        removed: tuple[str, ...],
        full: Mapping[str, Resource] | None,
    ) -> Response:
        """What is removed is absent from the full set; of other types it cannot be said."""
        resources = changed if full is None else tuple(full.values())
        version = _content(resources, ())
        parts = discovery_response(type_url, version, resources, self._control_plane)
        return Response(type_url, version, parts, changed, removed, full)


class DeltaEncoder:
    """Incremental protocol: DeltaDiscoveryResponse."""

    complete: Final = False
    stand_ins: Final = frozenset({RDS})

    def __init__(self, control_plane: bytes) -> None:
        self._control_plane = control_plane

    def response(
        self,
        type_url: str,
        changed: tuple[Resource, ...],
        removed: tuple[str, ...],
        full: Mapping[str, Resource] | None,
    ) -> Response:
        """There are no full sets."""
        del full
        version = _content(changed, removed)
        parts = delta_discovery_response(type_url, version, changed, removed, self._control_plane)
        return Response(type_url, version, parts, changed, removed, None)


def _content(resources: Iterable[Resource], removed: Iterable[str]) -> str:
    told = [f"{each.name}\0{each.version}" for each in resources]
    return content_version("\0".join([*told, "\0", *removed]).encode())


class Responses:
    """Responses to equal needs, made once."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self._recent = Recent()

    def age(self) -> None:
        """Forget what no session has used since the last call but one, and all messages."""
        for each in self._recent.young():
            each.forget_payload()
        self._recent.age()

    def shared(
        self,
        type_url: str,
        changed: tuple[Resource, ...],
        removed: tuple[str, ...],
        full: Mapping[str, Resource] | None,
    ) -> Response:
        """As `single`, but one response for all calls with the same objects."""
        key = (type_url, id(changed), removed, id(full))
        found: Response = self._recent.get(
            key, (changed, full), lambda: self.single(type_url, changed, removed, full)
        )
        return found

    def single(
        self,
        type_url: str,
        changed: tuple[Resource, ...],
        removed: tuple[str, ...],
        full: Mapping[str, Resource] | None,
    ) -> Response:
        """A message that tells the changes or, if `full` is given, everything there is."""
        return self.encoder.response(type_url, changed, removed, full)
