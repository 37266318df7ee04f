"""EnvoyFilters of the bootstrap: an agent fetches them before it starts Envoy (acceptance 29)."""

from __future__ import annotations

from pathlib import Path

from envoy.config.bootstrap.v3.bootstrap_pb2 import Bootstrap
from google.protobuf.json_format import ParseDict

from mast.agent.core.bootstrap_patches import BOOTSTRAP
from tests.integration.agent.control_plane import ControlPlane
from tests.integration.agent.running import agent, environment, loopback


def tagging(regex: str) -> Bootstrap:
    tag = {"tag_name": "flavour", "regex": regex}
    return ParseDict({"stats_config": {"stats_tags": [tag]}}, Bootstrap())


async def test_a_tag_of_statistics_is_merged(plane: ControlPlane, work: Path) -> None:
    plane.discovery.set(BOOTSTRAP, {"bootstrap": tagging("^cluster_manager\\.((active)_)")})
    async with agent(work, environment(plane, loopback(), BOOTSTRAP_XDS_AGENT="true")) as running:
        await running.logged("bootstrap.patched")
        text = await running.until(15000, "/stats/prometheus", lambda status, _: status == 200)
        assert 'envoy_cluster_manager_clusters{flavour="active"}' in text
        assert running.events("bootstrap.unpatched") == []


async def test_what_envoy_refuses_is_left_out(plane: ControlPlane, work: Path) -> None:
    plane.discovery.set(BOOTSTRAP, {"bootstrap": tagging("(")})
    async with agent(work, environment(plane, loopback(), BOOTSTRAP_XDS_AGENT="true")) as running:
        refused = await running.logged("bootstrap.patch_refused")
        assert "(" in refused["error"]
        await running.until(15000, "/ready", lambda status, _: status in {200, 503})


async def test_nobody_asks_unless_told_to(plane: ControlPlane, work: Path) -> None:
    plane.discovery.set(BOOTSTRAP, {"bootstrap": tagging("(")})
    async with agent(work, environment(plane, loopback())) as running:
        await running.logged("envoy.started")
        assert all(each.type_url != BOOTSTRAP for each in plane.discovery.requests)
