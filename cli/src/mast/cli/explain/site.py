"""What surrounds a request: the mesh, the proxies in it, and what each of them has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from envoy.config.core.v3.base_pb2 import Node

from mast.cli.envoy.configuration import Configuration
from mast.cli.explain.causes import Causes
from mast.cli.offline.mesh import Mesh
from mast.pilot.core import names
from mast.pilot.core.model.model import Service
from mast.pilot.core.model.proxy import InterceptionMode, Proxy, ProxyType
from mast.pilot.core.scope.audience import registered
from mast.pilot.core.scope.matches import Caller
from mast.pilot.core.scope.scope import Scope, applicable_sidecar

DEFAULT_ACCOUNT = "default"
"""The service account of workloads that name none."""


@dataclass(frozen=True)
class Side:
    """One proxy: who it is, what it sees and what it is configured with."""

    node: Node
    proxy: Proxy
    scope: Scope
    configuration: Configuration

    @property
    def address(self) -> str:
        """Its first IP address."""
        return self.proxy.ip_addresses[0]

    @property
    def identity(self) -> str:
        """What its certificate says it is, as a URI (citadel-and-agent.md A3)."""
        account = self.proxy.service_account or DEFAULT_ACCOUNT
        return names.spiffe(self.scope.mesh.trust_domain, self.proxy.namespace, account)

    @property
    def captures(self) -> bool:
        """Traffic is led through it without the application's doing (pilot.md E8)."""
        return (
            self.proxy.type is ProxyType.SIDECAR
            and self.proxy.interception_mode is not InterceptionMode.NONE
        )

    def caller(self, port: int) -> Caller:
        """It as VirtualServices tell callers apart."""
        return Caller(port=port, namespace=self.proxy.namespace, labels=self.proxy.labels)

    def service(self, host: str) -> Service | None:
        """The service that a name means to it, short names completed as DNS would."""
        domain = self.scope.mesh.domain
        for suffix in ("", f".{self.proxy.namespace}.svc.{domain}", f".svc.{domain}", f".{domain}"):
            found = self.scope.service(host + suffix)
            if found is not None:
                return found
        return None


@dataclass(frozen=True)
class Surroundings:
    """The mesh that a request travels through."""

    mesh: Mesh
    _sides: dict[str, Side] = field(default_factory=dict)

    @cached_property
    def causes(self) -> Causes:
        """Where things come from."""
        return Causes(self.mesh.snapshot.index, self.mesh.files.objects)

    @cached_property
    def _at(self) -> Mapping[str, Node]:
        """Nodes of workloads by address."""
        return {
            address: node
            for node in self.mesh.nodes
            for address in self.mesh.proxy(node).ip_addresses
        }

    def side(self, node: Node, configuration: Configuration | None = None) -> Side:
        """A proxy; what it has is what Pilot intends unless it is given."""
        if node.id not in self._sides:
            proxy = self.mesh.proxy(node)
            everything = self.mesh.snapshot.scope(proxy.namespace)
            known = registered(proxy, everything)
            if known is not None:
                proxy = proxy.with_registry_labels(known.labels)
            sidecar = None
            if proxy.type is ProxyType.SIDECAR:
                sidecar = applicable_sidecar(everything, proxy.labels)
            has = configuration or self.mesh.configuration(node)
            self._sides[node.id] = Side(node, proxy, everything.under(sidecar), has)
        return self._sides[node.id]

    def at(self, address: str) -> Side | None:
        """The proxy of the workload at an address."""
        node = self._at.get(address)
        return None if node is None else self.side(node)
