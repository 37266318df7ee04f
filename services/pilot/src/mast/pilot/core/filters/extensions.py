"""What else the mesh puts into listeners and routes: the slots that others plug into.

Generators of listeners and routes ask an `Extensions` at the [mx] slots of pilot.md E10, at those
of security policies and plugins, and for loggers and tracers; they know nothing of what it adds.
`NO_EXTENSIONS` adds nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Final, Protocol, TypeAlias

from envoy.config.accesslog.v3.accesslog_pb2 import AccessLog
from envoy.config.listener.v3.listener_components_pb2 import Filter
from envoy.config.route.v3.route_components_pb2 import Route, VirtualHost, WeightedCluster
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (  # noqa: E501
    HttpConnectionManager,
    HttpFilter,
)
from envoy.type.tracing.v3.custom_tag_pb2 import CustomTag
from google.protobuf.any_pb2 import Any
from google.protobuf.struct_pb2 import Struct

from istio.mesh.v1alpha1.proxy_pb2 import ProxyConfig
from mast.pilot.core.filters.header_operations import HeaderMutations
from mast.pilot.core.model.mesh import Mesh
from mast.pilot.core.model.model import Service
from mast.pilot.core.model.proxy import Proxy
from mast.pilot.core.scope.scope import Scope


class Direction(StrEnum):
    """Which way traffic of a listener flows, seen from the workload."""

    INBOUND = "inbound"
    OUTBOUND = "outbound"


class Phase(StrEnum):
    """Where among a proxy's own filters a plugin stands (pilot.md E10)."""

    AUTHN = "AUTHN"
    AUTHZ = "AUTHZ"
    STATS = "STATS"
    LAST = "UNSPECIFIED"


class Guard(StrEnum):
    """Where among a proxy's own filters security policies stand (pilot.md E10)."""

    CUSTOM = "CUSTOM"
    """External authorizers, before anything else is known of a request."""
    TOKENS = "TOKENS"
    """Tokens of end users are verified (jwt_authn)."""
    RULES = "RULES"
    """Rules that look at what is known: RBAC."""


@dataclass(frozen=True, kw_only=True)
class Spot:
    """One filter chain or route configuration that may be extended.

    `port` is what the listener is dialled on, for inbound traffic the port of the workload; 0 where
    one chain serves all ports. `service` owns an inbound port, None if nobody does and outbound;
    its clients dial it as `service_port`, 0 without a service.
    """

    proxy: Proxy
    direction: Direction
    port: int
    service: Service | None = None
    service_port: int = 0


@dataclass(frozen=True, kw_only=True)
class Additions:
    """What goes into a virtual host, a route or one of its weighted clusters."""

    typed_per_filter_config: Mapping[str, Any] = field(default_factory=dict)
    mutations: HeaderMutations = field(default_factory=HeaderMutations)
    metadata: Mapping[str, Struct] = field(default_factory=dict)

    def apply(self, target: Route | WeightedCluster.ClusterWeight | VirtualHost) -> None:
        """Add filter configuration and header mutations to a target."""
        for name in sorted(self.typed_per_filter_config):
            target.typed_per_filter_config[name].CopyFrom(self.typed_per_filter_config[name])
        self.mutations.apply(target)

    def apply_metadata(self, target: Route | VirtualHost) -> None:
        """Add metadata, which weighted clusters do not have, to a target."""
        for name in sorted(self.metadata):
            target.metadata.filter_metadata[name].CopyFrom(self.metadata[name])

    def also(self, other: "Additions") -> "Additions":
        """Both additions; filter configuration and metadata of the other win by name."""
        mine, theirs = self.mutations, other.mutations
        return Additions(
            typed_per_filter_config={
                **self.typed_per_filter_config,
                **other.typed_per_filter_config,
            },
            mutations=HeaderMutations(
                request_add=mine.request_add + theirs.request_add,
                request_remove=mine.request_remove + theirs.request_remove,
                response_add=mine.response_add + theirs.response_add,
                response_remove=mine.response_remove + theirs.response_remove,
            ),
            metadata={**self.metadata, **other.metadata},
        )


NOTHING: Final = Additions()


