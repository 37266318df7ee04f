"""A real Envoy that gets all of its configuration from a real world over ADS.

Its sidecar has interception mode NONE: requests go through its HTTP proxy port, requests to the
application through a port of a Sidecar's ingress. There is no mutual TLS, which needs an agent.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from mast.pilot.core.world.world import World
from mast.pilot.core.xds.push import Push
from tests.support.ads_server import Ads, ads_server, bootstrap
from tests.support.envoy_server import EnvoyServer, envoy_server
from tests.support.etcd_server import free_port
from tests.support.http_probe import Reply, fetch
from tests.support.mesh_yaml import changes

NAMESPACE = "shop"
PLAIN = """
{{apiVersion: mesh.istio.io/v1alpha1, kind: MeshConfig,
 metadata: {{name: default, namespace: istio-system}}, spec: {{{mesh} enableAutoMtls: false}}}}
---
{{apiVersion: security.istio.io/v1, kind: PeerAuthentication,
 metadata: {{name: default, namespace: istio-system}}, spec: {{mtls: {{mode: DISABLE}}}}}}
"""


@dataclass
class Meshed:
    """A world, its ADS and an Envoy; `port` is the HTTP proxy of the Envoy."""

    world: World
    ads: Ads
    envoy: EnvoyServer
    port: int

    async def apply(self, *texts: str) -> None:
        """Put objects into the mesh and push."""
        await self._push(*changes(*texts))

    async def remove(self, *texts: str) -> None:
        """Take objects out of the mesh and push."""
        gone = [type(each)(each.key, None) for each in changes(*texts)]
        await self._push(*gone)

    async def _push(self, *found: object) -> None:
        facilities = self.ads.connections.facilities
        assert not await facilities.work(lambda: self.world.apply(found))
        snapshot = await facilities.work(self.world.snapshot)
        number = self.ads.connections.next_number()
        await self.ads.connections.publish(Push(number, snapshot, facilities.clock.instant()))

    async def get(
        self, host: str, path: str = "/", headers: Mapping[str, str] | None = None
    ) -> Reply:
        """A request of the application's to a host."""
        return await fetch(self.port, host, path, headers=headers)


@asynccontextmanager
async def meshed_envoy(
    directory: Path,
    *texts: str,
    mesh: str = "",
    delta: bool = True,
    environment: Mapping[str, str] | None = None,
    **metadata: object,
) -> AsyncIterator[Meshed]:
    """Run a mesh of these objects and the sidecar `web-1.shop` in it.

    `mesh` are fields of MeshConfig in YAML's flow style, each with a comma behind it.
    """
    world, port = World(), free_port()
    assert not world.apply(changes(PLAIN.format(mesh=mesh), *texts))
    told = {
        "NAMESPACE": NAMESPACE,
        "INTERCEPTION_MODE": "NONE",
        "HTTP_PROXY_PORT": str(port),
        "LABELS": {"app": "web"},
        **metadata,
    }
    async with (
        ads_server(world) as ads,  # type: ignore[arg-type]  # its mesh need only give snapshots
        envoy_server(
            bootstrap(ads.port, delta=delta, metadata=told), directory, environment=environment
        ) as envoy,
    ):
        yield Meshed(world, ads, envoy, port)


def service(name: str, port: int, *, number: int = 80, protocol: str = "HTTP") -> str:
    """A service of the mesh whose only endpoint is a port of this machine."""
    return f"""
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}, namespace: {NAMESPACE}}}
spec:
  hosts: [{name}.test]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{{number: {number}, name: main, protocol: {protocol}}}]
  endpoints: [{{address: 127.0.0.1, ports: {{main: {port}}}}}]
"""
