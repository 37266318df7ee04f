"""Entries of MeshConfig.extensionProviders, and the clusters of the services behind them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from envoy.config.core.v3.grpc_service_pb2 import GrpcService

from istio.mesh.v1alpha1.config_pb2 import MeshConfig
from mast.pilot.core import names
from mast.pilot.core.model.finding import Fault, Finding, ObjectName
from mast.pilot.core.model.model import Service
from mast.pilot.core.scope.provider_services import provider_service
from mast.pilot.core.scope.scope import Scope

Provider = MeshConfig.ExtensionProvider


class Collector(NamedTuple):
    """A service port that telemetry is sent to."""

    service: Service
    port: int

    @property
    def cluster(self) -> str:
        """The outbound cluster that leads there."""
        return names.outbound_cluster(self.port, "", self.service.host)

    @property
    def authority(self) -> str:
        """Host and port as requests name them."""
        return f"{self.service.host}:{self.port}"

    def grpc(self) -> GrpcService:
        """Calls to it."""
        return GrpcService(
            envoy_grpc=GrpcService.EnvoyGrpc(cluster_name=self.cluster, authority=self.service.host)
        )


@dataclass
class Providers:
    """The providers of a mesh as one proxy finds them; reports those that it cannot use.

    `users` are the objects that name providers; `collectors` what has been found so far.
    """

    scope: Scope
    users: Mapping[str, ObjectName] = field(default_factory=dict)
    collectors: list[Collector] = field(default_factory=list)

    def named(self, name: str) -> Provider | None:
        """The provider of that name."""
        for each in self.scope.mesh.config.extension_providers:
            if each.name == name:
                return each
        self.unusable(name, "MeshConfig has no such provider")
        return None

    def collector(self, provider: str, service: str, port: int) -> Collector | None:
        """The port of a service `[NAMESPACE/]HOST`, None if the proxy may not see it.

        A Sidecar that leaves it out does not count.
        """
        found = provider_service(self.scope, service)
        if found is None or found.port(port) is None:
            self.unusable(provider, f"no service {service} with a port {port} is visible")
            return None
        collector = Collector(found, port)
        self.collectors.append(collector)
        return collector

    def unusable(self, provider: str, reason: str) -> None:
        """Report that a provider cannot be used for what it is named for (pilot.md K5)."""
        self.scope.report(
            Finding(
                fault=Fault.UNKNOWN_PROVIDER,
                key=provider,
                message=f"provider {provider}: {reason}; it gets nothing.",
                subject=self.users.get(provider),
            )
        )
