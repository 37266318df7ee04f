"""The mesh as Pilot sees it: services, endpoints, workloads and typed configuration; immutable."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import ip_address
from types import MappingProxyType
from typing import Final, Generic, NamedTuple, TypeVar

from google.protobuf.message import Message

from mast.pilot.core.model import collection_names
from mast.pilot.core.model.finding import ObjectName
from mast.pilot.core.model.proxy import NOWHERE, Locality

M = TypeVar("M", bound=Message)

Labels = Mapping[str, str]
NO_LABELS: Final[Labels] = MappingProxyType({})


def _no_labels() -> Labels:
    return NO_LABELS


KUBERNETES: Final = "Kubernetes"
EXTERNAL: Final = "External"
"""Registries that a service may come from: the platform, or ServiceEntries."""

PERSISTENT_SESSION: Final = "istio.io/persistent-session"
PERSISTENT_SESSION_HEADER: Final = "istio.io/persistent-session-header"
"""Labels of a service whose clients stick to an endpoint while it drains (pilot.md D6, F4)."""

TRAFFIC_DISTRIBUTION: Final = "networking.istio.io/traffic-distribution"
"""Annotation of a service or its namespace: which endpoints come first (pilot.md D7)."""
SAME_NODE: Final = "PreferSameNode"
"""The distribution that looks at the node of the caller."""


class Protocol(StrEnum):
    """Application protocol of a port; `AUTO` means that the proxy finds out (pilot.md D5)."""

    AUTO = ""
    HTTP = "HTTP"
    HTTP2 = "HTTP2"
    GRPC = "GRPC"
    GRPC_WEB = "GRPC-WEB"
    HTTPS = "HTTPS"
    TLS = "TLS"
    TCP = "TCP"
    MONGO = "MONGO"
    REDIS = "REDIS"
    MYSQL = "MYSQL"
    UDP = "UDP"

    @property
    def is_http(self) -> bool:
        """Spoken in clear text and routed by an HTTP connection manager."""
        return self in _HTTP

    @property
    def is_http2(self) -> bool:
        """HTTP/2 without negotiation."""
        return self in _HTTP2

    @property
    def is_tls(self) -> bool:
        """Opaque, but with a server name to route by."""
        return self in _TLS

    @property
    def is_tcp(self) -> bool:
        """Neither HTTP nor sniffed nor UDP: a TCP proxy carries it."""
        return not self.is_http and self not in {Protocol.AUTO, Protocol.UDP}


_HTTP2: Final = frozenset({Protocol.HTTP2, Protocol.GRPC, Protocol.GRPC_WEB})
_HTTP: Final = _HTTP2 | {Protocol.HTTP}
_TLS: Final = frozenset({Protocol.HTTPS, Protocol.TLS})


class Resolution(StrEnum):
    """How proxies find the endpoints of a service (pilot.md D, table)."""

    STATIC = "STATIC"
    DNS = "DNS"
    DNS_ROUND_ROBIN = "DNS_ROUND_ROBIN"
    PASSTHROUGH = "PASSTHROUGH"
    DYNAMIC_DNS = "DYNAMIC_DNS"
    ALIAS = "ALIAS"

    @property
    def is_dns(self) -> bool:
        """Endpoint addresses may be names that the proxy resolves."""
        return self in {Resolution.DNS, Resolution.DNS_ROUND_ROBIN}


class Health(StrEnum):
    """Whether an endpoint takes requests."""

    HEALTHY = "HEALTHY"
    UNHEALTHY = "UNHEALTHY"
    DRAINING = "DRAINING"
    TERMINATING = "TERMINATING"


Age = tuple[int, str, str]
"""Sort key of every tie: creation in nanoseconds since 1970, name, namespace (pilot.md D4)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigMeta:
    """Where a configuration object came from.

    `created` counts nanoseconds since 1970; `version` is the generation as text; `collection` the
    MCP collection it is stored under, `group`, `api_version` and `kind` its Kubernetes names.
    """

    collection: str
    group: str
    api_version: str
    kind: str
    namespace: str
    name: str
    version: str = ""
    created: int = 0
    labels: Labels = field(default_factory=_no_labels)
    annotations: Labels = field(default_factory=_no_labels)

    @property
    def age(self) -> Age:
        """Sort key: oldest first (pilot.md D4)."""
        return self.created, self.name, self.namespace

    @property
    def object_name(self) -> ObjectName:
        """What names the object in findings and statuses."""
        return ObjectName(self.collection, self.namespace, self.name)

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Visibility:
    """Namespaces that may see something: an `exportTo` without its shorthands (pilot.md D7)."""

    everyone: bool = True
    namespaces: frozenset[str] = frozenset()

    def includes(self, namespace: str) -> bool:
        """True if proxies of the namespace may see it."""
        return self.everyone or namespace in self.namespaces


