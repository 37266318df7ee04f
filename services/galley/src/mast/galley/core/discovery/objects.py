"""What service discovery knows of a cluster's objects: the fields that it reads, nothing more.

Objects are equal if nothing that matters differs, so that heartbeats of Nodes and statuses of Pods
change nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import NamedTuple


class ObjectName(NamedTuple):
    """What names an object within its kind; the namespace is empty for kinds without."""

    namespace: str
    name: str


class Readiness(Enum):
    """What a cluster says of an endpoint, the best first (D2.1)."""

    READY = 0
    SERVING_TO_THE_END = 1
    NOT_READY = 2
    TERMINATING = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class ServicePort:
    """``target`` is the number or name of a port of the Pods; ``transport`` TCP, UDP or SCTP."""

    name: str
    number: int
    target: int | str = 0
    transport: str = "TCP"
    app_protocol: str | None = None
    node_port: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A Service; ``external_addresses``, IPs or names, lead to it from outside of the cluster.

    ``node_selector`` selects the Nodes whose addresses do so too (annotation
    ``traffic.istio.io/nodeSelector`` of a NodePort Service); None if there is no such annotation.
    """

    id: ObjectName
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    created: datetime | None = None
    addresses: tuple[str, ...] = ()
    headless: bool = False
    alias_of: str = ""
    ports: tuple[ServicePort, ...] = ()
    selector: Mapping[str, str] = field(default_factory=dict)
    publish_not_ready: bool = False
    node_local: bool = False
    external_addresses: tuple[str, ...] = ()
    node_selector: Mapping[str, str] | None = None
    traffic_distribution: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """One address of a Slice; ``ports`` are numbers on it by name of the Service's port.

    ``pod`` is empty if the slice names none, as in those that people write.
    """

    address: str
    ports: tuple[tuple[str, int], ...]
    readiness: Readiness = Readiness.READY
    pod: ObjectName | None = None
    node: str = ""


class SliceId(NamedTuple):
    """EndpointSlices and Endpoints have names of their own."""

    kind: str
    namespace: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """Addresses behind a Service: an EndpointSlice, or Endpoints where there is no slice."""

    id: SliceId
    service: ObjectName
    backends: tuple[Backend, ...] = ()

    @property
    def is_mirrored(self) -> bool:
        """The cluster writes EndpointSlices with the same content."""
        return self.id.kind == "Endpoints"


class Owner(NamedTuple):
    """The controller of a Pod."""

    api_version: str
    kind: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """A Pod; ``ports`` are its named ports, ``containers`` names of containers by port number."""

    id: ObjectName
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    created: datetime | None = None
    addresses: tuple[str, ...] = ()
    on_host_network: bool = False
    node: str = ""
    service_account: str = ""
    readiness: Readiness = Readiness.NOT_READY
    finished: bool = False
    owner: Owner | None = None
    ports: Mapping[str, int] = field(default_factory=dict)
    containers: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterNode:
    """A Node; ``addresses`` are those that the world reaches it by."""

    id: ObjectName
    labels: Mapping[str, str] = field(default_factory=dict)
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Namespace:
    """A Namespace."""

    id: ObjectName
    labels: Mapping[str, str] = field(default_factory=dict)


Item = Service | Slice | Pod | ClusterNode | Namespace
"""Anything that service discovery is made from."""
