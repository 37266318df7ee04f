"""xDS resources: bytes made once, versions that are content hashes, and what a proxy may ask for.

A generated message becomes a `Resource`: serialised deterministically, hashed, and kept with the
protobuf field that carries it in a response of either protocol. A response is then a concatenation
of ready fields, the same bytes for every proxy that needs the same resources.
"""

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from hashlib import blake2b
from types import MappingProxyType
from typing import Final, Protocol

from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from google.protobuf.message import Message

from mast.pilot.core.model.proxy import Proxy
from mast.pilot.core.wire import bytes_field, field_header, text_field

_PREFIX = "type.googleapis.com/"

CDS: Final = _PREFIX + "envoy.config.cluster.v3.Cluster"
EDS: Final = _PREFIX + "envoy.config.endpoint.v3.ClusterLoadAssignment"
LDS: Final = _PREFIX + "envoy.config.listener.v3.Listener"
RDS: Final = _PREFIX + "envoy.config.route.v3.RouteConfiguration"
SDS: Final = _PREFIX + "envoy.extensions.transport_sockets.tls.v3.Secret"
ECDS: Final = _PREFIX + "envoy.config.core.v3.TypedExtensionConfig"
VHDS: Final = _PREFIX + "envoy.config.route.v3.VirtualHost"
NDS: Final = _PREFIX + "istio.networking.nds.v1.NameTable"
PCDS: Final = _PREFIX + "istio.mesh.v1alpha1.ProxyConfig"
TBDS: Final = _PREFIX + "mastapi.trust.v1.TrustBundle"
HEALTH: Final = _PREFIX + "istio.v1.HealthInformation"
BOOTSTRAP: Final = _PREFIX + "envoy.config.bootstrap.v3.Bootstrap"
MCP: Final = _PREFIX + "istio.mcp.v1alpha1.Resource"
CLIENT_CONFIG: Final = _PREFIX + "envoy.service.status.v3.ClientConfig"

ASIDE: Final = "istio.io/"
"""Begin of the types that are answered beside configuration (pilot.md B28)."""

WILDCARD_TYPES: Final = frozenset({CDS, LDS, NDS, PCDS, TBDS, BOOTSTRAP})
"""Types that a subscription without names asks for as a whole (pilot.md B)."""


def has_wildcard(type_url: str) -> bool:
    """Whether a subscription without names asks for everything.

    So do those of configuration objects, GROUP/VERSION/KIND (pilot.md B27).
    """
    return type_url in WILDCARD_TYPES or is_configuration(type_url)


def is_configuration(type_url: str) -> bool:
    """Whether a type is a kind of configuration: GROUP/VERSION/KIND (pilot.md B27)."""
    return type_url.count("/") == 2 and not type_url.startswith(ASIDE)


PUSH_ORDER: Final = (CDS, EDS, LDS, RDS, SDS)
"""Order of types within one push; every other type follows (pilot.md B17)."""

SHORT_NAMES: Final[Mapping[str, str]] = MappingProxyType(
    {
        CDS: "cds",
        EDS: "eds",
        LDS: "lds",
        RDS: "rds",
        SDS: "sds",
        ECDS: "ecds",
        VHDS: "vhds",
        NDS: "nds",
        PCDS: "pcds",
        TBDS: "tbds",
    }
)
"""Names of types in metrics and debug output (pilot.md M3)."""


