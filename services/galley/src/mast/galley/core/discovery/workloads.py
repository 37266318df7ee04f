"""Pods as canonical workloads, and who owns them (D2.2)."""

from __future__ import annotations

import re
from typing import Final

from mast.common import keys
from mast.galley.core.discovery.objects import ObjectName, Owner, Pod, Readiness
from mast.galley.core.discovery.places import Place
from mast.galley.core.discovery.settings import Settings
from mastapi.registry.v1 import registry_pb2 as registry

TLS_MODE: Final = "security.istio.io/tlsMode"
"""Label of Pods that accept mutual TLS; injection sets it."""
HEALTH: Final = {
    Readiness.READY: registry.HEALTH_HEALTHY,
    Readiness.NOT_READY: registry.HEALTH_UNHEALTHY,
    Readiness.SERVING_TO_THE_END: registry.HEALTH_TERMINATING,
    Readiness.TERMINATING: registry.HEALTH_TERMINATING,
}
"""Health by readiness, of all that does not drain."""

# A replica set is named after what rolls it out and a hash that its pods carry.
_HASHES: Final = (
    ("pod-template-hash", Owner("apps/v1", "Deployment", "")),
    ("rollouts-pod-template-hash", Owner("argoproj.io/v1alpha1", "Rollout", "")),
)
_OPENSHIFT: Final = "deploymentconfig"
# CronJobs name their Jobs after the minute that they are for.
_SCHEDULED: Final = re.compile(r"(.+)-\d{8,10}")


def workload_key(id_: ObjectName, settings: Settings) -> str:
    """Where the workload of a Pod is stored."""
    return keys.workload_key(settings.cluster, id_.namespace, id_.name)


def canonical_workload(pod: Pod, settings: Settings, place: Place) -> registry.Workload:
    """A Pod in the mesh's terms.

    One on the network of its Node has no address: that belongs to the Node (D2.2).
    """
    owner = controller(pod)
    made = registry.Workload(
        name=pod.id.name,
        namespace=pod.id.namespace,
        cluster=settings.cluster,
        addresses=() if pod.on_host_network else pod.addresses,
        labels=pod.labels,
        annotations=pod.annotations,
        service_account=pod.service_account,
        locality=place.locality,
        network=place.network,
        node=place.node,
        workload_name=owner.name,
        owner=owner_link(owner, pod.id.namespace),
        health=HEALTH[pod.readiness],
        ports=pod.ports,
        tls_mode=tls_mode(pod),
        containers=pod.containers,
    )
    if pod.created is not None:
        made.create_time.FromDatetime(pod.created)
    return made


def tls_mode(pod: Pod) -> str:
    """``istio`` for those that accept mutual TLS, else ``disabled``."""
    return "istio" if pod.labels.get(TLS_MODE) == "istio" else "disabled"


def controller(pod: Pod) -> Owner:
    """What people call the workload of a Pod: a Deployment, not its ReplicaSet (D2.2).

    A Pod without a controller is its own.
    """
    owner = pod.owner
    if owner is None or not owner.name:
        return Owner("v1", "Pod", pod.id.name)
    if owner.kind == "ReplicaSet":
        for label, found in _HASHES:
            stem = owner.name.removesuffix(f"-{pod.labels.get(label, '')}")
            if pod.labels.get(label) and stem != owner.name:
                return found._replace(name=stem)
    elif owner.kind == "ReplicationController":
        if name := pod.labels.get(_OPENSHIFT):
            return Owner("apps.openshift.io/v1", "DeploymentConfig", name)
    elif owner.kind == "Job" and (scheduled := _SCHEDULED.fullmatch(owner.name)):
        return Owner("batch/v1", "CronJob", scheduled[1])
    return owner


def owner_link(owner: Owner, namespace: str) -> str:
    """``kubernetes://apis/apps/v1/namespaces/NS/deployments/NAME``."""
    plural = f"{owner.kind.lower()}s"
    return f"kubernetes://apis/{owner.api_version}/namespaces/{namespace}/{plural}/{owner.name}"
