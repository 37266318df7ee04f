"""What translations read: objects of Gateway API, services and mesh, each question noted.

A translation is made anew when a fact that it noted changes (see `ledger`).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from mast.common.credentials import Credential, defects
from mast.pilot.core.gateway_api.listeners import GatewayView
from mast.pilot.core.model import collection_names
from mast.pilot.core.model.mesh import Mesh
from mast.pilot.core.model.model import Config, Labels, Service
from mast.pilot.core.scope import memo
from mast.pilot.core.scope.memo import Reads

Name = tuple[str, str]
"""Namespace (empty for cluster-scoped kinds) and name of an object."""

GATEWAY_API: Final = "gateway.networking.k8s.io"
GATEWAY_VIEW: Final = "gateway view"
"""Kind of the fact that the listeners of a Gateway are, by its name."""

_NAMESPACE_NAME: Final = "kubernetes.io/metadata.name"


@dataclass(kw_only=True)
class Material:
    """Everything that translations are made from; one writer, the `Translator`.

    `objects` are by collection and name, `grants` the ReferenceGrants by namespace, `views` the
    translated listeners of our Gateways. `secrets` is None if nobody can tell which there are.
    """

    domain: str
    grants: dict[str, dict[Name, Config[Any]]] = field(default_factory=dict)
    objects: dict[str, dict[Name, Config[Any]]] = field(default_factory=dict)
    services: Mapping[str, Sequence[Service]] = field(default_factory=dict)
    mesh: Mesh = field(default_factory=Mesh)
    secrets: Mapping[Name, Credential] | None = field(default=None, repr=False)
    views: dict[Name, GatewayView] = field(default_factory=dict)


@dataclass(frozen=True)
class Sight:
    """The material as one translation looks at it."""

    material: Material
    reads: Reads

    @property
    def domain(self) -> str:
        """DNS suffix of Kubernetes services."""
        return self.material.domain

    @property
    def mesh(self) -> Mesh:
        """Mesh-wide settings."""
        self.reads.note(memo.MESH)
        return self.material.mesh

    def object(self, collection: str, name: Name) -> Config[Any] | None:
        """An object by its name, None if there is none."""
        self.reads.note(collection, name)
        return self.material.objects.get(collection, {}).get(name)

    def gateway(self, name: Name) -> GatewayView | None:
        """The listeners of a Gateway of ours, None if there is none of that name."""
        self.reads.note(GATEWAY_VIEW, name)
        return self.material.views.get(name)

    def service(self, host: str) -> Service | None:
        """The service of a host that clients prefer."""
        self.reads.note(memo.SERVICE, host)
        return next(iter(self.material.services.get(host, ())), None)

    def kubernetes_service(self, name: Name) -> Service | None:
        """The service that Kubernetes would have under a namespace and name."""
        return self.service(self.host(name))

    def certificate_flaw(self, name: Name) -> str:
        """Why no Secret of that name holds a certificate that can be served, "" if one does."""
        self.reads.note(memo.CREDENTIAL, name)
        if self.material.secrets is None:
            return ""
        found = self.material.secrets.get(name)
        if found is None:
            return "it does not exist, or holds no certificate"
        if found.chain is None or found.key is None:
            return "it lacks a certificate or its key"
        return "; ".join(f"{each.name}: {each.message}" for each in defects(found))

    def host(self, name: Name) -> str:
        """Host of a Kubernetes service by namespace and name."""
        return f"{name[1]}.{name[0]}.svc.{self.domain}"

    def namespace_labels(self, namespace: str) -> Labels:
        """Labels of a namespace; one that nobody described has the label that all have."""
        found = self.object(collection_names.NAMESPACES, ("", namespace))
        labels = found.meta.labels if found else {}
        return {_NAMESPACE_NAME: namespace, **labels}

    def grants(self, namespace: str) -> Iterator[Any]:
        """Specifications of the ReferenceGrants of a namespace."""
        self.reads.note(collection_names.REFERENCE_GRANTS, namespace)
        return (each.spec for each in self.material.grants.get(namespace, {}).values())