PUBLIC: Final = Visibility()


def visibility(export_to: Sequence[str], owner: str, default: Sequence[str] = ("*",)) -> Visibility:
    """Resolve an `exportTo` of an object in namespace `owner`; an empty one means `default`."""
    values = list(export_to) or list(default)
    if "*" in values:
        return PUBLIC
    names = frozenset(owner if each == "." else each for each in values if each != "~")
    return Visibility(False, names)


@dataclass(frozen=True, slots=True, eq=False)
class Config(Generic[M]):
    """One configuration object; the same Python object as long as it does not change.

    `visible_to` is its `exportTo`, resolved with the default of the mesh.
    """

    meta: ConfigMeta
    spec: M
    visible_to: Visibility = PUBLIC

    @property
    def age(self) -> Age:
        """Sort key: oldest first (pilot.md D4)."""
        return self.meta.age


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """A port of a service: callers dial `number`, workloads listen on `target_port`."""

    name: str
    number: int
    target_port: int
    protocol: Protocol = Protocol.AUTO


class Way(NamedTuple):
    """A way into a network from others, for mutual TLS; `cluster` is whose it is, "" if unknown."""

    network: str
    cluster: str
    address: str
    port: int


class ServiceKey(NamedTuple):
    """What names a service in the mesh: two namespaces may have services of one host."""

    namespace: str
    host: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A name that callers dial (pilot.md D).

    `name` is the short name, empty unless the platform has one; `origin` the name of the object
    that declares it. `addresses` holds VIPs and CIDRs, `auto_addresses` those Pilot chose because
    there are none (D2); `aliases` the hosts of ExternalName services that stand for this one.
    `subject_alt_names` and `service_accounts`, as (namespace, name), may answer for it besides
    those of its endpoints. `traffic_distribution` is its own or that of its namespace; with
    `node_local` callers use endpoints on their own node only (D7). `external_addresses`, IPs or
    names, lead to it from outside of its cluster, `ways` lead through it into networks (D8).
    `cluster` is the one that reported it; where several did, each has the addresses in
    `addresses_in`. `created` counts nanoseconds since 1970.
    """

    host: str
    namespace: str
    ports: tuple[Port, ...]
    name: str = ""
    origin: str = ""
    addresses: tuple[str, ...] = ()
    auto_addresses: tuple[str, ...] = ()
    external_addresses: tuple[str, ...] = ()
    resolution: Resolution = Resolution.STATIC
    external: bool = False
    registry: str = EXTERNAL
    headless: bool = False
    publish_not_ready: bool = False
    visible_to: Visibility = PUBLIC
    labels: Labels = field(default_factory=_no_labels)
    annotations: Labels = field(default_factory=_no_labels)
    selector: Labels = field(default_factory=_no_labels)
    subject_alt_names: tuple[str, ...] = ()
    service_accounts: tuple[tuple[str, str], ...] = ()
    traffic_distribution: str = ""
    node_local: bool = False
    alias_of: str = ""
    aliases: tuple[str, ...] = ()
    cluster: str = ""
    addresses_in: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    ways: tuple[Way, ...] = ()
    created: int = 0

    @property
    def age(self) -> Age:
        """Sort key: oldest first (pilot.md D4)."""
        return self.created, self.origin or self.host, self.namespace

    @property
    def key(self) -> ServiceKey:
        """Its name in the mesh."""
        return ServiceKey(self.namespace, self.host)

    @property
    def object_name(self) -> ObjectName:
        """The object that declares it: a ServiceEntry, or a service of the platform."""
        collection = collection_names.SERVICE_ENTRIES
        if self.from_kubernetes:
            collection = collection_names.PLATFORM_SERVICES
        return ObjectName(collection, self.namespace, self.origin or self.host)

    @property
    def from_kubernetes(self) -> bool:
        """Reported by the platform: wins over ServiceEntries of the same host (pilot.md D4)."""
        return self.registry == KUBERNETES

    @property
    def persistent_session(self) -> bool:
        """Clients stick to draining endpoints (pilot.md D6)."""
        return PERSISTENT_SESSION in self.labels or PERSISTENT_SESSION_HEADER in self.labels

    @property
    def by_node(self) -> bool:
        """Callers on different nodes use different endpoints, or in a different order."""
        return self.node_local or self.traffic_distribution == SAME_NODE

    def port(self, number: int) -> Port | None:
        """The port callers dial as `number`."""
        return next((each for each in self.ports if each.number == number), None)

    def vips(self, cluster: str, *, automatic: bool) -> tuple[str, ...]:
        """Addresses that callers of a cluster dial: those it has there, else all (D8).

        The automatic ones are only for proxies that know them (D2).
        """
        known = self.addresses_in.get(cluster) or self.addresses
        return known or (self.auto_addresses if automatic else ())


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One address behind a service.

    `address` is an IP, a host name (DNS resolutions) or `unix:///path`. `ports` maps the number of
    the *service* port to the number on the address; a service port that is not in it is not served
    here. `service_account` is the bare name.
    """

    address: str
    ports: Mapping[int, int]
    namespace: str
    additional_addresses: tuple[str, ...] = ()
    labels: Labels = field(default_factory=_no_labels)
    service_account: str = ""
    locality: Locality = NOWHERE
    network: str = ""
    cluster: str = ""
    weight: int = 1
    health: Health = Health.HEALTHY
    mtls: bool = False
    workload_name: str = ""
    node: str = ""

    @property
    def addresses(self) -> tuple[str, ...]:
        """All of its addresses, the primary first."""
        return self.address, *self.additional_addresses

    @property
    def is_ip(self) -> bool:
        """The address is an IP address, not a name or a socket path."""
        try:
            ip_address(self.address)
        except ValueError:
            return False
        return True

    @property
    def is_dialable(self) -> bool:
        """The address is an IP address or a Unix socket, not a name that has to be resolved."""
        return self.address.startswith("unix:") or self.is_ip


