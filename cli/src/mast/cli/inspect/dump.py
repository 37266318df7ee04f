"""A configuration dump of Envoy, or of Pilot in the same form, as messages."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from envoy.admin.v3.clusters_pb2 import Clusters
from envoy.admin.v3.config_dump_pb2 import (
    BootstrapConfigDump,
    SecretsConfigDump,
)
from envoy.admin.v3.config_dump_shared_pb2 import (
    ClustersConfigDump,
    EcdsConfigDump,
    EndpointsConfigDump,
    ListenersConfigDump,
    RoutesConfigDump,
)
from envoy.config.bootstrap.v3.bootstrap_pb2 import Bootstrap
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.base_pb2 import Node
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError, Message

from mast.cli.envoy.configuration import Configuration
from mast.cli.envoy.types import from_dict

M = TypeVar("M", bound=Message)


class NotADump(ValueError):
    """A text is no configuration dump."""


@dataclass(frozen=True)
class HeldSecret:
    """A secret and whether the proxy has it already."""

    secret: Secret
    active: bool


@dataclass
class Dump:
    """Everything a dump tells, by name; ``rejected`` has reasons by type and name.

    Static resources are in ``bootstrap`` as well; ``dynamic`` names those that were told by xDS,
    as ``listeners/NAME`` and so on. ``hosts`` are what ``/clusters`` tells of endpoints.
    """

    bootstrap: Bootstrap = field(default_factory=Bootstrap)
    listeners: dict[str, Listener] = field(default_factory=dict)
    routes: dict[str, RouteConfiguration] = field(default_factory=dict)
    clusters: dict[str, Cluster] = field(default_factory=dict)
    endpoints: dict[str, ClusterLoadAssignment] = field(default_factory=dict)
    secrets: list[HeldSecret] = field(default_factory=list)
    extensions: dict[str, TypedExtensionConfig] = field(default_factory=dict)
    rejected: dict[str, str] = field(default_factory=dict)
    dynamic: set[str] = field(default_factory=set)
    hosts: Clusters | None = None

    @property
    def node(self) -> Node:
        """The node as the proxy presents itself."""
        return self.bootstrap.node

    @property
    def configuration(self) -> Configuration:
        """What the proxy works with."""
        return Configuration(
            self.node,
            dict(sorted(self.listeners.items())),
            dict(sorted(self.routes.items())),
            dict(sorted(self.clusters.items())),
            dict(sorted(self.endpoints.items())),
        )


def read(text: str, clusters: str = "") -> Dump:
    """A dump from the text of ``/config_dump?include_eds`` and perhaps ``/clusters?format=json``.

    Raises NotADump.
    """
    content = _json(text)
    dump = Dump()
    if "cluster_statuses" in content or "clusterStatuses" in content:
        dump.hosts = _message(content, Clusters())
        return dump
    if not isinstance(content.get("configs"), list):
        raise NotADump("no 'configs' in it, as /config_dump of Envoy's admin port has")
    for each in content["configs"]:
        name = str(each.get("@type", "")).rpartition(".")[2]
        if name in _SECTIONS:
            kind, take = _SECTIONS[name]
            section = {key: value for key, value in each.items() if key != "@type"}
            take(dump, _message(section, kind()))
    if clusters:
        dump.hosts = _message(_json(clusters), Clusters())
    return dump


def _json(text: str) -> Mapping[str, Any]:
    try:
        content = json.loads(text)
    except ValueError as error:
        raise NotADump(f"not JSON: {error}") from error
    if not isinstance(content, dict):
        raise NotADump("not a JSON object")
    return content


def _message(content: Mapping[str, Any], into: M) -> M:
    if not from_dict(dict(content), into):
        raise NotADump(f"not a {into.DESCRIPTOR.full_name}")
    return into


def _take_bootstrap(dump: Dump, section: BootstrapConfigDump) -> None:
    dump.bootstrap = section.bootstrap


def _take_clusters(dump: Dump, section: ClustersConfigDump) -> None:
    for static in section.static_clusters:
        cluster = _of(static.cluster, Cluster())
        if cluster is not None:
            dump.clusters[cluster.name] = cluster
    # What is active is what counts; a cluster may be known only as one that warms up.
    for each in (*section.dynamic_warming_clusters, *section.dynamic_active_clusters):
        cluster = _of(each.cluster, Cluster())
        if cluster is not None:
            dump.clusters[cluster.name] = cluster
            dump.dynamic.add(f"clusters/{cluster.name}")
            _note_rejection(dump, f"clusters/{cluster.name}", each.error_state.details)


def _take_listeners(dump: Dump, section: ListenersConfigDump) -> None:
    for static in section.static_listeners:
        listener = _of(static.listener, Listener())
        if listener is not None:
            dump.listeners[listener.name] = listener
    for each in section.dynamic_listeners:
        _note_rejection(dump, f"listeners/{each.name}", each.error_state.details)
        state = each.active_state if each.HasField("active_state") else each.warming_state
        listener = _of(state.listener, Listener())
        if listener is not None:
            dump.listeners[each.name] = listener
            dump.dynamic.add(f"listeners/{each.name}")


def _take_routes(dump: Dump, section: RoutesConfigDump) -> None:
    for number, static in enumerate(section.static_route_configs):
        routes = _of(static.route_config, RouteConfiguration())
        if routes is not None:
            # Routes inside listeners share names: each of them counts.
            dump.routes.setdefault(routes.name or f"inline-{number}", routes)
    for each in section.dynamic_route_configs:
        routes = _of(each.route_config, RouteConfiguration())
        if routes is not None:
            dump.routes[routes.name] = routes
            dump.dynamic.add(f"routes/{routes.name}")
            _note_rejection(dump, f"routes/{routes.name}", each.error_state.details)


def _take_endpoints(dump: Dump, section: EndpointsConfigDump) -> None:
    for each in section.dynamic_endpoint_configs:
        found = _of(each.endpoint_config, ClusterLoadAssignment())
        if found is not None:
            dump.endpoints[found.cluster_name] = found
            dump.dynamic.add(f"endpoints/{found.cluster_name}")


def _take_secrets(dump: Dump, section: SecretsConfigDump) -> None:
    for name, content, active in (
        *((each.name, each.secret, True) for each in section.static_secrets),
        *((each.name, each.secret, True) for each in section.dynamic_active_secrets),
        *((each.name, each.secret, False) for each in section.dynamic_warming_secrets),
    ):
        secret = _of(content, Secret()) or Secret()
        secret.name = secret.name or name
        dump.secrets.append(HeldSecret(secret, active))


def _take_extensions(dump: Dump, section: EcdsConfigDump) -> None:
    for each in section.ecds_filters:
        found = _of(each.ecds_filter, TypedExtensionConfig())
        if found is not None:
            dump.extensions[found.name] = found
            dump.dynamic.add(f"extensions/{found.name}")


def _note_rejection(dump: Dump, name: str, reason: str) -> None:
    if reason:
        dump.rejected[name] = reason


def _of(packed: AnyMessage, into: M) -> M | None:
    try:
        return into if packed.Unpack(into) else None
    except DecodeError:
        return None


_SECTIONS: Mapping[str, tuple[Callable[[], Any], Callable[[Dump, Any], None]]] = {
    "BootstrapConfigDump": (BootstrapConfigDump, _take_bootstrap),
    "ClustersConfigDump": (ClustersConfigDump, _take_clusters),
    "ListenersConfigDump": (ListenersConfigDump, _take_listeners),
    "RoutesConfigDump": (RoutesConfigDump, _take_routes),
    "EndpointsConfigDump": (EndpointsConfigDump, _take_endpoints),
    "SecretsConfigDump": (SecretsConfigDump, _take_secrets),
    "EcdsConfigDump": (EcdsConfigDump, _take_extensions),
}
