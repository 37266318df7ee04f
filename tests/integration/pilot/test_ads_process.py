"""Pilot as a process on a real etcd: replicas, storms of changes, restarts, etcd away.

Acceptance 6, 8 to 11, 37 of pilot.md; N5.
"""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import aiohttp
import grpc
import pytest
from envoy.config.endpoint.v3.endpoint_components_pb2 import LbEndpoint
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment

from mast.common.etcd import Delete, EtcdConfig, Put, Store, connect
from mast.pilot.core.xds.resources import CDS, EDS, LDS, RDS
from mastapi.status.v1.status_pb2 import ProxyStatus, TypeStatus
from tests.support.ads_server import until
from tests.support.ads_sidecar import WHO, Client, sidecar
from tests.support.envoy_server import EnvoyServer
from tests.support.etcd_server import EtcdServer, etcd_server, free_port
from tests.support.http_probe import echo_server
from tests.support.mesh_yaml import changes
from tests.support.pilot_process import PilotProcess, pilot_process
from tests.support.tcp_proxy import tcp_proxy
from tests.support.xds_client import node, xds_stream

CLUSTER = "outbound|80||web.default.svc.cluster.local"

SERVICE = """
{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: web},
 spec: {hosts: [web.default.svc.cluster.local], resolution: STATIC, location: MESH_INTERNAL,
        ports: [{number: 80, name: http, protocol: HTTP}],
        workloadSelector: {labels: {app: web}}}}
"""
# The bootstrap of this test has no agent that could give secrets.
WITHOUT_MUTUAL_TLS = """
{apiVersion: mesh.istio.io/v1alpha1, kind: MeshConfig,
 metadata: {name: default, namespace: istio-system}, spec: {enableAutoMtls: false}}
"""
ON_9080 = SERVICE.replace("number: 80", "number: 9080")
ROUNDS = 30
REQUESTS_ALONE = 1000
OTHER = SERVICE.replace("web", "other")


def workload(number: int, port: int = 0) -> str:
    ports = f"ports: {{http: {port}}}," if port else ""
    return f"""
{{apiVersion: networking.istio.io/v1, kind: WorkloadEntry, metadata: {{name: web-{number}}},
 spec: {{address: 127.0.0.1, {ports} weight: {number}, labels: {{app: web}}}}}}
"""


async def put(store: Store, *texts: str) -> None:
    for each in changes(*texts):
        await store.put(each.key, each.value)


async def together(store: Store, text: str, *, there: bool) -> None:
    """All objects of a text at once, as Galley applies and deletes what comes together."""
    written = changes(text)
    await store.txn(
        [], [Put(each.key, each.value) if there else Delete(each.key) for each in written]
    )


@pytest.fixture
async def etcd(tmp_path) -> AsyncIterator[EtcdServer]:
    async with etcd_server(tmp_path) as running:
        yield running


@pytest.fixture
async def store(etcd) -> AsyncIterator[Store]:
    async with connect(EtcdConfig(endpoints=(etcd.endpoint,))) as connected:
        yield connected


def client(address: str):
    return xds_stream(address, who=node(WHO, NAMESPACE="default", LABELS={"app": "client"}))


async def _watch(stream, name: str) -> None:
    """Ask for clusters and the endpoints of one, as an Envoy does."""
    for url, names in ((CDS, ()), (EDS, (name,))):
        await stream.ask(url, *names)
        await stream.ack(await stream.told())


async def everything(address: str) -> dict[tuple[str, str], tuple[str, bytes]]:
    """All resources that a fresh client gets, with version and bytes."""
    found = {}
    async with client(address) as stream:
        for url, names in ((CDS, ()), (EDS, (CLUSTER,)), (LDS, ()), (RDS, ("80",))):
            await stream.ask(url, *names)
            told = await stream.told()
            await stream.ack(told)
            for each in told.resources:
                found[url, each.name] = (each.version, each.resource.value)
    return found


async def test_replicas_say_the_same(etcd, store, tmp_path):
    """Acceptance 11: byte by byte, whatever the order in which changes came."""
    await put(store, SERVICE, workload(1), OTHER)
    async with pilot_process(etcd.endpoint, tmp_path) as first:
        await together(store, OTHER, there=False)
        await put(store, workload(3), workload(2), OTHER)
        async with pilot_process(etcd.endpoint, tmp_path) as second:
            for pilot in (first, second):
                await until(lambda pilot=pilot: _knows(pilot, 3))
            mine, theirs = await everything(first.ads), await everything(second.ads)
    assert mine == theirs
    assert {(CDS, CLUSTER), (EDS, CLUSTER), (RDS, "80"), (LDS, "virtualInbound")} <= mine.keys()


