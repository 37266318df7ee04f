"""The ConfigMaps by which every namespace gets to know the roots of the mesh (A9).

Section numbers are those of citadel-and-agent.md.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]

LABELS = {"istio.io/config": "true"}
ROOT_KEY = "root-cert.pem"
CRL_KEY = "ca-crl.pem"
LEGACY_MAP = "istio-security"
LEGACY_KEY = "caTLSRootCert"

# Where nothing of the mesh runs; kube-system is served.
SKIPPED = frozenset({"kube-public", "kube-node-lease", "local-path-storage"})


@dataclass(frozen=True)
class Trust:
    """The roots of the mesh and, if there are any, its revocation lists, in PEM."""

    roots_pem: str
    crl_pem: str = ""


@dataclass(frozen=True)
class MapNames:
    """What the maps are called; ``legacy_namespace`` is Citadel's, "" without the map of 1.4."""

    roots: str = "istio-ca-root-cert"
    crl: str = "istio-ca-crl"
    legacy_namespace: str = ""

    @property
    def all(self) -> tuple[str, ...]:
        """Every name that may be in use."""
        return (self.roots, self.crl, *([LEGACY_MAP] if self.legacy_namespace else ()))


def is_served(namespace: Mapping[str, Any]) -> bool:
    """Whether a namespace gets the maps: it is not ending, and none of those that are left out."""
    metadata = namespace.get("metadata") or {}
    phase = (namespace.get("status") or {}).get("phase")
    ending = bool(metadata.get("deletionTimestamp")) or phase == "Terminating"
    return not ending and metadata.get("name") not in SKIPPED


def wanted_maps(namespace: str, trust: Trust, names: MapNames) -> Mapping[str, Mapping[str, str]]:
    """The data of each map of a namespace by its name; a map without data is to go."""
    wanted = {
        names.roots: {ROOT_KEY: trust.roots_pem},
        names.crl: {CRL_KEY: trust.crl_pem} if trust.crl_pem else {},
    }
    if namespace == names.legacy_namespace:
        text = base64.b64encode(trust.roots_pem.encode()).decode()
        wanted[LEGACY_MAP] = {LEGACY_KEY: text}
    return wanted


def says(found: Mapping[str, Any], data: Mapping[str, str]) -> bool:
    """Whether a map has this data and our labels; what else it has is not ours."""
    held, labels = found.get("data") or {}, found["metadata"].get("labels") or {}
    return data.items() <= held.items() and LABELS.items() <= labels.items()


def new_map(namespace: str, name: str, data: Mapping[str, str]) -> Object:
    """A map as it is created."""
    metadata = {"name": name, "namespace": namespace, "labels": dict(LABELS)}
    return {"metadata": metadata, "data": dict(data)}


def changed_map(found: Mapping[str, Any], data: Mapping[str, str]) -> Object:
    """A map that says what it must, and still what others wrote into it."""
    metadata = dict(found["metadata"])
    metadata["labels"] = {**(metadata.get("labels") or {}), **LABELS}
    return {**found, "metadata": metadata, "data": {**(found.get("data") or {}), **data}}


def joined(pems: Iterable[str]) -> str:
    """Certificates as one PEM text, sorted, without repeats."""
    return "".join(sorted({pem if pem.endswith("\n") else f"{pem}\n" for pem in pems}))