@dataclass(frozen=True, kw_only=True, eq=False)
class Traced:
    """How requests are traced; `request_ids_tell` writes what was sampled into request IDs."""

    config: HttpConnectionManager.Tracing
    request_ids_tell: bool = True


class Extensions(Protocol):
    """What is added for one proxy; pure, equal arguments give equal results.

    A policy engine need not know of other policies, plugins, tracers and listeners.
    """

    def configured(self, scope: Scope) -> "Extensions":
        """The same as the configuration that a scope sees asks for it."""
        del scope
        return self

    def with_metric_tags(self, tags: Sequence[CustomTag]) -> "Extensions":
        """The same, whose reports carry these tags about the metrics that are made of them."""
        del tags
        return self

    def guards(self, spot: Spot, guard: Guard) -> Sequence[HttpFilter]:
        """HTTP filters of security policies, in their order."""
        return ()

    def network_guards(self, spot: Spot, guard: Guard) -> Sequence[Filter]:
        """Network filters of security policies, for a chain that is proxied as TCP."""
        return ()

    def checks(self, spot: Spot) -> Sequence[HttpFilter]:
        """HTTP filters that decide on all that is known of a request by then."""
        return ()

    def plugins(self, spot: Spot, phase: Phase) -> Sequence[HttpFilter]:
        """HTTP filters of a phase, in their order."""
        return ()

    def network_plugins(self, spot: Spot, phase: Phase) -> Sequence[Filter]:
        """Network filters of a phase, in their order."""
        return ()

    def tracing(self, spot: Spot) -> Traced | None:
        """How requests are traced, None: not at all."""
        return None

    def proxy_headers(self) -> ProxyConfig.ProxyHeaders:
        """Which headers the proxy adds by itself."""
        return ProxyConfig.ProxyHeaders()

    def listener_access_logs(self, direction: Direction) -> Sequence[AccessLog]:
        """Access loggers of listeners, for connections that no filter chain takes."""
        return ()

    def http_filters(self, spot: Spot) -> Sequence[HttpFilter]:
        """HTTP filters before all others."""

    def network_filters(self, spot: Spot) -> Sequence[Filter]:
        """Network filters before all others of a chain that is proxied as TCP."""

    def http_access_logs(self, spot: Spot) -> Sequence[AccessLog]:
        """Access loggers of HTTP connection managers."""

    def tcp_access_logs(self, spot: Spot) -> Sequence[AccessLog]:
        """Access loggers of TCP proxies."""

    def tcp_log_interval(self, spot: Spot) -> timedelta | None:
        """How often loggers of a TCP proxy hear of an open connection, the opening included.

        None: they hear of its end only.
        """

    def virtual_host(self, spot: Spot, service: Service | None) -> Additions:
        """For a virtual host; `service` is None for hosts that are no service."""

    def destination(self, spot: Spot, host: str, service: Service | None) -> Additions:
        """For requests to a host, the service of that name if there is one.

        They go into the route, or into the weighted cluster of one destination among several;
        metadata goes into the route, that of the first destination. `host` is the cluster name for
        what passes through.
        """


class NoExtensions(Extensions):
    """Adds nothing at any slot."""

    def http_filters(self, spot: Spot) -> Sequence[HttpFilter]:
        """None."""
        return ()

    def network_filters(self, spot: Spot) -> Sequence[Filter]:
        """None."""
        return ()

    def http_access_logs(self, spot: Spot) -> Sequence[AccessLog]:
        """None."""
        return ()

    def tcp_access_logs(self, spot: Spot) -> Sequence[AccessLog]:
        """None."""
        return ()

    def tcp_log_interval(self, spot: Spot) -> timedelta | None:
        """Never."""
        return None

    def virtual_host(self, spot: Spot, service: Service | None) -> Additions:
        """Nothing."""
        return NOTHING

    def destination(self, spot: Spot, host: str, service: Service | None) -> Additions:
        """Nothing."""
        return NOTHING


NO_EXTENSIONS: Final = NoExtensions()

ExtensionsOf: TypeAlias = Callable[[Mesh], Extensions]
"""The extensions that mesh settings ask for."""
