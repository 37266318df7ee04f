"""Releases: what mastctl installed, as a Secret in the namespace of the control plane."""

from __future__ import annotations

import base64
import gzip
import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from mast.cli.install.manifests import Object, identity

TYPE: Final = "mast.io/release.v1"
LABEL: Final = "mast.io/release"
# Helm's, so that it may take over what mastctl installed.
HELM_NAME: Final = "meta.helm.sh/release-name"
HELM_NAMESPACE: Final = "meta.helm.sh/release-namespace"
MANAGED_BY: Final = "app.kubernetes.io/managed-by"
# istioctl's, by which objects of a release are found again.
OWNER: Final = "install.operator.istio.io/owning-resource"
OWNER_NAMESPACE: Final = "install.operator.istio.io/owning-resource-namespace"
DEFAULT_REVISION: Final = "default"
# What is never removed with a release, unless everything is.
LASTING: Final = frozenset({"CustomResourceDefinition", "PersistentVolumeClaim", "Secret"})

_KEEP: Final = "helm.sh/resource-policy"
_NAME: Final = "mast"


@dataclass(frozen=True, kw_only=True)
class Release:
    """One revision of a control plane as it was installed last.

    ``values`` are those of the user, which lie over the profile; ``objects`` what was rendered;
    ``definitions`` versions of CustomResourceDefinitions by name; ``kinds`` every kind that any
    installation of this name ever made, as (apiVersion, kind). It is ``complete`` once everything
    of it was applied and found ready.
    """

    name: str
    namespace: str
    revision: str
    profile: str
    chart: str
    version: str
    values: Object
    objects: list[Object]
    definitions: Mapping[str, list[str]]
    kinds: list[list[str]] = field(default_factory=list)
    number: int = 1
    complete: bool = False

    @property
    def secret(self) -> str:
        """The name of its Secret."""
        return f"mast-release-{self.name}"

    def has(self, found: Mapping[str, Any]) -> bool:
        """Whether an object of a cluster says that it belongs to this release."""
        return owner_of(found) == (self.name, self.namespace)

    def may_remove(self, found: Mapping[str, Any]) -> bool:
        """Whether an object goes when the release does, or has it no more."""
        annotations = (found.get("metadata") or {}).get("annotations") or {}
        lasts = found["kind"] in LASTING or annotations.get(_KEEP) == "keep"
        return self.has(found) and not lasts


def release_name(revision: str) -> str:
    """What the release of a revision is called: ``mast``, or ``mast-REVISION``."""
    return _NAME if revision == DEFAULT_REVISION else f"{_NAME}-{revision}"


def selector(name: str, namespace: str) -> str:
    """By which labels objects of a release are listed."""
    return f"{OWNER}={name},{OWNER_NAMESPACE}={namespace}"


def marked(found: Object, name: str, namespace: str) -> Object:
    """An object that says whose it is: to Helm, and to those who look for all of a release."""
    metadata = dict(found["metadata"])
    metadata["labels"] = {
        **(metadata.get("labels") or {}),
        MANAGED_BY: "Helm",
        OWNER: name,
        OWNER_NAMESPACE: namespace,
    }
    annotations = metadata.get("annotations") or {}
    metadata["annotations"] = {**annotations, HELM_NAME: name, HELM_NAMESPACE: namespace}
    return {**found, "metadata": metadata}


def owner_of(found: Mapping[str, Any]) -> tuple[str, str]:
    """Name and namespace of the release that an object says it belongs to, "" if to none."""
    annotations = (found.get("metadata") or {}).get("annotations") or {}
    return str(annotations.get(HELM_NAME, "")), str(annotations.get(HELM_NAMESPACE, ""))


def secret(release: Release) -> Object:
    """The Secret that keeps a release."""
    packed = gzip.compress(json.dumps(asdict(release)).encode(), mtime=0)
    return {
        "metadata": {
            "name": release.secret,
            "namespace": release.namespace,
            "labels": {
                MANAGED_BY: "mastctl",
                LABEL: release.name,
                "istio.io/rev": release.revision,
            },
        },
        "type": TYPE,
        "data": {"release": base64.b64encode(packed).decode()},
    }


def read(found: Mapping[str, Any]) -> Release:
    """The release of a Secret; ValueError if it holds none."""
    name = found["metadata"]["name"]
    try:
        packed = base64.b64decode(found["data"]["release"], validate=True)
        return Release(**json.loads(gzip.decompress(packed)))
    except (KeyError, TypeError, ValueError, OSError, EOFError, zlib.error) as error:
        raise ValueError(f"Secret {name}: it holds no release: {error!r}") from error


def kinds_of(objects: Iterable[Object], before: Release | None) -> list[list[str]]:
    """The kinds of objects, and those of the release before."""
    found = {(each["apiVersion"], each["kind"]) for each in objects}
    if before is not None:
        found |= {(version, kind) for version, kind in before.kinds}
    return sorted([version, kind] for version, kind in found)


def key_of(found: Mapping[str, Any]) -> tuple[str, str, str, str]:
    """Group, kind, namespace and name of an object."""
    own = identity(found)
    return own.group, own.kind, own.namespace, own.name
