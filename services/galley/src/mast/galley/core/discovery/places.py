"""Where workloads are: locality, network, and the labels that say so (D2.3, D2.4)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from mast.galley.core.discovery.objects import ClusterNode

NETWORK: Final = "topology.istio.io/network"
"""Label of a Pod, or of the system namespace for its whole cluster: the network it is in."""
CLUSTER: Final = "topology.istio.io/cluster"
REGION: Final = "topology.kubernetes.io/region"
ZONE: Final = "topology.kubernetes.io/zone"
SUBZONE: Final = "topology.istio.io/subzone"
HOSTNAME: Final = "kubernetes.io/hostname"
_OF_PODS: Final = ("topology.istio.io/locality", "istio-locality")
_OF_NODES: Final = (
    (REGION, "failure-domain.beta.kubernetes.io/region"),
    (ZONE, "failure-domain.beta.kubernetes.io/zone"),
    (SUBZONE,),
)
_PARTS: Final = (REGION, ZONE, SUBZONE)


class Place(NamedTuple):
    """Where a workload is: ``region/zone/subzone``, network, name of the Node; "" if unknown."""

    locality: str = ""
    network: str = ""
    node: str = ""


def locality(pod_labels: Mapping[str, str], node: ClusterNode | None) -> str:
    """``region/zone/subzone``, without empty parts at the end: of the Pod, else of its Node.

    Values of labels have no slashes, so that dots stand for them in a Pod's label.
    """
    for label in _OF_PODS:
        if told := pod_labels.get(label):
            return told if "/" in told else told.replace(".", "/")
    if node is None:
        return ""
    parts = (next(filter(None, map(node.labels.get, names)), "") for names in _OF_NODES)
    return "/".join(parts).rstrip("/")


def placed(labels: Mapping[str, str], place: Place, cluster: str) -> dict[str, str]:
    """Labels of an endpoint with those added that tell where it is, which win (D2.4)."""
    parts = dict(zip(_PARTS, place.locality.split("/"), strict=False))
    told = {**parts, CLUSTER: cluster, NETWORK: place.network, HOSTNAME: place.node}
    return {**labels, **{name: value for name, value in told.items() if value}}
