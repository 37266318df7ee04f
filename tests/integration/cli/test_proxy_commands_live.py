"""proxy-status, diff and proxy-config with a real Pilot and a real Envoy."""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mast.common.etcd import EtcdConfig, Store, connect
from tests.support.ads_server import bootstrap, until
from tests.support.envoy_server import EnvoyServer, envoy_server
from tests.support.etcd_server import etcd_server
from tests.support.mesh_yaml import changes
from tests.support.pilot_process import PilotProcess, pilot_process

WHO = "sidecar~127.0.0.1~client-1.default~default.svc.cluster.local"
MESH = """
{apiVersion: mesh.istio.io/v1alpha1, kind: MeshConfig,
 metadata: {name: default, namespace: istio-system}, spec: {enableAutoMtls: false}}
---
{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: web},
 spec: {hosts: [web.default.svc.cluster.local], resolution: STATIC, location: MESH_INTERNAL,
        ports: [{number: 8085, name: http, protocol: HTTP}],
        endpoints: [{address: 127.0.0.1, locality: r1/z1}, {address: 127.0.0.2, weight: 3}]}}
"""
OTHER = """
{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: other},
 spec: {hosts: [other.test], resolution: STATIC,
        ports: [{number: 8086, name: http, protocol: HTTP}]}}
"""


@dataclass
class Site:
    """A Pilot, an Envoy that it configures, and the store."""

    pilot: PilotProcess
    envoy: EnvoyServer
    store: Store

    @property
    def admin(self) -> str:
        return self.envoy.admin.removeprefix("http://")

    async def synced(self) -> None:
        async def all_acknowledged() -> bool:
            rows = await self.pilot.page("/debug/syncz")
            kinds = ("cluster", "listener", "endpoint", "route")
            return bool(rows) and all(
                row[f"{kind}_sent"] and row[f"{kind}_sent"] == row[f"{kind}_acked"]
                for row in rows
                for kind in kinds
            )

        await until(all_acknowledged, seconds=20)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with (
        etcd_server(tmp_path) as etcd,
        connect(EtcdConfig(endpoints=(etcd.endpoint,))) as store,
    ):
        for each in changes(MESH):
            await store.put(each.key, each.value)
        async with pilot_process(etcd.endpoint, tmp_path) as pilot:
            port = int(pilot.ads.rpartition(":")[2])
            # An address of its own: Envoy listens on the ports of the services.
            own = f"127.{random.randint(3, 250)}.{random.randint(1, 250)}.2"  # noqa: S311
            metadata = {"INTERCEPTION_MODE": "NONE", "OUTBOUND_BIND": own}
            config = bootstrap(port, delta=True, metadata=metadata)
            config.node.id = WHO
            async with envoy_server(config, tmp_path) as envoy:
                running = Site(pilot, envoy, store)
                await running.synced()
                yield running


async def mastctl(*arguments: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "mast.cli.main", *arguments),
        env={**os.environ, "COLUMNS": "200"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


async def test_status_difference_and_configuration(site: Site) -> None:
    pilot = ("--pilot", site.pilot.http)
    status, out, err = await mastctl("proxy-status", *pilot)
    assert (status, err) == (0, "")
    heading, row = out.splitlines()
    assert " ".join(heading.split()) == "NAME CLUSTER ISTIOD VERSION SUBSCRIBED TYPES"
    assert row.startswith("client-1.default ")
    assert row.endswith(" 4 (CDS,LDS,EDS,RDS)")
    status, out, err = await mastctl("ps", "-v", *pilot)
    assert status == 0, err
    heading, row = out.splitlines()
    assert " ".join(heading.split()) == "NAME CLUSTER CDS LDS EDS RDS ECDS ISTIOD VERSION"
    assert "client-1.default" in row
    assert row.count("SYNCED") == 4
    assert "NOT SENT" in row

    status, out, err = await mastctl("diff", "--admin", site.admin, *pilot)
    assert (status, err) == (0, ""), out
    assert "Don't Match" not in out
    assert "Endpoints Match" in out

    # A dump of before differs from what Pilot means afterwards.
    before = site.envoy.log.with_name("dump.json")
    before.write_text(await site.envoy.get("/config_dump?include_eds"))
    revision = 0
    for each in changes(OTHER):
        revision = await site.store.put(each.key, each.value)
    stored = ("serviceentry", "other", "--resource-version", str(revision))
    status, out, err = await mastctl("wait", *stored, *pilot, "--server", "unasked")
    assert (status, err) == (0, ""), out
    assert out == "Resource ServiceEntry default/other present on 1 out of 1 proxies\n"
    assert "other.test" in json.dumps(await site.envoy.get("/config_dump"))
    late = ("serviceentry", "other", "--resource-version", str(revision + 1), "--timeout", "300ms")
    status, out, err = await mastctl("x", "wait", *late, *pilot, "--server", "unasked")
    assert status == 1
    assert "0 of 1 proxies after 300ms\n  client-1.default: not sent yet" in err
    status, out, _ = await mastctl("proxy-status", "--file", str(before), *pilot)
    assert status == 1
    assert "Clusters Don't Match" in out
    assert "--- pilot clusters/outbound|8086||other.test" in out
    status, out, err = await mastctl("diff", "--admin", site.admin, *pilot)
    assert (status, err) == (0, ""), out

    status, out, err = await mastctl("pc", "endpoints", "--admin", site.admin, "--port", "8085")
    assert status == 0, err
    assert "127.0.0.2:8085   HEALTHY   OK" in out
    status, out, err = await mastctl("pc", "log", "--admin", site.admin, "--level", "rbac:debug")
    assert status == 0, err
    levels = {line.split()[0]: line.split()[1] for line in out.splitlines()}
    assert (levels["rbac"], levels["http"]) == ("debug", "info")