class Identities(NamedTuple):
    """Who may answer for a service: service accounts as (namespace, name), sorted.

    `mtls` tells whether every endpoint, and there are some, accepts mutual TLS.
    """

    accounts: tuple[tuple[str, str], ...] = ()
    mtls: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """One running instance of an application: a pod, a VM, a laptop process, a WorkloadEntry.

    `ports` maps names of service ports to numbers this workload serves them on. `origin` is the
    store key it came from, unique in the mesh.
    """

    origin: str
    name: str
    namespace: str
    addresses: tuple[str, ...]
    labels: Labels = field(default_factory=_no_labels)
    annotations: Labels = field(default_factory=_no_labels)
    service_account: str = ""
    locality: Locality = NOWHERE
    network: str = ""
    cluster: str = ""
    node: str = ""
    weight: int = 1
    health: Health = Health.HEALTHY
    mtls: bool = False
    workload_name: str = ""
    ports: Mapping[str, int] = field(default_factory=dict)
    platform: bool = False
    created: int = 0

    @property
    def age(self) -> Age:
        """Sort key: oldest first (pilot.md D4)."""
        return self.created, self.name, self.namespace


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A service port that a proxy's own workload serves, and the port it listens on."""

    service: Service
    port: Port
    target_port: int


def selects(selector: Mapping[str, str], labels: Labels) -> bool:
    """True if every label of the selector is there; an empty selector selects everything."""
    return all(labels.get(key) == value for key, value in selector.items())
