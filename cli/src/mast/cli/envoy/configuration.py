"""The configuration of one proxy: listeners, routes, clusters, endpoints, whoever tells them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.base_pb2 import Node
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_components_pb2 import FilterChain
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (  # noqa: E501
    HttpConnectionManager,
)
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import SdsSecretConfig
from google.protobuf.message import Message

from mast.cli.envoy.walking import within
from mast.pilot.core.xds.resources import CDS, ECDS, EDS, LDS, RDS, Resource, View

M = TypeVar("M", bound=Message)


@dataclass(frozen=True)
class Configuration:
    """Resources by name, sorted; routes and endpoints are those that others refer to."""

    node: Node
    listeners: Mapping[str, Listener] = field(default_factory=dict)
    routes: Mapping[str, RouteConfiguration] = field(default_factory=dict)
    clusters: Mapping[str, Cluster] = field(default_factory=dict)
    endpoints: Mapping[str, ClusterLoadAssignment] = field(default_factory=dict)
    extensions: Mapping[str, TypedExtensionConfig] = field(default_factory=dict)

    @property
    def secret_names(self) -> list[str]:
        """Names that the proxy asks its secret discovery service for, sorted."""
        holders = (*self.listeners.values(), *self.clusters.values())
        return sorted({each.name for held in holders for each in within(held, SdsSecretConfig)})

    def endpoints_of(self, cluster: Cluster) -> ClusterLoadAssignment | None:
        """The endpoints of a cluster: its own, or those it is told by EDS."""
        if cluster.HasField("eds_cluster_config"):
            return self.endpoints.get(cluster.eds_cluster_config.service_name or cluster.name)
        return cluster.load_assignment if cluster.HasField("load_assignment") else None


@dataclass(frozen=True)
class Intended:
    """What Pilot intends for a proxy: the very resources it would send."""

    listeners: tuple[Resource, ...]
    routes: tuple[Resource, ...]
    clusters: tuple[Resource, ...]
    endpoints: tuple[Resource, ...]
    extensions: tuple[Resource, ...] = ()

    def configuration(self, node: Node) -> Configuration:
        """The same, decoded."""
        return Configuration(
            node,
            {each.name: _decoded(each, Listener) for each in self.listeners},
            {each.name: _decoded(each, RouteConfiguration) for each in self.routes},
            {each.name: _decoded(each, Cluster) for each in self.clusters},
            {each.name: _decoded(each, ClusterLoadAssignment) for each in self.endpoints},
            {each.name: _decoded(each, TypedExtensionConfig) for each in self.extensions},
        )


def intended(view: View) -> Intended:
    """Everything that a proxy of the view ends up with."""
    listeners, clusters = view.collection(LDS), view.collection(CDS)
    told = [_decoded(each, Listener) for each in listeners]
    extensions = {name for each in told for name in discovered(each)}
    return Intended(
        tuple(listeners),
        tuple(_named(view, RDS, listeners.requires)),
        tuple(clusters),
        tuple(_named(view, EDS, clusters.requires)),
        tuple(_named(view, ECDS, extensions)),
    )


def discovered(listener: Listener) -> Iterator[str]:
    """Names of filters whose configuration comes by ECDS."""
    for chain in chains(listener):
        yield from (each.name for each in chain.filters if each.HasField("config_discovery"))
        manager = connection_manager(chain)
        for each in manager.http_filters if manager else ():
            if each.HasField("config_discovery"):
                yield each.name


def _named(view: View, type_url: str, names: Iterable[str]) -> Iterator[Resource]:
    for name in sorted(names):
        found = view.named(type_url, name)
        if found is not None:
            yield found


def chains(listener: Listener) -> Iterator[FilterChain]:
    """All filter chains of a listener, the default one last."""
    yield from listener.filter_chains
    if listener.HasField("default_filter_chain"):
        yield listener.default_filter_chain


def connection_manager(chain: FilterChain) -> HttpConnectionManager | None:
    """The HTTP connection manager of a filter chain, None if it is not for HTTP."""
    for each in chain.filters:
        manager = HttpConnectionManager()
        if each.typed_config.Unpack(manager):
            return manager
    return None


def _decoded(resource: Resource, kind: type[M]) -> M:
    message = kind()
    message.ParseFromString(resource.body)
    return message