def push_rank(type_url: str) -> tuple[int, str]:
    """Sort key that puts type URLs into the order in which they are pushed (pilot.md B17)."""
    rank = PUSH_ORDER.index(type_url) if type_url in PUSH_ORDER else len(PUSH_ORDER)
    return rank, type_url


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Resource:
    """One xDS resource, ready to send.

    `version` is the hash of its content: equal content has an equal version on every replica
    (pilot.md B13). `requires` names what Envoy asks for because of it: a cluster of type EDS its
    EDS service name, a listener its RDS route configurations. `delta_field` is the field
    `resources` of a DeltaDiscoveryResponse, tag and length included; all other forms are parts of
    it, so that the content is in memory once.
    """

    name: str
    type_url: str
    version: str
    requires: frozenset[str] = field(compare=False)
    delta_field: bytes = field(compare=False, repr=False)
    body_size: int = field(compare=False)

    @property
    def body(self) -> bytes:
        """The serialised message."""
        end = self._name_at
        return self.delta_field[end - self.body_size : end]

    @property
    def sotw_field(self) -> bytes:
        """Field `resources` of a DiscoveryResponse, tag and length included."""
        end = self._name_at
        size = len(text_field(1, self.type_url)) + self.body_size
        size += len(field_header(2, self.body_size)) if self.body_size else 0
        return bytes_field(2, self.delta_field[end - size : end])

    @property
    def _name_at(self) -> int:
        """Where the content ends: the name is the last part of the field."""
        return len(self.delta_field) - len(text_field(3, self.name))


def resource(name: str, type_url: str, message: Message, requires: Iterable[str] = ()) -> Resource:
    """The message as a resource: serialised once, deterministically, and hashed.

    A cluster of type EDS must name its EDS service name in `requires` (pilot.md B14); a listener
    should name its RDS route configurations (B17).
    """
    body = message.SerializeToString(deterministic=True)
    return packed(name, type_url, (body,), content_version(body), requires)


def packed(
    name: str, type_url: str, parts: Sequence[bytes], version: str, requires: Iterable[str] = ()
) -> Resource:
    """A resource of serialised parts, which make the message one after the other.

    The version must be a function of the content.
    """
    size = sum(map(len, parts))
    body_header = field_header(2, size) if size else b""
    any_start = text_field(1, type_url) + body_header
    start = text_field(1, version) + field_header(2, len(any_start) + size) + any_start
    end = text_field(3, name)
    whole_header = field_header(2, len(start) + size + len(end))
    made = b"".join((whole_header, start, *parts, end))
    return Resource(name, type_url, version, frozenset(requires), made, size)


def content_version(body: bytes) -> str:
    """64 bits of BLAKE2b over the content, as 16 hexadecimal digits."""
    return blake2b(body, digest_size=8).hexdigest()


@dataclass(frozen=True)
class Part:
    """Resources of one type, sorted by name: all of a collection, or what several have in common.

    `version` is the hash of the names and versions.
    """

    version: str
    resources: Mapping[str, Resource] = field(compare=False)


@dataclass(frozen=True)
class Collection:
    """All resources of one wildcard type that a view has, in parts that views may share.

    A name is in one part only. `version` is the hash of the names and versions.
    """

    parts: tuple[Part, ...]

    def __iter__(self) -> Iterator[Resource]:
        return iter(self.resources.values())

    @cached_property
    def version(self) -> str:
        """Hash of its content."""
        if len(self.parts) == 1:
            return self.parts[0].version
        return content_version("\0".join(each.version for each in self.parts).encode())

    @cached_property
    def resources(self) -> Mapping[str, Resource]:
        """All by name, sorted."""
        if len(self.parts) == 1:
            return self.parts[0].resources
        return part(one for each in self.parts for one in each.resources.values()).resources

    def get(self, name: str) -> Resource | None:
        """The resource of that name, None if there is none."""
        found = (each.resources.get(name) for each in self.parts)
        return next((each for each in found if each is not None), None)

    @cached_property
    def requires(self) -> frozenset[str]:
        """Everything that resources of this collection require."""
        return frozenset().union(*(each.requires for each in self))


def part(resources: Iterable[Resource]) -> Part:
    """Resources of one type; the later one wins if two have the same name."""
    by_name = {each.name: each for each in resources}
    ordered = {name: by_name[name] for name in sorted(by_name)}
    return Part(resources_version(ordered.values()), MappingProxyType(ordered))


def collection(resources: Iterable[Resource]) -> Collection:
    """Resources of one type as a collection; the later one wins if two have the same name."""
    return Collection((part(resources),))