async def _knows(pilot, endpoints: int) -> bool:
    found = await pilot.page("/debug/endpointz")
    return sum(len(each["ep"]) for each in found) == endpoints


async def test_a_storm_of_changes_is_few_pushes(etcd, store, tmp_path):
    """Acceptance 10: a thousand changes in five seconds."""
    await put(store, SERVICE)
    async with pilot_process(etcd.endpoint, tmp_path) as pilot, client(pilot.ads) as stream:
        await _watch(stream, CLUSTER)
        async with asyncio.TaskGroup() as tasks:
            storm = tasks.create_task(_storm(store))
            received, weights = 0, [0]
            while not (storm.done() and weights == [1001]):
                # While changes keep coming, one push is put off for ten seconds.
                told = await stream.told(seconds=40)
                received += 1
                weights = [each.load_balancing_weight.value for each in _endpoints(told)]
                await stream.ack(told)
        assert received <= 50
        assert await stream.silent()


async def _storm(store: Store) -> None:
    """The last change makes the weight 1001."""
    for number in range(2, 1002):
        await put(store, workload(number).replace(f"web-{number}", "web-1"))
        await asyncio.sleep(0.003)


def _endpoints(told) -> list[LbEndpoint]:
    assignment = ClusterLoadAssignment.FromString(told.resources[0].resource.value)
    return [each for group in assignment.endpoints for each in group.lb_endpoints]


async def test_scaling_moves_one_assignment(etcd, store, tmp_path):
    """Acceptance 9: others hear nothing, and the last state is an empty assignment."""
    await put(store, SERVICE, OTHER, workload(1))
    async with (
        pilot_process(etcd.endpoint, tmp_path) as pilot,
        client(pilot.ads) as dependant,
        client(pilot.ads) as stranger,
    ):
        for stream, name in ((dependant, CLUSTER), (stranger, CLUSTER.replace("web", "other"))):
            await _watch(stream, name)
        await put(store, *(workload(number) for number in range(2, 51)))
        await _scaled(dependant, 50)
        for number in range(1, 51):
            await together(store, workload(number), there=False)
        await _scaled(dependant, 0)
        assert await stranger.silent()


async def _scaled(stream, size: int) -> None:
    """Until that many endpoints are told; nothing but the one assignment is."""
    found = -1
    while found != size:
        told = await stream.told()
        assert [each.name for each in told.resources] == [CLUSTER]
        assert list(told.removed_resources) == []
        found = len(_endpoints(told))
        await stream.ack(told)


async def test_etcd_may_be_away(etcd, store, tmp_path):
    """Acceptance 37 in short: what is known is served, changes come when etcd is back."""
    await put(store, SERVICE, workload(1))
    async with (
        tcp_proxy(etcd.endpoint) as between,
        pilot_process(between.endpoint, tmp_path) as pilot,
        client(pilot.ads) as stream,
    ):
        await _watch(stream, CLUSTER)
        between.cut()
        await until(lambda: _says_etcd(pilot, "disconnected"))
        assert await pilot.ready()
        async with client(pilot.ads) as late:
            await late.ask(EDS, CLUSTER)
            assert len(_endpoints(await late.told())) == 1
        await put(store, workload(2))
        between.heal()
        await _scaled(stream, 2)
        await until(lambda: _says_etcd(pilot, "connected"))


async def _says_etcd(pilot: PilotProcess, word: str) -> bool:
    return (await pilot.page("/ready"))["etcd"].startswith(word)


