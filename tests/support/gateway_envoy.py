"""A router: a real Envoy that gets its configuration and secrets from a real world over ADS."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from envoy.config.bootstrap.v3.bootstrap_pb2 import Bootstrap
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret

from mast.pilot.api.ads import Door
from mast.pilot.core.security.transport_sockets import SDS_CLUSTER
from mast.pilot.core.world.world import World
from mast.pilot.core.xds.push import Push
from tests.support.ads_server import Ads, ads_server, bootstrap
from tests.support.credentials import SEALING_KEY
from tests.support.envoy_server import EnvoyServer, envoy_server
from tests.support.envoy_static import cluster
from tests.support.mesh_yaml import changes
from tests.support.pki import Ca
from tests.support.sds_server import sds_server, workload

NAMESPACE = "edge"
IDENTITY = f"spiffe://cluster.local/ns/{NAMESPACE}/sa/gateway"
LABELS = {"istio": "ingressgateway"}


@dataclass
class Router:
    """A world, its ADS and the Envoy that is the gateway."""

    world: World
    ads: Ads
    envoy: EnvoyServer

    async def apply(self, *texts: str) -> None:
        """Put objects into the mesh and push."""
        await self._push(list(changes(*texts)))

    async def remove(self, *texts: str) -> None:
        """Take objects out of the mesh and push."""
        await self._push([type(each)(each.key, None) for each in changes(*texts)])

    async def _push(self, found: list[object]) -> None:
        facilities = self.ads.connections.facilities
        assert not await facilities.work(lambda: self.world.apply(found))  # type: ignore[arg-type]
        snapshot = await facilities.work(self.world.snapshot)
        number = self.ads.connections.next_number()
        await self.ads.connections.publish(Push(number, snapshot, facilities.clock.instant()))


@asynccontextmanager
async def router(
    directory: Path,
    *texts: str,
    secrets: Mapping[str, Secret] | None = None,
    delta: bool = True,
    verified: bool = True,
    quic: bool = False,
    **metadata: object,
) -> AsyncIterator[Router]:
    """Run a mesh of these objects and the router `ingress-1.edge` in it.

    It listens on 127.0.0.1. `secrets` are what its agent serves, by default a certificate of a CA
    of its own; what users keep in the mesh comes over ADS, if the router proved its identity
    (`verified`).
    """
    agent = workload(Ca.root(), IDENTITY) if secrets is None else secrets
    world = World(sealing_key=SEALING_KEY, quic=quic)
    assert not world.apply(changes(*texts))
    told = {"NAMESPACE": NAMESPACE, "LABELS": LABELS, "OUTBOUND_BIND": "127.0.0.1", **metadata}
    door = Door(lambda peer: (IDENTITY,)) if verified else Door()
    async with (
        ads_server(world, door=door) as ads,  # type: ignore[arg-type]  # it need only give snapshots
        sds_server(agent) as sds,
        envoy_server(_bootstrap(ads.port, sds, told, delta=delta), directory) as envoy,
    ):
        yield Router(world, ads, envoy)


def _bootstrap(ads: int, sds: int, metadata: dict[str, object], *, delta: bool) -> Bootstrap:
    made = bootstrap(ads, delta=delta, metadata=metadata)
    made.node.id = f"router~127.0.0.1~ingress-1.{NAMESPACE}~{NAMESPACE}.svc.cluster.local"
    made.static_resources.clusters.append(cluster(SDS_CLUSTER, sds, http2=True))
    return made
