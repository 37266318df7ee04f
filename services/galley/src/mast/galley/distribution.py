"""Puts Galley's distribution of configuration to other consumers together (wiring, with main)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import grpc
from grpc import aio

from mast.common.etcd import Store
from mast.common.latest import Latest
from mast.galley.api import mcp_over_xds, mcp_source
from mast.galley.api.access import Access
from mast.galley.api.consumers import BURST, PER_SECOND, Consumers
from mast.galley.api.mcp_sink import SinkCaller
from mast.galley.config import Config
from mast.galley.core.mcp.pace import Pace
from mast.galley.core.mcp.synthetic import Services
from mast.galley.store.mcp_feed import McpFeed

SERVICES = (mcp_source.SERVICE, mcp_over_xds.SERVICE)

Credentials = Callable[[], grpc.ChannelCredentials]


class Distribution:
    """MCP by both protocols, on every port, and to the sinks that Galley calls."""

    def __init__(self, config: Config, store: Store) -> None:
        self._config = config
        services = Services(config.trust_domain) if config.mcp_service_entries else None
        self._feed = McpFeed(store, services)
        self._consumers = Consumers(self._feed.snapshots, Pace(PER_SECOND, BURST))
        self._credentials: Latest[Credentials | None] = Latest(None)

    def register(self, server: aio.Server, access: Access) -> None:
        """Add the services to a server."""
        mcp_source.ResourceSource(self._consumers, access).register(server)
        mcp_over_xds.McpOverXds(self._consumers, access).register(server)

    def certified(self, credentials: Credentials) -> None:
        """From now on there is a certificate to call sinks with."""
        self._credentials.publish(credentials)

    async def run(self) -> None:
        """Take snapshots and call sinks; for ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._feed.run(), name="mcp feed")
            for address in self._config.sink_address:
                tasks.create_task(self._call(address), name=f"mcp sink {address}")

    async def _call(self, address: str) -> None:
        config = self._config
        credentials = await self._credentials.after(None) if config.sinks_by_tls else None
        await SinkCaller(self._consumers, address, credentials, config.sink_metadata).run()
