"""Two Pilots are replaced one after the other while proxies work: nobody notices (issue 7, 3).

Two real Envoys and eight clients without one share them through a Service.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import aiohttp
import grpc
import pytest
from envoy.config.core.v3.base_pb2 import Node

from mast.common.etcd import Delete, EtcdConfig, Put, Store, connect
from mast.pilot.core.xds.resources import EDS
from tests.integration.citadel.process import citadel
from tests.integration.scaling.rolling import DELAY, DRAIN, replace_all
from tests.support.ads_sidecar import Client, sidecar
from tests.support.etcd_server import EtcdServer
from tests.support.http_probe import echo_server
from tests.support.mesh_yaml import changes
from tests.support.ready_service import ReadyService, ready, ready_service
from tests.support.scrape import scraped
from tests.support.service_process import ServiceProcess, forked_service
from tests.support.steady import steadily
from tests.support.until import until
from tests.support.xds_client import XdsStream, node, xds_stream

pytestmark = pytest.mark.asyncio(loop_scope="module")

CLIENTS = 8
PROXIES = 2 + CLIENTS
STILL = "outbound|9081||still.default.svc.cluster.local"
"""A cluster whose endpoints stay the same."""

# No agent could give secrets.
MESH = """
{apiVersion: mesh.istio.io/v1alpha1, kind: MeshConfig,
 metadata: {name: default, namespace: istio-system}, spec: {enableAutoMtls: false}}
"""


def service(name: str, port: int) -> str:
    return f"""
{{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {{name: {name}}},
 spec: {{hosts: [{name}.default.svc.cluster.local], resolution: STATIC, location: MESH_INTERNAL,
        ports: [{{number: {port}, name: http, protocol: HTTP}}],
        workloadSelector: {{labels: {{app: {name}}}}}}}}}
"""


def workload(name: str, app: str, port: int) -> str:
    return f"""
{{apiVersion: networking.istio.io/v1, kind: WorkloadEntry, metadata: {{name: {name}}},
 spec: {{address: 127.0.0.1, ports: {{http: {port}}}, labels: {{app: {app}}}}}}}