async def test_nothing_is_served_before_everything_was_read(tmp_path):
    """N5: who listens where etcd should be does not answer."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"127.0.0.1:{silent.getsockname()[1]}"
        async with (
            pilot_process(endpoint, tmp_path, synced=False) as pilot,
            client(pilot.ads) as stream,
        ):
            assert not await pilot.ready()
            await stream.ask(CDS)
            assert (await stream.ended())[0] is grpc.StatusCode.UNAVAILABLE


async def test_objects_that_cannot_be_read_are_left_out(etcd, store, tmp_path):
    await put(store, SERVICE, workload(1))
    key = "config/istio/networking/v1alpha3/serviceentries/default/broken"
    await store.put(key, b"\xff\xff")
    async with pilot_process(etcd.endpoint, tmp_path) as pilot, client(pilot.ads) as stream:
        await stream.ask(EDS, CLUSTER)
        assert len(_endpoints(await stream.told())) == 1
        await until(lambda: _kept_out(pilot))
        assert _kept_out(pilot) == [key]


def _kept_out(pilot: PilotProcess) -> list[str]:
    return [each["key"] for each in pilot.events if each["event"] == "object.kept_out"]


async def test_it_ends_in_order(etcd, store, tmp_path):
    """Streams are closed, not broken; workloads and statuses of the process are left to others."""
    await put(store, SERVICE)
    async with (
        pilot_process(etcd.endpoint, tmp_path, "--drain", "1s") as pilot,
        client(pilot.ads) as stream,
    ):
        await stream.ask(EDS, CLUSTER)
        await stream.told()
        pilot.process.terminate()
        assert (await stream.ended())[0] is grpc.StatusCode.OK
        async with asyncio.timeout(30):
            assert await pilot.process.wait() == 0


async def test_envoy_outlives_pilot_and_etcd(etcd, store, tmp_path):
    """Acceptance 37: both are killed and come back under load; nothing current is sent again."""
    port = free_port()
    ads = f"127.0.0.1:{port}"
    async with AsyncExitStack() as stack:
        backend = await stack.enter_async_context(echo_server("a"))
        second_backend = await stack.enter_async_context(echo_server("b"))
        await put(store, WITHOUT_MUTUAL_TLS, ON_9080, workload(1, backend.port))
        first = await stack.enter_async_context(pilot_process(etcd.endpoint, tmp_path, ads=ads))
        proxy = await stack.enter_async_context(sidecar(port, tmp_path, alone=True))
        async with proxy.load() as load:
            await first.kill()
            await etcd.kill()
            await until(lambda: _disconnected(proxy.envoy))
            enough = load.answers + REQUESTS_ALONE
            await until(lambda: load.answers >= enough, seconds=60)
            await etcd.restart()
            second = await stack.enter_async_context(
                pilot_process(etcd.endpoint, tmp_path, ads=ads)
            )
            await until(lambda: _connected(second), seconds=20)
            await put(store, workload(2, second_backend.port))
            await second_backend.wait_for(1)
        for kind in ("lds", "rds"):
            sent = await second.metric(f'pilot_xds_pushes{{type="{kind}"}}')
            assert sent == 0, "nothing is sent again that is current"
        await until(lambda: _synced(store))


SUBSET = """
{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: web},
 spec: {host: web, subsets: [{name: all, labels: {app: web}}]}}
---
{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: web},
 spec: {hosts: [web], http: [{headers: {response: {set: {x-way: subset}}},
        route: [{destination: {host: web, subset: all}}]}]}}
"""


async def test_subsets_come_and_go_with_their_routes(etcd, store, tmp_path):
    """Acceptance 12: rule and route are written together and removed together, under load."""
    flags = ("--debounce-quiet", "20ms")
    async with (
        echo_server("a") as backend,
        pilot_process(etcd.endpoint, tmp_path, *flags) as pilot,
    ):
        await put(store, WITHOUT_MUTUAL_TLS, ON_9080, workload(1, backend.port))
        await until(lambda: _knows(pilot, 1))
        async with sidecar(int(pilot.ads.rpartition(":")[2]), tmp_path) as proxy, proxy.load():
            for _ in range(ROUNDS):
                await together(store, SUBSET, there=True)
                await until(lambda: _way(proxy, "subset"))
                await together(store, SUBSET, there=False)
                await until(lambda: _way(proxy, ""))


async def _way(proxy: Client, way: str) -> bool:
    async with (
        aiohttp.ClientSession() as http,
        http.get(proxy.url, headers={"host": "web.default.svc.cluster.local"}) as response,
    ):
        return response.headers.get("x-way", "") == way


async def _disconnected(envoy: EnvoyServer) -> bool:
    return await envoy.stat("control_plane.connected_state") == 0


async def _connected(pilot: PilotProcess) -> bool:
    return bool((await pilot.page("/debug/connections"))["totalClients"])


async def _synced(store: Store) -> bool:
    """The published status says that the proxy has everything."""
    entry = await store.get(f"status/proxies/{WHO}")
    if entry is None:
        return False
    status = ProxyStatus.FromString(entry.value)
    states = {each.type_url: each.state for each in status.types}
    return states.get(EDS) == TypeStatus.SYNCED and TypeStatus.ERROR not in states.values()
