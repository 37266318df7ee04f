"""What lets a control plane read a cluster: the reader's account, its rights, the Secret (D3).

Section numbers are those of galley-and-kubernetes.md.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

import yaml

READER: Final = "istio-reader-service-account"
CONTROL_PLANE: Final = "istio-galley-service-account"
LABEL: Final = {"istio/multiCluster": "true"}
CLUSTER: Final = "networking.istio.io/cluster"
TOKEN_TYPE: Final = "kubernetes.io/service-account-token"  # noqa: S105 - the type of a Secret
ACCOUNT: Final = "kubernetes.io/service-account.name"

_PREFIX: Final = "istio-remote-secret-"
_RBAC: Final = "rbac.authorization.k8s.io"
_READ: Final = ["get", "list", "watch"]
_RULES: Final[list[dict[str, list[str]]]] = [
    {
        "apiGroups": [""],
        "resources": ["namespaces", "nodes", "pods", "services"],
        "verbs": _READ,
    },
    {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": _READ},
    {
        "apiGroups": [""],
        "resources": ["configmaps"],
        "verbs": [*_READ, "create", "update", "delete"],
    },
    {
        "apiGroups": ["admissionregistration.k8s.io"],
        "resources": ["mutatingwebhookconfigurations"],
        "verbs": ["list", "watch", "patch"],
    },
    {"apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"]},
]


class Kind(StrEnum):
    """What a Secret is for: to read a cluster's services, or its configuration as well."""

    REMOTE = "remote"
    CONFIG = "config"


@dataclass(frozen=True)
class Way:
    """How a cluster is reached by an account of its own; ``ca_pem`` b"" means public roots."""

    server: str
    ca_pem: bytes
    token: str = field(repr=False)


def secret_text(cluster: str, namespace: str, kind: Kind, way: Way) -> str:
    """The Secret as a manifest; ``cluster`` is the id that it gives to the cluster."""
    remote = kind is Kind.REMOTE
    metadata: dict[str, Any] = {
        "name": f"{_PREFIX}{cluster}" if remote else "istio-kubeconfig",
        "namespace": namespace,
        "annotations": {CLUSTER: cluster},
    }
    if remote:
        metadata["labels"] = dict(LABEL)
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata,
        "stringData": {cluster if remote else "config": _Literal(_kubeconfig(cluster, way))},
    }
    return yaml.dump(secret, Dumper=_Dumper, sort_keys=False)


def reader(account: str, namespace: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The ClusterRole of an account that a control plane reads by, and its binding.

    To read services, keep the roots of the mesh and ask who a token is of (E2).
    """
    name = f"istio-reader-{namespace}"
    role = {"metadata": {"name": name}, "rules": _RULES}
    binding = {
        "metadata": {"name": name},
        "roleRef": {"apiGroup": _RBAC, "kind": "ClusterRole", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": namespace}],
    }
    return role, binding


def token_secret(account: str, namespace: str) -> dict[str, Any]:
    """A Secret that Kubernetes puts a token of an account into."""
    metadata = {
        "name": f"{account}-istio-remote-secret-token",
        "namespace": namespace,
        "annotations": {ACCOUNT: account},
    }
    return {"metadata": metadata, "type": TOKEN_TYPE}


def _kubeconfig(cluster: str, way: Way) -> str:
    reached = {"server": way.server}
    if way.ca_pem:
        reached["certificate-authority-data"] = base64.b64encode(way.ca_pem).decode()
    content: Mapping[str, Any] = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": cluster, "cluster": reached}],
        "contexts": [{"name": cluster, "context": {"cluster": cluster, "user": cluster}}],
        "current-context": cluster,
        "users": [{"name": cluster, "user": {"token": way.token}}],
    }
    return yaml.safe_dump(content, sort_keys=False, width=1 << 20)


class _Literal(str):
    """Text that is written as a block."""

    __slots__ = ()


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as people do."""


def _block(dumper: yaml.SafeDumper, text: _Literal) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", str(text), style="|")


_Dumper.add_representer(_Literal, _block)
