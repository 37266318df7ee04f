"""Workloads that register themselves: what is written for them, and who may write it (D9, B26).

A proxy with the metadata `AUTO_REGISTER_GROUP` becomes a workload of that WorkloadGroup for as long
as it is connected, and 10 seconds longer. Several replicas may believe to hold it; the one to which
the proxy connected last is right.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from google.protobuf.timestamp_pb2 import Timestamp

from istio.networking.v1alpha3.workload_group_pb2 import WorkloadGroup
from mast.common.identity.spiffe import SpiffeId
from mast.common.keys import workload_key
from mast.pilot.core.model.proxy import Proxy
from mast.pilot.core.xds.access import NotAllowed
from mastapi.registry.v1.registry_pb2 import Health, Workload

GROUP: Final = "AUTO_REGISTER_GROUP"
"""Metadata that names the WorkloadGroup."""


class UnknownGroup(Exception):
    """There is no WorkloadGroup of that name in the namespace of the proxy."""


GRACE: Final = timedelta(seconds=10)
"""A workload stays so long after its proxy disconnected."""

_DEFAULT_CLUSTER: Final = "Kubernetes"
_TLS_MODE: Final = "security.istio.io/tlsMode"
_LONGEST_NAME: Final = 253


def workload(
    proxy: Proxy,
    identity: SpiffeId,
    group: WorkloadGroup,
    controller: str,
    connected_at: datetime,
) -> Workload:
    """The workload that a proxy registers with a group of its namespace.

    What the proxy says wins over the group's metadata, which wins over its template. A group that
    checks health makes workloads that are unhealthy until the first check says otherwise. Raises
    `NotAllowed` if the identity is not the one the group wants.
    """
    template = group.template
    _check(proxy, identity, group)
    labels = {
        **template.labels,
        **group.metadata.labels,
        **proxy.metadata.get("STATIC_LABELS", {}),
        **proxy.metadata.get("LABELS", {}),
    }
    checked = group.probe.WhichOneof("health_check_method") is not None
    name = proxy.text(GROUP)
    return Workload(
        name=workload_name(name, proxy.ip_addresses[0], proxy.network),
        namespace=proxy.namespace,
        cluster=proxy.cluster_id or _DEFAULT_CLUSTER,
        addresses=proxy.ip_addresses,
        labels=labels,
        annotations=dict(group.metadata.annotations),
        service_account=identity.service_account,
        locality=str(proxy.locality) or template.locality,
        network=proxy.network or template.network,
        node=proxy.text("NODE_NAME"),
        workload_name=proxy.text("WORKLOAD_NAME") or name,
        owner=proxy.text("OWNER"),
        health=Health.HEALTH_UNHEALTHY if checked else Health.HEALTH_HEALTHY,
        ports=dict(template.ports),
        weight=template.weight,
        tls_mode=labels.get(_TLS_MODE, "" if proxy.proxyless else "istio"),
        create_time=_timestamp(connected_at),
        registration_group=name,
        controller=controller,
        connected_at=_timestamp(connected_at),
    )


def _check(proxy: Proxy, identity: SpiffeId, group: WorkloadGroup) -> None:
    if identity.namespace != proxy.namespace:
        raise NotAllowed(
            f"proxy {proxy.id!r} of namespace {proxy.namespace!r} cannot register a workload:"
            f" its certificate is of namespace {identity.namespace!r}"
        )
    wanted, shown = group.template.service_account, identity.service_account
    if wanted and wanted != shown:
        raise NotAllowed(
            f"proxy {proxy.id!r} cannot register with WorkloadGroup {proxy.text(GROUP)!r}: the"
            f" group is for service account {wanted!r}, its certificate for {shown!r}"
        )


def workload_name(group: str, address: str, network: str) -> str:
    """`GROUP-IP[-NETWORK]` as the name of a Kubernetes object: its last 253 characters."""
    parts = (group, address, network) if network else (group, address)
    return "-".join(parts).replace(":", "-")[-_LONGEST_NAME:]


def key(workload: Workload) -> str:
    """Key of the workload in the store."""
    return workload_key(workload.cluster, workload.namespace, workload.name)


def supersedes(mine: Workload, stored: Workload | None) -> bool:
    """Whether my connection is as new as the one on record, so that I may write."""
    return stored is None or _instant(stored.connected_at) <= _instant(mine.connected_at)


def held_by(mine: Workload, stored: Workload | None) -> bool:
    """Whether the record is of my connection."""
    return (
        stored is not None
        and stored.controller == mine.controller
        and stored.connected_at == mine.connected_at
    )


def adopted(mine: Workload, stored: Workload | None, *, heard: bool) -> Workload:
    """What to write for my connection: the age of a workload survives a reconnect.

    So does its health until its agent is `heard` on the new connection: a control plane that
    restarts must not take traffic away from applications that serve all the time.
    """
    if stored is None:
        return mine
    made = Workload()
    made.CopyFrom(mine)
    made.create_time.CopyFrom(stored.create_time)
    if made.health == Health.HEALTH_UNHEALTHY and not heard:
        made.health = stored.health
    return made


def with_health(mine: Workload, *, healthy: bool) -> Workload:
    """The workload as its agent found it."""
    made = Workload()
    made.CopyFrom(mine)
    made.health = Health.HEALTH_HEALTHY if healthy else Health.HEALTH_UNHEALTHY
    return made


def left(mine: Workload, at: datetime) -> Workload:
    """The workload whose proxy disconnected."""
    made = Workload()
    made.CopyFrom(mine)
    made.disconnected_at.CopyFrom(_timestamp(at))
    return made


def entry(workload: Workload) -> Mapping[str, Any]:
    """A registered workload as the WorkloadEntry that Istio would make of it (B9)."""
    group = {"apiVersion": "networking.istio.io/v1", "kind": "WorkloadGroup"}
    annotations = {
        **workload.annotations,
        "istio.io/autoRegistrationGroup": workload.registration_group,
        "istio.io/workloadController": workload.controller,
        "istio.io/connectedAt": workload.connected_at.ToJsonString(),
    }
    if workload.HasField("disconnected_at"):
        annotations["istio.io/disconnectedAt"] = workload.disconnected_at.ToJsonString()
    spec = {
        "address": workload.addresses[0],
        "labels": dict(sorted(workload.labels.items())),
        "ports": dict(sorted(workload.ports.items())),
        "serviceAccount": workload.service_account,
        "network": workload.network,
        "locality": workload.locality,
        "weight": workload.weight,
    }
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "WorkloadEntry",
        "metadata": {
            "name": workload.name,
            "namespace": workload.namespace,
            "labels": dict(sorted(workload.labels.items())),
            "annotations": annotations,
            "creationTimestamp": workload.create_time.ToJsonString(),
            "ownerReferences": [{**group, "name": workload.registration_group}],
        },
        "spec": {key: value for key, value in spec.items() if value},
        "status": {
            "conditions": [
                {
                    "type": "Healthy",
                    "status": str(workload.health == Health.HEALTH_HEALTHY),
                }
            ]
        },
    }


def _timestamp(at: datetime) -> Timestamp:
    made = Timestamp()
    made.FromDatetime(at)
    return made


def _instant(timestamp: Timestamp) -> tuple[int, int]:
    return timestamp.seconds, timestamp.nanos
