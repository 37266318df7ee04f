"""A mesh that exists in files only: Pilot's world fed with what Galley would store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from envoy.config.core.v3.base_pb2 import Node
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret

from mast.cli.envoy.configuration import Configuration, Intended, intended
from mast.cli.offline.proxies import workload_nodes
from mast.cli.offline.reading import SEALING_KEY, FileMesh
from mast.pilot.core.model.mesh import DOMAIN
from mast.pilot.core.model.proxy import Proxy, parse
from mast.pilot.core.world.snapshot import MeshSnapshot
from mast.pilot.core.world.world import Rejection, World
from mast.pilot.core.xds.redaction import redact
from mast.pilot.core.xds.resources import SDS


@dataclass(frozen=True)
class Mesh:
    """What Pilot knows, and what it makes of it for any proxy."""

    snapshot: MeshSnapshot
    files: FileMesh
    connected: Sequence[Node] = ()

    @cached_property
    def nodes(self) -> Sequence[Node]:
        """The proxies, sorted by ID: those connected if that is known, else one per workload."""
        if self.connected:
            return sorted(self.connected, key=lambda each: each.id)
        return workload_nodes(self.snapshot.index, self.snapshot.index.mesh.domain)

    def intended(self, node: Node) -> Intended:
        """What Pilot would send to a proxy; InvalidNode if there can be no such proxy."""
        return intended(self.snapshot.view(self.proxy(node)))

    def configuration(self, node: Node) -> Configuration:
        """The same, decoded."""
        return self.intended(node).configuration(node)

    def secret(self, node: Node, name: str) -> Secret:
        """The secret of an SDS name as a proxy gets it; only its name if it does not.

        Private keys are left out: what is printed ends up in tickets and repositories.
        """
        made = Secret(name=name)
        found = self.snapshot.view(self.proxy(node)).named(SDS, name)
        if found is not None:
            made.ParseFromString(found.body)
            redact(made)
        return made

    def proxy(self, node: Node) -> Proxy:
        """A proxy as Pilot knows it."""
        return parse(node)


def mesh_of(files: FileMesh, domain: str = DOMAIN) -> tuple[Mesh, Sequence[Rejection]]:
    """The mesh, and what Pilot would keep out of it."""
    world = World(domain, sealing_key=SEALING_KEY)
    rejections = world.apply(files.entries)
    return Mesh(world.snapshot(1), files), rejections
