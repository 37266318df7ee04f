"""Roots of signers outside the mesh, as the mesh settings name them (A7).

Section numbers are those of citadel-and-agent.md.
"""

from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

import structlog
from cryptography.x509 import Certificate
from google.protobuf.message import DecodeError

from istio.mcp.v1alpha1.resource_pb2 import Resource
from istio.mesh.v1alpha1.config_pb2 import MeshConfig
from mast.citadel.core.external import roots_by_signer
from mast.common import kinds
from mast.common.etcd import Store
from mast.common.keys import collection_prefix

log = structlog.get_logger()

_MESH_CONFIG = kinds.BY_GROUP_KIND["mesh.istio.io", "MeshConfig"].collection


@dataclass
class SignerRoots:
    """``meshConfig.caCertificates[]`` by their ``certSigners``."""

    store: Store
    _roots: Mapping[str, Sequence[Certificate]] = field(default_factory=dict, init=False)

    def of(self, signer: str) -> Sequence[Certificate]:
        """The roots of a signer, () if the settings name none."""
        return self._roots.get(signer, ())

    async def run(self) -> None:
        """Follow the mesh settings, for ever; the oldest object counts, as for proxies."""
        found: dict[str, tuple[int, MeshConfig]] = {}
        async with aclosing(self.store.follow(collection_prefix(_MESH_CONFIG))) as batches:
            async for batch in batches:
                for change in batch.changes:
                    found.pop(change.key, None)
                    if change.value is not None and (config := _config(change.value)) is not None:
                        found[change.key] = change.create_revision, config
                if batch.synced:
                    oldest = min(found.values(), key=lambda each: each[0], default=None)
                    self._roots = roots_by_signer(oldest[1].ca_certificates) if oldest else {}


def _config(value: bytes) -> MeshConfig | None:
    config = MeshConfig()
    try:
        unpacked = Resource.FromString(value).body.Unpack(config)
    except DecodeError as error:
        log.error("signer_roots.rejected", error=str(error))
        return None
    return config if unpacked else None
