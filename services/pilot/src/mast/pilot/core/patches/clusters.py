"""Patches of clusters (Istio EnvoyFilter, "applyTo: CLUSTER")."""

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.base_pb2 import TransportSocket
from envoy.config.listener.v3.listener_components_pb2 import FilterChain

from istio.networking.v1alpha3.envoy_filter_pb2 import EnvoyFilter
from mast.common.envoy.merging import merge
from mast.pilot.core.patches.conditions import Scene, cluster_matches
from mast.pilot.core.patches.patch import Patch, PatchSet, Unfit, copied
from mast.pilot.core.patches.record import Record


def patched_cluster(
    cluster: Cluster, patches: PatchSet, scene: Scene, record: Record
) -> Cluster | None:
    """The cluster, changed in place; None if a patch removes it."""
    for patch in patches.of(EnvoyFilter.CLUSTER):
        removes = patch.operation == EnvoyFilter.Patch.REMOVE
        if not (removes or patch.merges):
            continue
        if not scene.covers(patch) or not cluster_matches(cluster, patch):
            continue
        if removes:
            record.apply(patch)
            return None
        try:
            _merge_cluster(cluster, patch)
        except Unfit as error:
            record.skip(patch, str(error))
        else:
            record.apply(patch)
    return cluster


def _merge_cluster(cluster: Cluster, patch: Patch) -> None:
    """Merge; a transport socket goes into the sockets of its name, wherever the cluster has them.

    Differs from Istio: the rest of such a patch counts as well, and every socket of the name.
    """
    value: Cluster = copied(patch.value)
    if value.HasField("transport_socket"):
        socket = value.transport_socket
        if cluster.transport_socket_matches:
            sockets = [each.transport_socket for each in cluster.transport_socket_matches]
            if socket.name not in {each.name for each in sockets}:
                has = ", ".join(sorted({each.name for each in sockets}))
                raise Unfit(f"transport_socket.name: {socket.name!r} is none of {has}")
            for each in sockets:
                if each.name == socket.name:
                    merge(each, socket, replace_lists=patch.replaces_lists)
        else:
            merge_socket(cluster, socket, patch)
        value.ClearField("transport_socket")
    merge(cluster, value, replace_lists=patch.replaces_lists)


def merge_socket(owner: Cluster | FilterChain, socket: TransportSocket, patch: Patch) -> None:
    """Merge into the transport socket of a cluster or chain; one of another name is replaced."""
    target = owner.transport_socket
    if target.name and target.name != socket.name:
        target.CopyFrom(socket)
    else:
        merge(target, socket, replace_lists=patch.replaces_lists)
