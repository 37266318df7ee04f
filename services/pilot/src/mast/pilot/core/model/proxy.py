"""A proxy as it introduces itself: the Envoy Node parsed once, checked, immutable."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from ipaddress import ip_address
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from envoy.config.core.v3.base_pb2 import Node
from google.protobuf.json_format import MessageToDict

REGION: Final = "topology.kubernetes.io/region"
ZONE: Final = "topology.kubernetes.io/zone"
SUBZONE: Final = "topology.istio.io/subzone"
CLUSTER: Final = "topology.istio.io/cluster"
NETWORK: Final = "topology.istio.io/network"
HOSTNAME: Final = "kubernetes.io/hostname"
INSTANCE_LABELS: Final = frozenset(
    {HOSTNAME, "statefulset.kubernetes.io/pod-name", "apps.kubernetes.io/pod-index"}
)
"""Labels that tell instances of one workload apart."""
LOCALITY_LABELS: Final = ("topology.istio.io/locality", "istio-locality")

NEWEST: Final = (65535, 65535, 65535)
"""Version of a proxy that does not tell its version (pilot.md A2)."""


ON_DEMAND: Final = "MAST_ON_DEMAND"
"""Metadata switch: hosts that the Sidecar does not declare are asked for when they are called."""

_PATH_SAFE: Final = ("NAMESPACE", "CLUSTER_ID", "NETWORK", "AUTO_REGISTER_GROUP")
"""Metadata that becomes part of keys in the store."""


class InvalidNode(ValueError):
    """The node of a first request cannot be understood; says which field and why."""


class ProxyType(StrEnum):
    """First part of a node id."""

    SIDECAR = "sidecar"
    ROUTER = "router"
    WAYPOINT = "waypoint"
    ZTUNNEL = "ztunnel"


class InterceptionMode(StrEnum):
    """How traffic of the application reaches the proxy."""

    REDIRECT = "REDIRECT"
    TPROXY = "TPROXY"
    NONE = "NONE"


class Locality(NamedTuple):
    """Where something runs; empty parts are unknown."""

    region: str = ""
    zone: str = ""
    subzone: str = ""

    @classmethod
    def parse(cls, text: str) -> "Locality":
        """From `region/zone/subzone`; missing parts are empty."""
        return cls(*text.split("/", 2))

    def __str__(self) -> str:
        return "/".join(self).rstrip("/")


NOWHERE: Final = Locality()


@dataclass(frozen=True, kw_only=True)
class Proxy:
    """One connected proxy (pilot.md A1 to A5).

    `id` is the third part of the node id, `NAME.NS`; `node_id` is the whole. `cluster` is Envoy's
    `node.cluster` (`APP.NS`), `cluster_id` the registry shard. `labels` are what selectors match.
    """

    node_id: str
    type: ProxyType
    ip_addresses: tuple[str, ...]
    id: str
    dns_domain: str
    namespace: str
    cluster: str = ""
    cluster_id: str = ""
    network: str = ""
    service_account: str = ""
    locality: Locality = NOWHERE
    version: tuple[int, int, int] = NEWEST
    interception_mode: InterceptionMode = InterceptionMode.REDIRECT
    http_proxy_port: int | None = None
    outbound_bind: str | None = None
    app_endpoints: Mapping[int, str] = field(default_factory=dict, hash=False)
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    metadata: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        """Proxies are parts of many keys."""
        return hash((self.node_id, self.id, self.ip_addresses, self.cluster, self.cluster_id))

    @property
    def name(self) -> str:
        """Name of the workload instance: the proxy ID without its namespace."""
        return self.id.rpartition(".")[0] or self.id

    @property
    def generator(self) -> str:
        """What the client wants instead of an Envoy's configuration; empty for an Envoy."""
        return self.text("GENERATOR")

    @property
    def proxyless(self) -> bool:
        """A gRPC library that speaks xDS itself (pilot.md B29)."""
        return self.generator == "grpc"

    @property
    def on_demand(self) -> bool:
        """It asks for hosts beyond its Sidecar when they are called (pilot.md B25)."""
        return self.flag(ON_DEMAND)

    def without(self, key: str) -> "Proxy":
        """The proxy without a metadata key."""
        if key not in self.metadata:
            return self
        metadata = {name: value for name, value in self.metadata.items() if name != key}
        return replace(self, metadata=MappingProxyType(metadata))

    @cached_property
    def ipv4(self) -> bool:
        """At least one address is IPv4."""
        return any(ip_address(ip).version == 4 for ip in self.ip_addresses)

    @cached_property
    def ipv6(self) -> bool:
        """At least one address is IPv6."""
        return any(ip_address(ip).version == 6 for ip in self.ip_addresses)

    def speaks(self, address: str) -> bool:
        """Whether it has the IP version of an address; names and sockets have none."""
        try:
            version = ip_address(address).version
        except ValueError:
            return True
        return self.ipv6 if version == 6 else self.ipv4

    def text(self, key: str) -> str:
        """A metadata value as text; empty if it is absent or not text."""
        value = self.metadata.get(key, "")
        return value if isinstance(value, str) else ""

    def flag(self, key: str) -> bool:
        """A metadata switch: true for `1`, `true`, `t` in any case and for JSON true."""
        return str(self.metadata.get(key, "")).lower() in {"1", "1.0", "true", "t"}

    def with_registry_labels(self, registry: Mapping[str, str]) -> "Proxy":
        """The proxy with the labels that the registry has for its workload (pilot.md A3).

        They overlay `STATIC_LABELS`; `LABELS`, what the proxy says of itself, no longer counts.
        """
        own = {**_string_map(self.metadata, "STATIC_LABELS"), **registry}
        locality = _locality(own) or self.locality
        labels = _standard_labels(own, locality, self.cluster_id, self.network, self.metadata)
        return replace(self, labels=labels, locality=locality)