def resources_version(resources: Iterable[Resource]) -> str:
    """Hash of names and versions, in the given order: `version_info` of a response."""
    digest = blake2b(digest_size=8)
    for each in resources:
        digest.update(f"{each.name}\0{each.version}\0".encode())
    return digest.hexdigest()


EMPTY: Final = collection(())


class View(Protocol):
    """What one class of proxies sees in one snapshot."""

    @property
    def key(self) -> Hashable:
        """Equal for all proxies of the class, in every snapshot."""

    def collection(self, type_url: str) -> Collection:
        """All resources of a wildcard type; `EMPTY` for a type that the view does not have.

        It is the same object as in the previous snapshot if nothing in it changed.
        """

    @property
    def generation(self) -> int:
        """Number of the state of the mesh that it shows; later states have higher ones."""

    def family(self, type_url: str) -> Hashable | None:
        """Equal for views that have the same named resources of a type in every generation.

        None if it is not known how these change: then they must be asked for each time.
        """

    def renewed(self, type_url: str, since: int) -> Set[str] | None:
        """Names of resources, of those ever asked for, that may have changed after a generation.

        None if that is not known, or if this view is not of the latest generation.
        """

    def named(self, type_url: str, name: str) -> Resource | None:
        """The resource of that name, None if there is none.

        Works for every type: a cluster that is not in the wildcard collection may be asked for on
        demand (pilot.md B25). An RDS name without routes gets the catch-all (pilot.md B10). It is
        the same object as in the previous snapshot if nothing in it changed.
        """


class Snapshot(Protocol):
    """The mesh at one revision; immutable."""

    @property
    def revision(self) -> int:
        """etcd revision up to which changes are in it."""

    def view(self, proxy: Proxy) -> View:
        """The view of a proxy: computed once for all proxies of a class."""

    def configuration(self) -> View:
        """All configuration objects, for other control planes (pilot.md B27)."""


@lru_cache(maxsize=4096)
def absent(type_url: str, name: str) -> Resource | None:
    """What stands for a name that nobody defined, so that Envoy does not wait (pilot.md B10).

    An empty assignment for EDS, a configuration without virtual hosts for RDS, else None.
    """
    if type_url == EDS:
        return resource(name, EDS, ClusterLoadAssignment(cluster_name=name))
    if type_url == RDS:
        return resource(name, RDS, RouteConfiguration(name=name))
    return None


@lru_cache(maxsize=4096)
def unknown(type_url: str, name: str) -> Resource:
    """Tells that there is nothing of a name, to a client that waits for it (pilot.md B25)."""
    told = bytes_field(2, text_field(4, name) + text_field(3, name))
    return Resource(name, type_url, "unknown", frozenset(), told, 0)


def discovery_response(
    type_url: str, version: str, resources: Iterable[Resource], control_plane: bytes
) -> Sequence[bytes]:
    """Parts of a serialised DiscoveryResponse, all but its nonce: append `nonce_field`.

    `control_plane` is a serialised ControlPlane. The order of fields means nothing in protobuf, so
    what many streams share comes first.
    """
    return (
        text_field(1, version),
        *(each.sotw_field for each in resources),
        text_field(4, type_url),
        bytes_field(6, control_plane),
    )


def delta_discovery_response(
    type_url: str,
    version: str,
    resources: Iterable[Resource],
    removed: Iterable[str],
    control_plane: bytes,
) -> Sequence[bytes]:
    """Parts of a serialised DeltaDiscoveryResponse, all but its nonce: append `nonce_field`.

    `version` is for people (`system_version_info`).
    """
    return (
        text_field(1, version),
        *(each.delta_field for each in resources),
        text_field(4, type_url),
        *(text_field(6, name) for name in removed),
        bytes_field(7, control_plane),
    )


def nonce_field(nonce: str) -> bytes:
    """Field `nonce`, which has number 5 in the responses of both protocols."""
    return text_field(5, nonce)
