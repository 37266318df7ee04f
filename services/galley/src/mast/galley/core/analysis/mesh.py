"""What the mesh's own settings say that analyzers ask for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from istio.mesh.v1alpha1.config_pb2 import MeshConfig
from mast.galley.core.analysis import kinds
from mast.galley.core.analysis.snapshot import Fact, Item, View

ROOT_NAMESPACE = "istio-system"

SYSTEM_NAMESPACES = frozenset(
    {"kube-system", "kube-public", "kube-node-lease", "local-path-storage"}
)
"""Namespaces of Kubernetes itself, where nothing is injected (C1)."""


@dataclass(frozen=True)
class Mesh:
    """``settings`` are those of the oldest MeshConfig, or nothing but defaults."""

    item: Item | None = None
    settings: Any = field(default_factory=MeshConfig)

    @property
    def root_namespace(self) -> str:
        """Namespace of policies for the whole mesh."""
        return str(self.settings.root_namespace) or ROOT_NAMESPACE


def _mesh(view: View) -> Mesh:
    return next((Mesh(item, item.body) for item in view.of(kinds.MESH_CONFIG)), Mesh())


MESH = Fact(frozenset({kinds.MESH_CONFIG}), _mesh)
