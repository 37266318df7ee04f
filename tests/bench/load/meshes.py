"""Meshes of any size, as Galley would write them to the store: Kubernetes services, five pods each.

Services spread over namespaces; all speak HTTP on port 80, so that all share one route
configuration, which is the worst case for a change of a route. In a scoped mesh every namespace has
a Sidecar that shows it itself and two others. The proxies are the first pods of some services of
each namespace, so that no two of them get the same listeners.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from envoy.config.core.v3.base_pb2 import Node

from mast.common import keys
from mastapi.registry.v1 import registry_pb2 as registry
from tests.support.mesh_yaml import Put, changes

ENDPOINTS: Final = 5
SEEN: Final = 3
"""Namespaces that a scoped namespace sees, its own among them."""


@dataclass(frozen=True)
class Mesh:
    """So many services and proxies; `scoped` by Sidecars or not."""

    services: int
    proxies: int
    scoped: bool = False

    @property
    def namespaces(self) -> int:
        """About ten proxies each, at most 50."""
        return max(1, min(50, self.proxies // 10))

    @property
    def seen(self) -> int:
        """Services that a proxy sees."""
        return self.services * SEEN // self.namespaces if self.scoped else self.services

    @property
    def concerned(self) -> int:
        """Proxies that see service 0 and so are told its changes."""
        return self.proxies * SEEN // self.namespaces if self.scoped else self.proxies

    def objects(self) -> Iterator[Put]:
        """Everything that is in the store."""
        for number in range(self.services):
            yield self.service(number)
            yield self.shard(number)
        for number in range(self.namespaces if self.scoped else 0):
            others = [f"ns-{(number + each) % self.namespaces}/*" for each in range(SEEN)]
            yield from changes(SIDECAR.format(namespace=f"ns-{number}", hosts=others))

    def service(self, number: int) -> Put:
        """A service."""
        namespace, host = self._place(number)
        made = registry.Service(
            host=host,
            namespace=namespace,
            name=f"service-{number}",
            registry="Kubernetes",
            addresses=[f"10.96.{number >> 8}.{number & 255}"],
            ports=[registry.Port(name="http", number=80, target_port=8080, protocol="HTTP")],
        )
        return Put(keys.service_key(namespace, host), made.SerializeToString())

    def shard(self, number: int, state: int = 0) -> Put:
        """The endpoints of a service; other states have another last address."""
        namespace, host = self._place(number)
        made = registry.EndpointShard(host=host, namespace=namespace, shard="east")
        for each in range(ENDPOINTS):
            last = state if each == ENDPOINTS - 1 else 0
            made.endpoints.add(
                address=_address(number, each, last),
                ports={"http": 8080},
                service_account=f"service-{number}",
                namespace=namespace,
                locality=f"region-1/zone-{each % 3}",
                tls_mode="istio",
                labels={"app": f"service-{number}", "version": "v1"},
                workload_name=f"service-{number}",
            )
        return Put(keys.endpoints_key(namespace, host, "east"), made.SerializeToString())

    def virtual_service(self, number: int, state: int) -> Put:
        """A VirtualService of a service; other states have another timeout."""
        namespace, _ = self._place(number)
        text = VIRTUAL_SERVICE.format(
            name=f"service-{number}", namespace=namespace, seconds=state + 1
        )
        return next(changes(text))

    def node(self, number: int) -> Node:
        """The proxy of that number."""
        service = number % self.services
        namespace, _ = self._place(service)
        name = f"service-{service}-{number // self.services}"
        address = _address(service, number // self.services % ENDPOINTS, 0)
        made = Node(
            id=f"sidecar~{address}~{name}.{namespace}~{namespace}.svc.cluster.local",
            cluster=f"service-{service}.{namespace}",
        )
        made.metadata.update(
            {
                "NAMESPACE": namespace,
                "CLUSTER_ID": "east",
                "SERVICE_ACCOUNT": f"service-{service}",
                "ISTIO_VERSION": "1.30.3",
                "LABELS": {"app": f"service-{service}", "version": "v1"},
            }
        )
        made.locality.region, made.locality.zone = "region-1", "zone-0"
        return made

    def _place(self, number: int) -> tuple[str, str]:
        namespace = f"ns-{number % self.namespaces}"
        return namespace, f"service-{number}.{namespace}.svc.cluster.local"


def _address(service: int, endpoint: int, state: int) -> str:
    return f"10.{(endpoint + 10 * state) % 250}.{service >> 8}.{service & 255}"


SIDECAR = """
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: default, namespace: {namespace}}}
spec: {{egress: [{{hosts: {hosts}}}]}}
"""

VIRTUAL_SERVICE = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  hosts: [{name}]
  http: [{{timeout: {seconds}s, route: [{{destination: {{host: {name}}}}}]}}]
"""
