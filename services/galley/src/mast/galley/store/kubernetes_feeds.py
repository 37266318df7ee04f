"""What the Kubernetes source follows of an API server (A2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from mast.common.kubernetes import Resource
from mast.common.kubernetes.objects import CONFIG_MAPS, NAMESPACES, SECRETS
from mast.galley.core.cluster import MESH_MAP, mesh_map

DEFINITIONS: Final = Resource(
    "apiextensions.k8s.io",
    "v1",
    "customresourcedefinitions",
    "CustomResourceDefinition",
    namespaced=False,
)
_INGRESSES = Resource("networking.k8s.io", "v1", "ingresses", "Ingress")
_INGRESS_CLASSES = Resource(
    "networking.k8s.io", "v1", "ingressclasses", "IngressClass", namespaced=False
)
# Types of Secrets that gateways take their credentials from.
_CREDENTIAL_TYPES = ("kubernetes.io/tls", "Opaque")


@dataclass(frozen=True)
class Feed:
    """Objects that are followed together.

    With an ``alias`` each of them is read under this name. ``defined`` are those of a definition,
    which says when they are gone. ``referred`` is the name of a ConfigMap that is followed alone.
    """

    name: str
    resource: Resource
    namespace: str = ""
    fields: str = ""
    alias: str = ""
    defined: bool = False
    referred: str = ""


def fixed_feeds(namespace: str, revision: str, *, secrets: bool) -> list[Feed]:
    """What every API server has; ``namespace`` is that of the mesh's ConfigMap. Secrets only if
    there is a key to seal them with."""
    settings = f"metadata.name={mesh_map(revision)}"
    types = _CREDENTIAL_TYPES if secrets else ()
    return [
        Feed("namespaces", NAMESPACES),
        Feed("ingresses", _INGRESSES),
        Feed("ingressclasses", _INGRESS_CLASSES),
        Feed("mesh", CONFIG_MAPS, namespace, settings, MESH_MAP),
        *(Feed(f"secrets {each}", SECRETS, fields=f"type={each}") for each in types),
    ]


def map_feed(place: tuple[str, str]) -> Feed:
    """A ConfigMap alone, by namespace and name."""
    namespace, name = place
    where = f"metadata.name={name}"
    return Feed(f"configmap {namespace}/{name}", CONFIG_MAPS, namespace, where, referred=name)
