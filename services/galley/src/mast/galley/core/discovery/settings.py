"""What the mesh says about a cluster: its name and domain, networks, which namespaces are seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any, Final

from istio.mesh.v1alpha1.config_pb2 import MeshConfig
from istio.mesh.v1alpha1.network_pb2 import MeshNetworks

DOMAIN: Final = "cluster.local"
CLUSTER: Final = "Kubernetes"
SYSTEM_NAMESPACE: Final = "istio-system"


@dataclass(frozen=True)
class Settings:
    """One cluster as the mesh sees it.

    ``cluster`` is its id, and the shard of what it reports; the ``system_namespace`` carries the
    label of its network.
    """

    cluster: str = CLUSTER
    domain: str = DOMAIN
    system_namespace: str = SYSTEM_NAMESPACE
    mesh: MeshConfig = field(default_factory=MeshConfig)
    networks: MeshNetworks = field(default_factory=MeshNetworks)

    def sees(self, namespace_labels: Mapping[str, str]) -> bool:
        """Whether a namespace belongs to the mesh (MeshConfig, "discoverySelectors"; A2.4)."""
        selectors = self.mesh.discovery_selectors
        return not selectors or any(_selects(each, namespace_labels) for each in selectors)

    def network(self, address: str) -> str:
        """Network of an address by MeshNetworks: that of the cluster, else by range (D2.3).

        Of several ranges the smallest counts.
        """
        if self._of_registry:
            return self._of_registry
        if not self._ranges or not address:
            return ""
        packed = ip_address(address)
        return next((name for each, name in self._ranges if packed in each), "")

    @cached_property
    def _of_registry(self) -> str:
        for name, network in sorted(self.networks.networks.items()):
            if any(each.from_registry == self.cluster for each in network.endpoints):
                return str(name)
        return ""

    @cached_property
    def _ranges(self) -> list[tuple[IPv4Network | IPv6Network, str]]:
        found = [
            (ip_network(each.from_cidr, strict=False), str(name))
            for name, network in self.networks.networks.items()
            for each in network.endpoints
            if each.from_cidr
        ]
        return sorted(found, key=lambda each: (-each[0].prefixlen, each[1]))


def _selects(selector: Any, labels: Mapping[str, str]) -> bool:
    return all(labels.get(key) == value for key, value in selector.matchLabels.items()) and all(
        _holds(each, labels) for each in selector.matchExpressions
    )


def _holds(requirement: Any, labels: Mapping[str, str]) -> bool:
    """A condition on a label; one that Kubernetes does not know never holds."""
    value = labels.get(requirement.key)
    match requirement.operator:
        case "In":
            return value in requirement.values
        case "NotIn":
            return value not in requirement.values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
    return False