"""


@dataclass
class Mesh:
    """Pilots behind a Service, and who is served by them."""

    etcd: EtcdServer
    root: str
    store: Store
    pilots: ReadyService
    stack: AsyncExitStack
    proxies: list[Client] = field(default_factory=list)

    async def start(self, *flags: str) -> ServiceProcess:
        """Another Pilot."""
        listeners = ("listen", "http-listen", "monitoring-listen")
        return await self.stack.enter_async_context(
            forked_service(
                "pilot",
                *(f"--{each}=127.0.0.1:0" for each in listeners),
                *("--etcd-endpoints", self.etcd.endpoint, "--etcd-root", self.root),
                *(*DELAY, *DRAIN, *flags),
            )
        )

    async def put(self, *texts: str) -> None:
        await self.store.txn([], [Put(each.key, each.value) for each in changes(*texts)])

    async def remove(self, text: str) -> None:
        await self.store.txn([], [Delete(each.key) for each in changes(text)])


@asynccontextmanager
async def mesh(etcd: EtcdServer, root: str) -> AsyncIterator[Mesh]:
    async with (
        connect(EtcdConfig(endpoints=(etcd.endpoint,), root=root)) as store,
        ready_service("grpc") as pilots,
        AsyncExitStack() as stack,
    ):
        yield Mesh(etcd, root, store, pilots, stack)


async def series(pilot: ServiceProcess, name: str, **labels: str) -> float:
    """Sum of the samples of a metric that have these labels."""
    _, text = await pilot.get("/metrics")
    return sum(
        value
        for (found, has), value in scraped(text).items()
        if found == name and labels.items() <= dict(has).items()
    )


def who(number: int) -> Node:
    """One of many proxies."""
    name = f"sidecar~127.0.1.{number}~c-{number}.default~default.svc.cluster.local"
    return node(name, NAMESPACE="default", SERVICE_ACCOUNT="c")


async def client(pilots: ReadyService, number: int) -> None:
    """Asks for endpoints, and again whenever its stream was ended; for ever."""
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_reconnect_backoff_ms", 500)]
    while True:
        async with xds_stream(pilots.endpoint, who=who(number), options=options) as stream:
            await stream.ask(EDS, STILL)
            try:
                while True:
                    await stream.ack(await stream.told(3600))
            except (EOFError, grpc.aio.AioRpcError):
                await asyncio.sleep(0.1)


@asynccontextmanager
async def clients(pilots: ReadyService) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as tasks:
        calling = [tasks.create_task(client(pilots, number)) for number in range(CLIENTS)]
        yield
        for each in calling:
            each.cancel()


async def shares(pilots: ReadyService) -> list[float]:
    """How many proxies each Pilot serves."""
    return [await series(each, "pilot_xds") for each in tuple(pilots.replicas)]


async def spread(pilots: ReadyService, proxies: int) -> bool:
    """Whether they serve so many proxies, each a few of them."""
    found = await shares(pilots)
    return sum(found) == proxies and min(found) >= 2


async def alone(pilots: ReadyService, proxies: int) -> bool:
    """Whether the only Pilot that lives serves so many."""
    living = [each for each in pilots.replicas if each.process.returncode is None]
    return [await series(each, "pilot_xds") for each in living] == [proxies]


async def pushed(pilot: ServiceProcess) -> float:
    """Responses about anything but endpoints."""
    kinds = ("cds", "lds", "rds")
    return sum([await series(pilot, "pilot_xds_pushes", type=each) for each in kinds])


async def taken_over(proxy: Client) -> dict[str, int]:
    """What an Envoy says of updates that have nothing to do with endpoints that change."""
    names = ("cluster_manager.cds", "listener_manager.lds", f"cluster.{STILL};")
    found = {each: await proxy.envoy.stat(f"{each}.update_success") for each in names}
    assert min(found.values()) > 0, found
    return found


@asynccontextmanager
async def churn(mesh: Mesh, text: str) -> AsyncIterator[None]:
    """An object comes and goes in the block, and is there in the end."""

    async def run() -> None:
        while not ending.is_set():
            await mesh.put(text)
            await asyncio.sleep(0.3)
            await mesh.remove(text)
            await asyncio.sleep(0.3)
        await mesh.put(text)

    ending = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(run())
        yield
        ending.set()


async def get(proxy: Client) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.get(proxy.url, headers={"host": "web.default.svc.cluster.local"}) as answer,
    ):
        assert answer.status == 200, await answer.text()


async def test_pilots_are_replaced_under_requests(
    etcd: EtcdServer, root: str, tmp_path: Path
) -> None:
    """No request fails, nothing is sent again that did not change, and proxies are spread.

    In the end one Pilot is killed, and the other one has all proxies.
    """
    async with mesh(etcd, root) as running, AsyncExitStack() as stack:
        first, second = [await stack.enter_async_context(echo_server(each)) for each in "ab"]
        await running.put(
            *(MESH, service("web", 9080), service("still", 9081)),
            *(workload("web-1", "web", first.port), workload("still-1", "still", first.port)),
        )
        for _ in range(2):
            await running.pilots.add(await running.start())
        port = int(running.pilots.endpoint.rpartition(":")[2])
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            identity = f"sidecar~127.0.0.1~{name}.default~default.svc.cluster.local"
            proxy = sidecar(port, tmp_path / name, alone=True, who=identity)
            running.proxies.append(await stack.enter_async_context(proxy))
        one, two = running.proxies
        async with (
            clients(running.pilots),
            steadily(partial(get, one)) as by_one,
            steadily(partial(get, two)) as by_two,
        ):
            await until(lambda: spread(running.pilots, PROXIES))
            before = [await taken_over(each) for each in running.proxies]
            async with churn(running, workload("web-2", "web", second.port)):
                for _ in range(2):
                    new = await replace_all([running.pilots], running.start)
                    await until(lambda: spread(running.pilots, PROXIES))
            assert [await pushed(each) for each in new] == [0, 0]
            killed, last = new
            killed.process.kill()
            await killed.ended()
            await until(lambda: alone(running.pilots, PROXIES))
            seen = len(second.seen)
            await until(lambda: len(second.seen) > seen)
        assert by_one.failures == by_two.failures == []
        assert [await taken_over(each) for each in running.proxies] == before
        assert await pushed(last) == 0


async def test_another_pilot_gets_its_share(etcd: EtcdServer, root: str) -> None:
    """Connections end with their age: what scaling out adds is used without a restart."""
    async with mesh(etcd, root) as running:
        await running.put(service("still", 9081), workload("still-1", "still", 80))
        await running.pilots.add(await running.start("--connection-age", "1s"))
        async with clients(running.pilots):
            await until(lambda: alone(running.pilots, CLIENTS))
            await running.pilots.add(await running.start("--connection-age", "1s"))
            await until(lambda: shared(running.pilots), seconds=60)


async def shared(pilots: ReadyService) -> bool:
    return min(await shares(pilots)) >= 2


async def ends(stream: XdsStream) -> grpc.StatusCode:
    """The status of a stream, behind what it still has to tell."""
    try:
        while True:
            await stream.told()
    except EOFError:
        return (await stream.ended())[0]


async def test_proxies_behind_tls_are_sent_away_one_by_one(
    etcd: EtcdServer, root: str, tmp_path: Path
) -> None:
    """By the port that proxies use: streams are ended in order, and the process after them."""
    async with (
        mesh(etcd, root) as running,
        citadel(etcd.endpoint, tmp_path, ("--etcd-root", root)) as ca,
        AsyncExitStack() as stack,
    ):
        await running.put(service("still", 9081), workload("still-1", "still", 80))
        token = tmp_path / "token"
        token.write_text(await ca.join_token("istio-system", "istio-pilot-service-account"))
        authority = ("--ca-address", await ca.service.address("ca"), "--ca-token-file", str(token))
        pilot = await running.start("--secure-listen", "127.0.0.1:0", *authority)
        address = await pilot.address("grpc-tls")
        await until(lambda: ready(pilot))
        pair, _ = await ca.new_pair(await ca.join_token("default", "c"))
        credentials = grpc.ssl_channel_credentials(await ca.roots(), pair.key, pair.chain)
        options = [
            ("grpc.ssl_target_name_override", "istiod.istio-system.svc"),
            ("grpc.use_local_subchannel_pool", 1),
        ]
        streams = []
        for number in range(3):
            stream = await stack.enter_async_context(
                xds_stream(address, who=who(number), credentials=credentials, options=options)
            )
            await stream.ask(EDS, STILL)
            await stream.ack(await stream.told())
            streams.append(stream)
        assert await pilot.stop() == 0
        assert [await ends(each) for each in streams] == [grpc.StatusCode.OK] * 3
        why = "this replica is shutting down"
        await pilot.logged("proxy.disconnected", count=3, reason=why)
