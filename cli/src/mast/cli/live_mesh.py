"""The mesh of this machine as Pilot knows it: its world, read from the store once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace

import structlog
from envoy.config.core.v3.base_pb2 import Node

from mast.cli.errors import CommandError
from mast.cli.local.etcd import certificate
from mast.cli.local.home import Home
from mast.cli.local.plan import etcd_pki
from mast.cli.offline.mesh import Mesh, mesh_of
from mast.cli.offline.proxies import node
from mast.cli.offline.reading import Entry, FileMesh
from mast.cli.pilot_pages import page
from mast.common.etcd import EtcdConfig, EtcdError, connect
from mast.pilot.core.world.world import PREFIXES

SECONDS = 10


def live_mesh() -> Mesh:
    """Everything in the store of the running mesh; Secrets stay sealed."""
    # What Pilot keeps out is kept out here as well.
    made, _ = mesh_of(FileMesh(entries=tuple(live_entries(PREFIXES))))
    address = Home.default().running().addresses["pilot-http"]
    return replace(made, connected=_connected(address))


def live_entries(prefixes: Sequence[str]) -> Sequence[Entry]:
    """What the store of the running mesh holds under some prefixes."""
    home = Home.default()
    mesh = home.running()
    pki = etcd_pki(home)
    chain, key = certificate(pki, "mastctl")
    config = EtcdConfig(endpoints=(mesh.addresses["etcd"],), ca=pki / "ca.pem", cert=chain, key=key)
    # The store adapter tells its events as services do; here only the result counts.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        return asyncio.run(_entries(config, prefixes))
    except (EtcdError, TimeoutError) as error:
        raise CommandError(
            f"etcd at {mesh.addresses['etcd']} does not answer: {error}",
            hint="check with: mastctl status",
        ) from error


def _connected(address: str) -> list[Node]:
    """The proxies connected to Pilot, as they introduced themselves."""
    clients = page(address, "/debug/adsz")["clients"]
    return [
        node(each["connectionId"].rpartition("-")[0], each["metadata"])
        for each in clients
        if "~" in each["connectionId"]
    ]


async def _entries(config: EtcdConfig, prefixes: Sequence[str]) -> list[Entry]:
    async with asyncio.timeout(SECONDS), connect(config) as store:
        found = []
        for prefix in prefixes:
            listing = await store.list(prefix)
            found += [Entry(each.key, each.value) for each in listing.entries]
        return found
