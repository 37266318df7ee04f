"""A real Envoy on Pilot's ADS, in both protocols (pilot.md B, acceptance 1, 2, 3, 7, 8)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from mast.pilot.core.model.proxy import parse
from mast.pilot.core.xds.resources import CDS, EDS, LDS, RDS
from mast.pilot.core.xds.watch import SyncState
from tests.fakes.pilot_views import FakeMesh, assignment, eds_cluster, routes
from tests.support.ads_server import (
    NODE_ID,
    Ads,
    ads_server,
    bootstrap,
    http_listener,
    load,
    until,
)
from tests.support.envoy_server import EnvoyServer, complaints, envoy_server
from tests.support.etcd_server import free_port
from tests.support.http_probe import echo_server

pytestmark = pytest.mark.parametrize("delta", [True, False], ids=["delta", "sotw"])


@pytest.fixture
async def backend():
    async with echo_server("a") as server:
        yield server


@pytest.fixture
def mesh(backend):
    """One listener, one route, one cluster with one endpoint."""
    made = FakeMesh()
    made.put(eds_cluster("a"), assignment("a", [backend.port]))
    made.put(http_listener("in", "r"), routes("r", "a"))
    return made


@asynccontextmanager
async def connected(ads: Ads, directory, delta: bool) -> AsyncIterator[EnvoyServer]:
    async with envoy_server(bootstrap(ads.port, delta=delta), directory) as envoy:
        await until(lambda: settled(ads))
        yield envoy


def settled(ads: Ads) -> bool:
    """Everything watched is acknowledged, clusters and listeners among it."""
    if not ads.connections.open:
        return False
    (connection,) = list(ads.connections.open.values())[-1:]
    watches = connection.session.state.watches
    return {CDS, LDS, RDS, EDS} <= watches.keys() and all(
        each.state is SyncState.SYNCED for each in watches.values() if each.sent_at is not None
    )


async def counters(envoy: EnvoyServer) -> dict[str, int]:
    """Rejected updates of all types."""
    names = (
        "cluster_manager.cds.update_rejected",
        "listener_manager.lds.update_rejected",
        "cluster.a.update_rejected",
        "http.in.rds.r.update_rejected",
    )
    return {name: await envoy.stat(name) for name in names}


async def test_a_fresh_proxy_gets_everything(mesh, tmp_path, delta):
    """Acceptance 1."""
    async with ads_server(mesh) as ads, connected(ads, tmp_path, delta) as envoy:
        async with load(envoy.ports["in"]):
            pass
        assert set((await counters(envoy)).values()) == {0}
        assert complaints(envoy.log.read_text()) == []
        assert ads.metric("pilot_total_xds_rejects") == 0
        (connection,) = ads.connections.open.values()
        assert connection.proxy == parse(bootstrap(ads.port, delta=delta).node)
        assert connection.proxy.node_id == NODE_ID
        assert list(connection.session.state.watches) == [CDS, EDS, LDS, RDS]


async def test_it_stays_silent_when_nothing_changes(mesh, tmp_path, delta):
    async with ads_server(mesh) as ads, connected(ads, tmp_path, delta):
        before = ads.metric("pilot_xds_pushes")
        for _ in range(5):
            await ads.push()
        await asyncio.sleep(0.3)
        assert ads.metric("pilot_xds_pushes") == before


async def test_a_changed_cluster_warms_without_a_failed_request(mesh, tmp_path, delta):
    """Acceptance 2: its endpoints follow it though they did not change."""
    async with ads_server(mesh) as ads, connected(ads, tmp_path, delta) as envoy:
        async with load(envoy.ports["in"]):
            for number in range(5):
                mesh.put(eds_cluster("a", f"stat{number}"))
                await ads.push()
                version = ads.mesh.view().collection(CDS).resources["a"].version
                await until(lambda version=version: _holds(ads, CDS, "a", version))
                await until(lambda: _warm(envoy))
        assert set((await counters(envoy)).values()) == {0}


async def _warm(envoy: EnvoyServer) -> bool:
    return await envoy.stat("cluster_manager.warming_clusters") == 0


def _holds(ads: Ads, type_url: str, name: str, version: str) -> bool:
    watch = ads.watch(type_url)
    return watch.held.get(name) == version and watch.state is SyncState.SYNCED


async def test_endpoints_and_routes_move_under_load(mesh, tmp_path, delta):
    """Acceptance 12 in short: a new cluster before the route to it, the old one after."""
    async with ads_server(mesh) as ads, echo_server("b") as other:
        async with connected(ads, tmp_path, delta) as envoy, load(envoy.ports["in"]):
            for number in range(20):
                new, old = f"n{number}", "a" if number == 0 else f"n{number - 1}"
                mesh.put(eds_cluster(new), assignment(new, [other.port]), routes("r", new))
                mesh.remove(CDS, old)
                mesh.remove(EDS, old)
                await ads.push()
                await until(lambda old=old: _gone(ads, old))
        assert ads.metric("pilot_total_xds_rejects") == 0


def _gone(ads: Ads, cluster: str) -> bool:
    return cluster not in ads.watch(CDS).held and settled(ads)


async def test_a_rejection_stops_nothing_else(mesh, tmp_path, delta):
    """Acceptance 7."""
    async with ads_server(mesh) as ads, connected(ads, tmp_path, delta) as envoy:
        mesh.put(http_listener("bad", "r", bad=True))
        await ads.push()
        await until(lambda: ads.watch(LDS).state is SyncState.ERROR)
        assert "unheard.of" in ads.watch(LDS).error
        assert ads.watch(LDS).trial.refused.keys() == {"bad"}
        sent = ads.metric('pilot_xds_pushes{type="lds"}')
        mesh.put(eds_cluster("a", "changed"))
        await ads.push()
        await until(lambda: ads.watch(CDS).state is SyncState.SYNCED)
        assert ads.metric('pilot_xds_pushes{type="lds"}') == sent
        assert await envoy.stat("listener_manager.lds.update_rejected") == 1
        mesh.put(http_listener("bad", "r", stat="better"))
        await ads.push()
        await until(lambda: ads.watch(LDS).state is SyncState.SYNCED)
        assert await envoy.stat("listener_manager.lds.update_rejected") == 1
        assert 'pilot_xds_lds_reject{err="' in ads.metrics.render()


async def test_one_bad_listener_does_not_harm_the_others(mesh, tmp_path, delta):
    async with ads_server(mesh) as ads, connected(ads, tmp_path, delta) as envoy:
        mesh.put(http_listener("bad", "r", bad=True), http_listener("good", "r"))
        await ads.push()
        await until(lambda: ads.watch(LDS).state is SyncState.ERROR)
        mesh.put(http_listener("more", "r"))
        await ads.push()
        names = {"in", "good", "more"}
        await until(lambda: _listeners(envoy, names))


async def _listeners(envoy: EnvoyServer, names: set[str]) -> bool:
    text = await envoy.get("/listeners")
    return {line.partition("::")[0] for line in text.splitlines()} == names


async def test_a_reconnect_to_another_replica_costs_nothing(mesh, tmp_path, delta):
    """Acceptance 8: what is current is not sent again, what is gone is removed."""
    port = free_port()
    mesh.put(eds_cluster("old"), assignment("old", []))
    async with ads_server(mesh, port=port) as ads:
        stack_envoy = connected(ads, tmp_path, delta)
        envoy = await stack_envoy.__aenter__()
    try:
        mesh.remove(CDS, "old")
        mesh.remove(EDS, "old")
        async with load(envoy.ports["in"]), ads_server(mesh, port=port) as ads:
            await until(lambda: ads.connections.open and ads.watch(LDS) is not None, seconds=15)
            await until(lambda: _settled_again(ads))
            await until(lambda: _has_clusters(envoy, {"a", "xds-grpc"}))
            if delta:
                assert ads.metric('pilot_xds_pushes{type="cds"}') == 1
                assert ads.metric('pilot_xds_pushes{type="lds"}') == 0
                assert ads.metric('pilot_xds_pushes{type="rds"}') == 0
            assert set((await counters(envoy)).values()) == {0}
    finally:
        await stack_envoy.__aexit__(None, None, None)


def _settled_again(ads: Ads) -> bool:
    watch = ads.watch(CDS)
    return watch is not None and watch.quiet and ads.watch(EDS) is not None


async def _has_clusters(envoy: EnvoyServer, names: set[str]) -> bool:
    text = await envoy.get("/clusters")
    return {line.partition("::")[0] for line in text.splitlines()} == names
