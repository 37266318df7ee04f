"""A configuration as a static bootstrap: Envoy reads, checks or runs it without a control plane."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from envoy.config.bootstrap.v3.bootstrap_pb2 import Bootstrap
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.config_source_pb2 import ApiConfigSource, ApiVersion
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (  # noqa: E501
    HttpConnectionManager,
)
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import SdsSecretConfig
from envoy.extensions.upstreams.http.v3.http_protocol_options_pb2 import HttpProtocolOptions
from envoy.extensions.wasm.v3.wasm_pb2 import PluginConfig
from google.protobuf.any_pb2 import Any as AnyMessage

from mast.cli.envoy.configuration import Configuration, chains, discovered
from mast.cli.envoy.walking import unpacked, within
from mast.pilot.core.filters.on_demand import ON_DEMAND_FILTER
from mast.pilot.core.packing import packed
from mast.pilot.core.security.transport_sockets import SDS_CLUSTER

SDS_SOCKET: Final = "./var/run/secrets/workload-spiffe-uds/socket"
"""Where the agent serves secrets, seen from its working directory (pilot.md A6)."""

_HTTP_OPTIONS: Final = HttpProtocolOptions.DESCRIPTOR.full_name


def bootstrap(configuration: Configuration) -> Bootstrap:
    """Everything in place: routes in listeners, endpoints in clusters.

    Secrets come from the socket of the agent, through a cluster of its own: files hold no keys.
    """
    made = Bootstrap(node=configuration.node)
    # Envoy wants both to be set; Pilot does not need the cluster.
    made.node.cluster = made.node.cluster or made.node.id.split("~")[2]
    resources = made.static_resources
    for listener in configuration.listeners.values():
        resources.listeners.append(_complete(listener, configuration))
    for cluster in configuration.clusters.values():
        resources.clusters.append(_with_endpoints(cluster, configuration))
    if SDS_CLUSTER not in configuration.clusters:
        resources.clusters.append(_secrets())
    return made


def _complete(listener: Listener, configuration: Configuration) -> Listener:
    """The listener with routes and extensions in place of their names."""
    made = Listener()
    made.CopyFrom(listener)
    for chain in chains(made):
        _with_extensions(chain.filters, configuration)
        for each in chain.filters:
            manager = HttpConnectionManager()
            if each.typed_config.Unpack(manager):
                if manager.HasField("rds"):
                    name = manager.rds.route_config_name
                    empty = RouteConfiguration(name=name)
                    manager.route_config.CopyFrom(configuration.routes.get(name, empty))
                _without_demand(manager)
                _with_extensions(manager.http_filters, configuration)
                each.typed_config.CopyFrom(packed(manager))
        _secrets_from_agent(chain.transport_socket.typed_config)
    return made


def _without_demand(manager: HttpConnectionManager) -> None:
    """There is nobody whom a proxy could ask for hosts and clusters when it needs them."""
    manager.route_config.ClearField("vhds")
    for index in reversed(range(len(manager.http_filters))):
        if manager.http_filters[index].name == ON_DEMAND_FILTER:
            del manager.http_filters[index]


def left_out(configuration: Configuration) -> list[str]:
    """Filters that a bootstrap cannot have, sorted: those with modules that are no part of it.

    The agent fetches modules and writes them to files of the proxy's machine; Envoy wants to read
    them when it reads its configuration, wherever that is.
    """
    wanted = {name for each in configuration.listeners.values() for name in discovered(each)}
    return sorted(name for name in wanted if _extension(configuration, name) is None)


def _extension(configuration: Configuration, name: str) -> AnyMessage | None:
    found = configuration.extensions.get(name)
    if found is None:
        return None
    codes = [each.vm_config.code for each in within(found.typed_config, PluginConfig)]
    elsewhere = any(each.local.filename or each.HasField("remote") for each in codes)
    return None if elsewhere else found.typed_config


def _with_extensions(filters: Any, configuration: Configuration) -> None:
    """Filters that are discovered get their configuration; see `left_out`."""
    kept = []
    for each in filters:
        if each.HasField("config_discovery"):
            found = _extension(configuration, each.name)
            if found is None:
                continue
            each.typed_config.CopyFrom(found)
        kept.append(type(each).FromString(each.SerializeToString()))
    del filters[:]
    filters.extend(kept)


def _with_endpoints(cluster: Cluster, configuration: Configuration) -> Cluster:
    made = Cluster()
    made.CopyFrom(cluster)
    if cluster.HasField("eds_cluster_config"):
        found = configuration.endpoints_of(cluster)
        made.ClearField("eds_cluster_config")
        made.type = Cluster.STATIC
        made.load_assignment.cluster_name = cluster.name
        if found is not None:
            made.load_assignment.CopyFrom(found)
    for socket in _sockets(made):
        _secrets_from_agent(socket)
    return made


def _sockets(cluster: Cluster) -> Iterator[AnyMessage]:
    if cluster.HasField("transport_socket"):
        yield cluster.transport_socket.typed_config
    for each in cluster.transport_socket_matches:
        yield each.transport_socket.typed_config


def _secrets_from_agent(socket: AnyMessage) -> None:
    """Let TLS that would ask the control plane for its secrets ask the agent."""
    opened = unpacked(socket) if socket.type_url else None
    if opened is None:
        return
    changed = False
    for each in within(opened, SdsSecretConfig):
        if each.sds_config.HasField("ads"):
            source = ApiConfigSource(
                api_type=ApiConfigSource.GRPC, transport_api_version=ApiVersion.V3
            )
            source.grpc_services.add().envoy_grpc.cluster_name = SDS_CLUSTER
            each.sds_config.api_config_source.CopyFrom(source)
            changed = True
    if changed:
        socket.CopyFrom(packed(opened))


def _secrets() -> Cluster:
    made = Cluster(name=SDS_CLUSTER, type=Cluster.STATIC)
    made.connect_timeout.FromSeconds(1)
    made.load_assignment.cluster_name = SDS_CLUSTER
    endpoint = made.load_assignment.endpoints.add().lb_endpoints.add().endpoint
    endpoint.address.pipe.path = SDS_SOCKET
    options = HttpProtocolOptions()
    options.explicit_http_config.http2_protocol_options.SetInParent()
    made.typed_extension_protocol_options[_HTTP_OPTIONS].CopyFrom(packed(options))
    return made
