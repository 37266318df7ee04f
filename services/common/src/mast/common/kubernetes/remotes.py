"""Which other clusters there are, by the Secrets of the mesh's namespace.

The rules are those of galley-and-kubernetes.md D3.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from mast.common.kubernetes.objects import Object, name_of, namespace_of

LABELS: Final = "istio/multiCluster=true"
"""Selects the Secrets that tell of clusters."""


@dataclass(frozen=True, slots=True)
class RemoteCluster:
    """A cluster, and the Secret ``namespace/name`` that says how to reach it."""

    cluster: str
    secret: str
    kubeconfig: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Ignored:
    """An entry of a Secret that counts for nothing, and why."""

    cluster: str
    secret: str
    reason: str


@dataclass(frozen=True)
class RemoteClusters:
    """What all Secrets come to: clusters by their ids, and entries that count for nothing."""

    wanted: Mapping[str, RemoteCluster] = field(default_factory=dict)
    ignored: tuple[Ignored, ...] = ()


def remote_clusters(secrets: Iterable[Object], own: str) -> RemoteClusters:
    """Every entry of a Secret is a cluster: its id, and a kubeconfig.

    ``own`` is the id of the cluster that the Secrets are in. Of several Secrets with one id the
    oldest counts.
    """
    wanted: dict[str, RemoteCluster] = {}
    ignored: list[Ignored] = []
    for secret in sorted(secrets, key=_age):
        where = f"{namespace_of(secret)}/{name_of(secret)}"
        for cluster, text in sorted((secret.get("data") or {}).items()):
            if cluster == own:
                ignored.append(Ignored(cluster, where, "it is the id of the own cluster"))
            elif cluster in wanted:
                reason = f"the Secret {wanted[cluster].secret} has the same id"
                ignored.append(Ignored(cluster, where, reason))
            elif (kubeconfig := _content(text)) is None:
                ignored.append(Ignored(cluster, where, "it is empty, or no base64"))
            else:
                wanted[cluster] = RemoteCluster(cluster, where, kubeconfig)
    return RemoteClusters(wanted, tuple(ignored))


def _age(secret: Object) -> tuple[str, str]:
    """Times of Kubernetes sort as text."""
    return str(secret["metadata"].get("creationTimestamp", "")), name_of(secret)


def _content(text: object) -> bytes | None:
    try:
        return base64.b64decode(str(text), validate=True) or None
    except (binascii.Error, ValueError):
        return None
