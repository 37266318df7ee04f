"""The servers of one agent, each for as long as a block lasts (wiring, B10)."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any

import aiohttp
import structlog

from mast.agent.api.exchange import exchange_server
from mast.agent.assembly import Agent
from mast.agent.core.names import names
from mast.agent.store import sockets
from mast.agent.store.token_endpoint import TokenEndpoint
from mast.common.process.serving import Listen, serving

log = structlog.get_logger()

_GRACE = timedelta(seconds=1)


@asynccontextmanager
async def dns_server(agent: Agent) -> AsyncIterator[None]:
    """Serve DNS if it is captured, on IPv4 and, where there is one, IPv6 loopback (B8.1)."""
    if agent.dns is None:
        yield
        return
    host, _, port = agent.inputs.config.dns_address.rpartition(":")
    async with AsyncExitStack() as stack:
        for address in ("127.0.0.1", "::1") if host == "localhost" else (host.strip("[]"),):
            try:
                await stack.enter_async_context(agent.dns.serving(address, int(port)))
            except OSError as error:
                if address != "::1":
                    raise
                log.info("dns.no_ipv6", error=str(error))
        await stack.enter_async_context(background(names=follow_names(agent)))
        yield


async def follow_names(agent: Agent) -> None:
    """Index each name table that Pilot sends, away from the event loop."""
    table = None
    node = agent.inputs.node
    while agent.dns is not None:
        table = await agent.table.after(table)
        if table is None:
            continue
        agent.dns.names = await asyncio.to_thread(
            names, table, namespace=node.namespace, domain=node.dns_domain, search=agent.search
        )
        agent.readiness.names_known = True
        log.info("names.updated", hosts=len(table.table))


@asynccontextmanager
async def token_exchange(agent: Agent, http: aiohttp.ClientSession) -> AsyncIterator[None]:
    """Exchange tokens for this machine if ``--stsPort`` asks for it."""
    port = agent.inputs.flags.sts_port
    if not port:
        yield
        return
    url = agent.inputs.config.token_exchange_url
    tokens = TokenEndpoint(http, url, agent.clocks.now)
    async with exchange_server(tokens, agent.places.local, port):
        yield


@asynccontextmanager
async def secret_server(agent: Agent) -> AsyncIterator[None]:
    """Serve SDS and keep its secrets fresh; the certificate is asked for at once (B3.3)."""
    credentials, work = agent.credentials, {}
    work["files"] = credentials.follow_files(agent.secrets.wanted)
    if agent.mounted is not None:
        work["mounted"] = credentials.follow_directory(agent.mounted)
    if agent.certificates is not None:
        work["certificates"] = agent.certificates.run()
        work["published"] = credentials.follow_ca(agent.certificates)
    with sockets.place_for(agent.sds_socket) as address:
        listen = [Listen(address, name="sds")]
        async with serving(agent.secrets.register, listen, grace=_GRACE), background(**work):
            yield


@asynccontextmanager
async def ads_server(agent: Agent) -> AsyncIterator[None]:
    """Serve ADS to Envoy, and to programs if they speak xDS themselves."""
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    with sockets.place_for(agent.places.xds_socket) as address:
        listen = [Listen(address, name="ads")]
        async with serving(agent.ads.register, listen, grace=_GRACE, options=options):
            if agent.inputs.config.grpc_bootstrap:
                sockets.open_to_programs(agent.places.xds_socket)
            yield


@asynccontextmanager
async def background(**work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run tasks beside the block: a crash of one ends the block, its end ends them."""
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(each, name=name) for name, each in work.items()]
        try:
            yield
        finally:
            for task in running:
                task.cancel()
