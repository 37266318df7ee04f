"""A configuration dump as Envoy makes it, of a proxy of the mesh in tests/unit/cli/mesh.yaml."""

from __future__ import annotations

from pathlib import Path

from envoy.admin.v3.clusters_pb2 import Clusters
from envoy.admin.v3.config_dump_pb2 import BootstrapConfigDump, ConfigDump, SecretsConfigDump
from envoy.admin.v3.config_dump_shared_pb2 import (
    ClustersConfigDump,
    EcdsConfigDump,
    EndpointsConfigDump,
    ListenersConfigDump,
    RoutesConfigDump,
)
from envoy.config.core.v3.base_pb2 import Node
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message

from mast.cli.envoy.configuration import Configuration
from mast.cli.offline.mesh import Mesh, mesh_of
from mast.cli.offline.reading import Options, read
from mast.pilot.core.packing import packed
from mastapi.galley.v1 import config_pb2

MESH = Path(__file__).parents[1] / "unit" / "cli" / "mesh.yaml"
NODE = "sidecar~10.0.0.5~reviews-v1.default~default.svc.cluster.local"


def mesh(*more: str) -> Mesh:
    """The mesh of `mesh.yaml` and of further texts."""
    texts = [MESH.read_text(), *more]
    sources = [config_pb2.Source(name=f"{n}.yaml", text=text) for n, text in enumerate(texts)]
    files = read(sources, Options())
    assert not files.errors, files.errors
    return mesh_of(files)[0]


def configuration(node_id: str = NODE, *more: str) -> Configuration:
    """What a proxy of that mesh has."""
    return mesh(*more).configuration(Node(id=node_id))


def dump_of(found: Configuration, *secrets: Secret, warming: str = "") -> str:
    """The text of `/config_dump?include_eds`."""
    made = ConfigDump()
    bootstrap = BootstrapConfigDump()
    bootstrap.bootstrap.node.CopyFrom(found.node)
    clusters, listeners = ClustersConfigDump(), ListenersConfigDump()
    routes, endpoints = RoutesConfigDump(), EndpointsConfigDump()
    for cluster in found.clusters.values():
        clusters.dynamic_active_clusters.add(cluster=packed(cluster))
    for listener in found.listeners.values():
        listeners.dynamic_listeners.add(name=listener.name).active_state.listener.CopyFrom(
            packed(listener)
        )
    for route in found.routes.values():
        routes.dynamic_route_configs.add(route_config=packed(route))
    for assignment in found.endpoints.values():
        endpoints.dynamic_endpoint_configs.add(endpoint_config=packed(assignment))
    extension = TypedExtensionConfig(name="wasm", typed_config=packed(Secret(name="inside")))
    extensions = EcdsConfigDump()
    extensions.ecds_filters.add(ecds_filter=packed(extension))
    held = SecretsConfigDump()
    for secret in secrets:
        held.dynamic_active_secrets.add(name=secret.name, secret=packed(secret))
    if warming:
        held.dynamic_warming_secrets.add(name=warming)
    sections: list[Message] = [bootstrap, clusters, listeners, routes, endpoints, held, extensions]
    for section in sections:
        made.configs.add().CopyFrom(packed(section))
    return MessageToJson(made, preserving_proto_field_name=True)


def hosts_of(found: Configuration, *, failed: str = "") -> str:
    """The text of `/clusters?format=json`; one address is ejected."""
    made = Clusters()
    for name, assignment in found.endpoints.items():
        status = made.cluster_statuses.add(name=name)
        for locality in assignment.endpoints:
            for each in locality.lb_endpoints:
                host = status.host_statuses.add(address=each.endpoint.address)
                host.health_status.eds_health_status = 1
                ejected = each.endpoint.address.socket_address.address == failed
                host.health_status.failed_outlier_check = ejected
    return MessageToJson(made, preserving_proto_field_name=True)
