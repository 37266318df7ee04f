"""A real Envoy starts without what another one rejected (pilot.md N14, acceptance 7)."""

import pytest

from mast.pilot.core.xds.resources import LDS
from tests.fakes.pilot_views import FakeMesh, routes, static_cluster
from tests.support.ads_server import Ads, ads_server, bootstrap, http_listener, until
from tests.support.envoy_server import envoy_server


def rejected(ads: Ads) -> bool:
    return bool(ads.connections.open) and bool(ads.watch(LDS).trial.refused)


@pytest.mark.parametrize("delta", [True, False], ids=["delta", "sotw"])
async def test_a_new_proxy_gets_the_last_good_listener(tmp_path, delta):
    mesh = FakeMesh()
    mesh.put(static_cluster("a"), routes("r", "a"), http_listener("in", "r", stat="good"))
    async with ads_server(mesh) as ads:
        async with envoy_server(bootstrap(ads.port, delta=delta), tmp_path):
            await until(lambda: ads.connections.open and ads.watch(LDS).acked_version)
            mesh.put(http_listener("in", "r", stat="bad", bad=True), http_listener("more", "r"))
            await ads.push()
            await until(lambda: rejected(ads))
            assert "unheard.of" in ads.watch(LDS).trial.refused["in"].reason
            await until(lambda: "more" in ads.watch(LDS).held)
        await until(lambda: not ads.connections.open)
        async with envoy_server(bootstrap(ads.port, delta=delta), tmp_path) as envoy:
            await until(lambda: ads.connections.open and ads.watch(LDS).acked_version)
            assert await envoy.stat("listener_manager.lds.update_rejected") == 0
            assert await envoy.stat("listener_manager.total_listeners_active") == 2
            assert ads.watch(LDS).trial.refused["in"].by_another
            mesh.put(http_listener("in", "r", stat="better"))
            await ads.push()
            await until(lambda: not ads.watch(LDS).error)
            assert await envoy.stat("listener_manager.lds.update_rejected") == 0
