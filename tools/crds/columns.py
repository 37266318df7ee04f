"""What ``kubectl get`` shows of each kind beside its name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Column:
    """A column; one with a ``priority`` above 0 is shown with ``-o wide`` only."""

    name: str
    path: str
    description: str
    type: str = "string"
    priority: int = 0

    def manifest(self) -> dict[str, Any]:
        """As ``additionalPrinterColumns`` has it."""
        found: dict[str, Any] = {
            "name": self.name,
            "type": self.type,
            "jsonPath": self.path,
            "description": self.description,
        }
        return {**found, "priority": self.priority} if self.priority else found


AGE = Column("Age", ".metadata.creationTimestamp", "How long ago the object was made.", "date")

_HOSTS = Column("Hosts", ".spec.hosts", "The hosts it is about.")
_TARGETS = Column("Selector", ".spec.selector", "The workloads it is for.", priority=1)
_PHASE = Column("Phase", ".spec.phase", "Where in the chain of filters it stands.", priority=1)
_MATCH = Column("Match", ".spec.match", "When the rule applies.")
_SUBJECTS = Column("Subjects", ".spec.subjects", "Who has the role.", priority=1)
_RBAC = Column("Mode", ".spec.mode", "Which services are guarded.")
_SERVICES = Column("Services", ".spec.services", "The services it is about.", priority=1)

COLUMNS: Mapping[str, tuple[Column, ...]] = {
    "networking.istio.io/DestinationRule": (
        Column("Host", ".spec.host", "The service that the policy is for."),
    ),
    "networking.istio.io/EnvoyFilter": (
        Column("Priority", ".spec.priority", "Lower ones are applied first.", "integer", 1),
    ),
    "networking.istio.io/Gateway": (_TARGETS,),
    "networking.istio.io/ServiceEntry": (
        _HOSTS,
        Column("Location", ".spec.location", "Whether the service belongs to the mesh."),
        Column("Resolution", ".spec.resolution", "How addresses of endpoints are found."),
    ),
    "networking.istio.io/Sidecar": (
        Column("Selector", ".spec.workloadSelector", "The workloads it is for.", priority=1),
    ),
    "networking.istio.io/VirtualService": (
        Column("Gateways", ".spec.gateways", "The gateways whose requests it routes."),
        _HOSTS,
    ),
    "networking.istio.io/WorkloadEntry": (
        Column("Address", ".spec.address", "Where the workload is reached."),
        Column("Account", ".spec.serviceAccount", "Its identity.", priority=1),
    ),
    "networking.istio.io/WorkloadGroup": (
        Column("Account", ".spec.template.serviceAccount", "Identity of its workloads."),
    ),
    "networking.istio.io/ProxyConfig": (
        Column("Concurrency", ".spec.concurrency", "Threads of the proxy.", "integer", 1),
    ),
    "security.istio.io/AuthorizationPolicy": (
        Column("Action", ".spec.action", "What becomes of requests that match."),
    ),
    "security.istio.io/PeerAuthentication": (
        Column("Mode", ".spec.mtls.mode", "What kind of connections workloads take."),
    ),
    "security.istio.io/RequestAuthentication": (_TARGETS,),
    "telemetry.istio.io/Telemetry": (_TARGETS,),
    "extensions.istio.io/WasmPlugin": (
        Column("URL", ".spec.url", "Where the module comes from."),
        _PHASE,
    ),
    "extensions.istio.io/TrafficExtension": (_PHASE,),
    "rbac.istio.io/ClusterRbacConfig": (_RBAC,),
    "rbac.istio.io/RbacConfig": (_RBAC,),
    "rbac.istio.io/ServiceRoleBinding": (
        Column("Role", ".spec.roleRef.name", "The role it gives."),
        _SUBJECTS,
    ),
    "config.istio.io/HTTPAPISpecBinding": (_SERVICES,),
    "config.istio.io/QuotaSpecBinding": (_SERVICES,),
    "config.istio.io/handler": (
        Column("Adapter", ".spec.compiledAdapter", "The adapter, if it is built in."),
    ),
    "config.istio.io/instance": (
        Column("Template", ".spec.compiledTemplate", "The template, if it is built in."),
    ),
    "config.istio.io/rule": (_MATCH,),
}