def parse(node: Node) -> Proxy:
    """The proxy that a Node describes; raises `InvalidNode` (pilot.md A1)."""
    kind, address, proxy_id, dns_domain = _id_parts(node.id)
    if "/" in node.id:
        raise InvalidNode(f"node.id {node.id!r}: must not contain '/'")
    metadata = MessageToDict(node.metadata)
    own = {**_string_map(metadata, "STATIC_LABELS"), **_string_map(metadata, "LABELS")}
    for key in _PATH_SAFE:
        if "/" in _string(metadata, key):
            raise InvalidNode(f"node.metadata.{key}: {metadata[key]!r} must not contain '/'")
    cluster_id, network = _string(metadata, "CLUSTER_ID"), _string(metadata, "NETWORK")
    locality = _locality(own) or Locality(
        node.locality.region, node.locality.zone, node.locality.sub_zone
    )
    return Proxy(
        node_id=node.id,
        type=kind,
        ip_addresses=_addresses(_string(metadata, "INSTANCE_IPS") or address),
        id=proxy_id,
        dns_domain=dns_domain,
        namespace=_string(metadata, "NAMESPACE") or dns_domain.partition(".")[0],
        cluster=node.cluster,
        cluster_id=cluster_id,
        network=network,
        service_account=_string(metadata, "SERVICE_ACCOUNT"),
        locality=locality,
        version=_version(_string(metadata, "ISTIO_VERSION")),
        interception_mode=_interception_mode(_string(metadata, "INTERCEPTION_MODE")),
        http_proxy_port=_port(metadata, "HTTP_PROXY_PORT"),
        outbound_bind=_string(metadata, "OUTBOUND_BIND") or None,
        app_endpoints=_app_endpoints(metadata),
        labels=_standard_labels(own, locality, cluster_id, network, metadata),
        metadata=MappingProxyType(metadata),
    )


def _id_parts(node_id: str) -> tuple[ProxyType, str, str, str]:
    parts = node_id.split("~")
    if len(parts) != 4:
        raise InvalidNode(f"node.id {node_id!r}: want TYPE~IP~NAME.NS~DNSDOMAIN, four parts")
    kind, address, proxy_id, dns_domain = parts
    if kind not in set(ProxyType):
        allowed = ", ".join(ProxyType)
        raise InvalidNode(f"node.id {node_id!r}: type {kind!r} is not one of {allowed}")
    return ProxyType(kind), address, proxy_id, dns_domain


def _addresses(text: str) -> tuple[str, ...]:
    """Valid addresses of a comma-separated list; at least one."""
    found = []
    for each in text.split(","):
        try:
            found.append(str(ip_address(each.strip())))
        except ValueError:
            continue
    if not found:
        raise InvalidNode(f"node: no IP address in INSTANCE_IPS or node.id ({text!r})")
    return tuple(found)


def _version(text: str) -> tuple[int, int, int]:
    match = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", text)
    if match is None:
        return NEWEST
    return int(match[1]), int(match[2]), int(match[3] or 0)


def _interception_mode(text: str) -> InterceptionMode:
    if text not in set(InterceptionMode):
        return InterceptionMode.REDIRECT
    return InterceptionMode(text)


def _locality(labels: Mapping[str, str]) -> Locality | None:
    """From the labels of A4, None if they say nothing."""
    parts = Locality(labels.get(REGION, ""), labels.get(ZONE, ""), labels.get(SUBZONE, ""))
    if any(parts):
        return parts
    for label in LOCALITY_LABELS:
        if value := labels.get(label):
            return Locality.parse(value if "/" in value else value.replace(".", "/"))
    return None


def _standard_labels(
    own: Mapping[str, str],
    locality: Locality,
    cluster_id: str,
    network: str,
    metadata: Mapping[str, Any],
) -> Mapping[str, str]:
    """Labels of the workload and those of its place (pilot.md A3)."""
    place = {
        REGION: locality.region,
        ZONE: locality.zone,
        SUBZONE: locality.subzone,
        CLUSTER: cluster_id,
        NETWORK: network,
        HOSTNAME: _string(metadata, "NODE_NAME"),
    }
    return MappingProxyType({**own, **{key: value for key, value in place.items() if value}})


def _app_endpoints(metadata: Mapping[str, Any]) -> Mapping[int, str]:
    endpoints = {}
    for port, address in _string_map(metadata, "APP_ENDPOINTS").items():
        if not port.isdecimal() or not 0 < int(port) < 65536:
            raise InvalidNode(f"node.metadata.APP_ENDPOINTS: {port!r} is not a port, 1 to 65535")
        endpoints[int(port)] = address
    return MappingProxyType(endpoints)


def _port(metadata: Mapping[str, Any], key: str) -> int | None:
    text = _string(metadata, key)
    if not text:
        return None
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise InvalidNode(f"node.metadata.{key}: {text!r} is not a port, 1 to 65535")
    return int(text)


def _string(metadata: Mapping[str, Any], key: str) -> str:
    """A scalar as text: JSON numbers without a fraction lose their `.0`."""
    value = metadata.get(key, "")
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, str | float):
        return str(value)
    raise InvalidNode(f"node.metadata.{key}: want text, not {type(value).__name__}")


def _string_map(metadata: Mapping[str, Any], key: str) -> dict[str, str]:
    value = metadata.get(key, {})
    if not isinstance(value, dict) or not all(isinstance(each, str) for each in value.values()):
        raise InvalidNode(f"node.metadata.{key}: want an object whose values are text")
    return dict(value)
