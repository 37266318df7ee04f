"""Debug pages of two Pilots on one etcd: a proxy is found wherever it is (pilot.md M2)."""

import json
from pathlib import Path

import aiohttp

from mast.pilot.core.xds.resources import CDS, LDS
from tests.support.ads_server import until
from tests.support.etcd_server import etcd_server
from tests.support.pilot_process import PilotProcess, pilot_process
from tests.support.xds_client import node, xds_stream

WHO = "sidecar~127.0.0.1~client-1.default~default.svc.cluster.local"


async def status(pilot: PilotProcess, path: str) -> tuple[int, str]:
    async with (
        aiohttp.ClientSession() as client,
        client.get(f"http://{pilot.http}/debug/{path}") as response,
    ):
        return response.status, await response.text()


async def test_the_other_replica_is_named(tmp_path: Path) -> None:
    async with (
        etcd_server(tmp_path) as etcd,
        pilot_process(etcd.endpoint, tmp_path, "--identity", "pilot-1") as first,
        pilot_process(etcd.endpoint, tmp_path, "--identity", "pilot-2") as second,
        xds_stream(second.ads, who=node(WHO, NAMESPACE="default")) as stream,
    ):
        for url in (CDS, LDS):
            await stream.ask(url)
            await stream.ack(await stream.told())

        async def located() -> bool:
            return "pilot-2" in (await status(first, "config_dump?proxyID=client-1.default"))[1]

        await until(located, seconds=20)
        for wanted in ("client-1.default", WHO):
            code, text = await status(first, f"config_dump?proxyID={wanted}")
            assert code == 404
            assert "not connected to pilot-1; it is connected to pilot-2" in text
        code, text = await status(second, "config_dump?proxyID=client-1.default")
        assert code == 200
        kinds = {each["@type"].rpartition(".")[2] for each in json.loads(text)["configs"]}
        assert {"ClustersConfigDump", "ListenersConfigDump"} <= kinds
        (row,) = await second.page("/debug/syncz")
        assert row["cluster_sent"] == row["cluster_acked"] != ""
        assert await first.page("/debug/syncz") == []
        listed = await second.page("/debug/list")
        for path in listed:
            name = path.removeprefix("/debug/")
            if name != "force_disconnect":
                code, _ = await status(second, f"{name}?proxyID=client-1.default")
                assert code == 200, name
        async with (
            aiohttp.ClientSession() as client,
            client.get(f"http://{second.metrics}/debug/syncz") as response,
        ):
            assert len(await response.json()) == 1
        code, _ = await status(second, "force_disconnect?proxyID=client-1.default")
        assert code == 200
        await stream.ended()
