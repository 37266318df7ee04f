"""What a pod belongs to: the workload by whose name the mesh knows it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

_HASH: Final = "pod-template-hash"
_SCHEDULED: Final = re.compile(r"(.+)-(\d{8,11})")


@dataclass(frozen=True, kw_only=True)
class Workload:
    """``kind`` and ``api_version`` are of the object that users write, such as a Deployment."""

    namespace: str
    name: str
    kind: str = "Pod"
    api_version: str = "v1"

    @property
    def owner(self) -> str:
        """``kubernetes://apis/apps/v1/namespaces/shop/deployments/web`` (node metadata OWNER)."""
        return (
            f"kubernetes://apis/{self.api_version}/namespaces/{self.namespace}"
            f"/{self.kind.lower()}s/{self.name}"
        )


def workload(pod: Mapping[str, Any], namespace: str) -> Workload:
    """The workload of a pod that is being created, by who controls it (D2.2).

    A ReplicaSet stands for its Deployment, a Job for its CronJob if it has the name of one.
    """
    metadata = pod.get("metadata") or {}
    own = str(metadata.get("name") or metadata.get("generateName") or "").rstrip("-")
    owners = [each for each in metadata.get("ownerReferences") or () if each.get("controller")]
    if not owners:
        return Workload(namespace=namespace, name=own)
    kind, name = str(owners[0].get("kind")), str(owners[0].get("name"))
    api_version = str(owners[0].get("apiVersion"))
    suffix = f"-{(metadata.get('labels') or {}).get(_HASH)}"
    if kind == "ReplicaSet" and name.endswith(suffix):
        kind, name = "Deployment", name.removesuffix(suffix)
    elif kind == "Job" and (scheduled := _SCHEDULED.fullmatch(name)):
        kind, name = "CronJob", scheduled[1]
    return Workload(namespace=namespace, name=name, kind=kind, api_version=api_version)
