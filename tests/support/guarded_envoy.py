"""Workloads and a gateway in one real Envoy: each has the listener that Pilot makes for it.

Workloads are in namespace `shop`, named by their label `app`, and serve port 8080; behind all is
one echo server. The gateway `edge` is in namespace `edge`.
"""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from envoy.config.core.v3.base_pb2 import Node
from envoy.config.listener.v3.listener_pb2 import Listener

from mast.pilot.core import names
from mast.pilot.core.model.proxy import Proxy, parse
from mast.pilot.core.world.world import World
from tests.support.envoy_server import EnvoyServer, complaints, envoy_server
from tests.support.envoy_static import black_hole, bootstrap, cluster, told_destination, with_routes
from tests.support.golden_view import Resources, resources_of
from tests.support.http_probe import EchoServer, Reply, echo_server, fetch
from tests.support.mesh_yaml import changes, sidecar_proxy

SHOP, EDGE = "shop", "edge"
PORT = 8080
PLAIN = """
{apiVersion: security.istio.io/v1, kind: PeerAuthentication,
 metadata: {name: default, namespace: istio-system}, spec: {mtls: {mode: DISABLE}}}
"""


def workload(name: str) -> Proxy:
    """The proxy of a workload."""
    return sidecar_proxy(SHOP, labels={"app": name})


def gateway() -> Proxy:
    """The proxy of the gateway."""
    node = Node(id=f"router~10.1.0.8~{EDGE}-1.{EDGE}~{EDGE}.svc.cluster.local")
    node.metadata.update({"NAMESPACE": EDGE, "LABELS": {"istio": "ingressgateway"}})
    return parse(node)


def service(name: str) -> str:
    """A service of the workload of that name."""
    return f"""
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}, namespace: {SHOP}}}
spec:
  hosts: [{name}.{SHOP}.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  workloadSelector: {{labels: {{app: {name}}}}}
  ports: [{{number: 80, name: http, protocol: HTTP, targetPort: {PORT}}}]
"""


@dataclass(frozen=True)
class Guarded:
    """A running Envoy with a listener for each workload, and the application behind them."""

    envoy: EnvoyServer
    application: EchoServer

    async def ask(
        self,
        name: str,
        path: str = "/",
        headers: Mapping[str, str] | None = None,
        *,
        method: str = "GET",
        host: str = "",
    ) -> Reply:
        """A request that is captured on its way to a workload, or that comes to the gateway."""
        captured = "" if name == EDGE else f"10.1.0.7:{PORT}"
        return await fetch(
            self.envoy.ports[name],
            host or f"{name}.shop",
            path,
            headers=headers,
            method=method,
            captured_for=captured,
        )


@asynccontextmanager
async def guarded_envoy(
    directory: Path,
    workloads: Iterable[str],
    *texts: str,
    world: World | None = None,
    grpc_servers: Mapping[str, int] | None = None,
    with_gateway: bool = False,
    environment: Mapping[str, str] | None = None,
) -> AsyncIterator[Guarded]:
    """Run the listeners of these workloads in a mesh of these objects.

    `grpc_servers` are ports by the name of the cluster that leads there; `environment` is what
    Envoy sees of variables.
    """
    listed = list(workloads)
    world = World() if world is None else world
    assert not world.apply(changes(PLAIN, *texts, *map(service, listed)))
    snapshot = world.snapshot(1)
    proxies = {each: workload(each) for each in listed}
    if with_gateway:
        proxies[EDGE] = gateway()
    async with AsyncExitStack() as stack:
        application = await stack.enter_async_context(echo_server("application"))
        listeners: list[Listener] = []
        clusters = {names.INBOUND_PASSTHROUGH, names.inbound_cluster(PORT)}
        for name, proxy in proxies.items():
            resources = resources_of(snapshot.view(proxy))
            listeners += _served(name, resources)
            clusters |= resources.clusters.keys() if name == EDGE else set()
        servers = grpc_servers or {}
        made = [cluster(each, application.port) for each in clusters - servers.keys()]
        made += [cluster(each, port, http2=True) for each, port in servers.items()]
        made += [black_hole(each) for each in {names.BLACK_HOLE} - clusters]
        config = bootstrap(listeners, made)
        envoy = await stack.enter_async_context(
            envoy_server(config, directory, environment=environment)
        )
        yield Guarded(envoy, application)
        assert complaints(envoy.log.read_text()) == []


def _served(name: str, resources: Resources) -> Sequence[Listener]:
    """The listener that others reach the proxy at, on a port of its own."""
    found = with_routes(list(resources.listeners.values()), resources.routes)
    if name == EDGE:
        (made,) = found
        made.address.socket_address.address = "127.0.0.1"
        made.address.socket_address.port_value = 0
    else:
        made = told_destination(next(each for each in found if each.name == names.VIRTUAL_INBOUND))
    made.name = name
    return [made]
