"""A mesh made by hand: what Pilot's world provides, with resources that a test states."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.base_pb2 import Node
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret

from mast.pilot.core.model.proxy import Proxy, parse
from mast.pilot.core.xds.resources import (
    CDS,
    EDS,
    EMPTY,
    LDS,
    RDS,
    SDS,
    Collection,
    Resource,
    collection,
    resource,
)


@dataclass(frozen=True)
class FakeView:
    """A view of stated resources."""

    collections: Mapping[str, Collection]
    key: str = "all"

    def collection(self, type_url: str) -> Collection:
        return self.collections.get(type_url, EMPTY)

    def named(self, type_url: str, name: str) -> Resource | None:
        return self.collection(type_url).resources.get(name)

    generation: int = 0

    def family(self, type_url: str) -> None:
        del type_url

    def renewed(self, type_url: str, since: int) -> None:
        del type_url, since


@dataclass(frozen=True)
class FakeSnapshot:
    """A snapshot in which every proxy sees the same."""

    revision: int
    seen: FakeView

    def view(self, proxy: Proxy) -> FakeView:
        del proxy
        return self.seen

    def configuration(self) -> FakeView:
        return self.seen


@dataclass
class FakeMesh:
    """A world: change resources, take snapshots. What did not change stays the same object."""

    revision: int = 0
    resources: dict[tuple[str, str], Resource] = field(default_factory=dict)
    _collections: dict[str, Collection] = field(default_factory=dict)

    def put(self, *resources: Resource) -> None:
        for each in resources:
            self.resources[each.type_url, each.name] = each

    def remove(self, type_url: str, *names: str) -> None:
        for name in names:
            self.resources.pop((type_url, name), None)

    def view(self) -> FakeView:
        for type_url in {CDS, EDS, LDS, RDS, SDS, *(kind for kind, _ in self.resources)}:
            made = collection(
                each for (kind, _), each in self.resources.items() if kind == type_url
            )
            old = self._collections.get(type_url)
            if old is None or old.version != made.version:
                self._collections[type_url] = made
        return FakeView(dict(self._collections))

    def snapshot(self) -> FakeSnapshot:
        self.revision += 1
        return FakeSnapshot(self.revision, self.view())


def eds_cluster(name: str, stat: str = "", *, seconds: int = 15) -> Resource:
    """A cluster of type EDS that waits so long; `stat` is a field to change."""
    message = Cluster(name=name, type=Cluster.EDS, alt_stat_name=stat)
    message.connect_timeout.FromSeconds(1)
    message.eds_cluster_config.eds_config.ads.SetInParent()
    message.eds_cluster_config.eds_config.resource_api_version = 2
    message.eds_cluster_config.eds_config.initial_fetch_timeout.FromSeconds(seconds)
    return resource(name, CDS, message, requires=[name])


def static_cluster(name: str, stat: str = "") -> Resource:
    """A cluster without endpoints to wait for."""
    message = Cluster(name=name, type=Cluster.STATIC, alt_stat_name=stat)
    message.connect_timeout.FromSeconds(1)
    return resource(name, CDS, message)


def assignment(name: str, ports: Iterable[int] = ()) -> Resource:
    """Endpoints on the loopback interface."""
    message = ClusterLoadAssignment(cluster_name=name)
    if ports := list(ports):
        group = message.endpoints.add()
        for port in ports:
            address = group.lb_endpoints.add().endpoint.address.socket_address
            address.address = "127.0.0.1"
            address.port_value = port
    return resource(name, EDS, message)


def listener(name: str, route: str = "", stat: str = "") -> Resource:
    """A listener in name only: enough where no Envoy looks at it."""
    message = Listener(name=name, stat_prefix=f"{route} {stat}")
    return resource(name, LDS, message, requires=[route] if route else [])


def routes(name: str, cluster: str) -> Resource:
    """A route configuration that sends everything to one cluster."""
    message = RouteConfiguration(name=name)
    host = message.virtual_hosts.add(name="all", domains=["*"])
    route = host.routes.add()
    route.match.prefix = "/"
    route.route.cluster = cluster
    return resource(name, RDS, message)


def secret(name: str, text: str = "") -> Resource:
    """A secret with something in it."""
    message = Secret(name=name)
    message.generic_secret.secret.inline_string = text
    return resource(name, SDS, message)


def proxy(kind: str = "sidecar", **metadata: object) -> Proxy:
    """A proxy in namespace shop."""
    node = Node(id=f"{kind}~10.0.0.1~web-1.shop~shop.svc.cluster.local", cluster="web.shop")
    node.metadata.update(metadata)
    return parse(node)
