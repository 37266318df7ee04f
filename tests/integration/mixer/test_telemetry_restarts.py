"""Telemetry while Mixer restarts: nothing is counted twice, what is lost can be told.

mixer_proxy.md K6, mixer.md L 45.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from mast.pilot.core.mixer.filters import MixerExtensions
from tests.integration.mixer.bench import PLACE
from tests.integration.mixer.conftest import Apply
from tests.integration.mixer.process import mixer
from tests.support.envoy_server import EnvoyServer, envoy_server
from tests.support.etcd_server import EtcdServer
from tests.support.mixer_config import TELEMETRY
from tests.support.mixer_mesh import TELEMETRY as HOST
from tests.support.mixer_mesh import application, bootstrap, mesh, spot
from tests.support.scrape import scraped
from tests.support.service_process import ServiceProcess
from tests.support.until import until

WORKERS = 2
ON_THE_WAY = WORKERS * 200
"""Entries of the last messages of all workers; one has 50 KiB at most."""

URLS = """
kind: handler
metadata: {name: log}
spec: {compiledAdapter: stdio, params: {}}
---
kind: instance
metadata: {name: url}
spec: {compiledTemplate: logentry, params: {variables: {url: request.path}}}
---
kind: rule
metadata: {name: log}
spec: {match: context.protocol == "http", actions: [{handler: log, instances: [url]}]}
"""


@dataclass
class Mixers:
    """Mixers that follow each other at one address, a link to the socket of the current one."""

    directory: Path
    etcd: str
    stack: AsyncExitStack
    all: list[ServiceProcess] = field(default_factory=list)

    @property
    def link(self) -> Path:
        return self.directory / "mixer"

    async def start(self) -> ServiceProcess:
        """Another one, which does not have the address yet."""
        socket = f"unix:{self.directory}/{len(self.all)}"
        running = await self.stack.enter_async_context(mixer(self.etcd, ["--listen", socket]))
        self.all.append(running)
        await running.address("grpc")
        return running

    def hand_over(self, to: ServiceProcess) -> None:
        """From now on new streams go there."""
        temporary = self.link.with_suffix(".new")
        temporary.symlink_to(self.directory / str(self.all.index(to)))
        temporary.rename(self.link)

    @property
    def counted(self) -> list[str]:
        """The paths of all requests that were counted, by whomever."""
        return [path for each in self.all for path in paths(each)]


def paths(running: ServiceProcess) -> list[str]:
    """The requests that one has counted."""
    return [line["url"] for line in running.log if "url" in line]


async def samples(running: ServiceProcess, name: str, listener: str = "monitoring") -> float:
    """Sum of a metric's samples, of a page that is clean."""
    _, text = await running.get("/metrics", listener)
    return sum(value for (found, _), value in scraped(text).items() if found == name)


async def requests_taken(by: ServiceProcess) -> float:
    """Entries of HTTP logs that a Mixer says it has taken."""
    _, text = await by.get("/metrics")
    labels = frozenset({("log", "http"), ("outcome", "taken")})
    return scraped(text).get(("mixer_access_log_entries_total", labels), 0)


@dataclass
class Load:
    """Requests that are made all the time, each for a path of its own."""

    url: str
    made: int = 0
    finished: set[str] = field(default_factory=set)
    stopped: asyncio.Event = field(default_factory=asyncio.Event)

    async def client(self) -> None:
        async with aiohttp.ClientSession() as session:
            while not self.stopped.is_set():
                path, self.made = f"/{self.made}", self.made + 1
                async with session.get(self.url + path) as answer:
                    assert answer.status == 200
                self.finished.add(path)
                await asyncio.sleep(0.04)


@dataclass
class Connection:
    """One that stays open; each Mixer is to count its own part of the bytes."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @classmethod
    async def open(cls, port: int) -> "Connection":
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def exchange(self) -> int:
        """How many bytes a request had."""
        request = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"
        self.writer.write(request)
        await self.reader.readuntil(b"ok")
        return len(request)

    async def counted(self, by: ServiceProcess, sent: int) -> None:
        """Wait until a Mixer has counted so many bytes, no more."""
        name = "istio_tcp_received_bytes_total"

        async def holds() -> bool:
            return await samples(by, name, "prometheus") >= sent

        await until(holds)
        assert await samples(by, name, "prometheus") == sent


@asynccontextmanager
async def proxy(mixers: Mixers, name: str) -> AsyncIterator[EnvoyServer]:
    """An Envoy that reports to whoever has the address."""
    extensions = MixerExtensions(mesh(disable_policy_checks=True))
    directory = mixers.directory / name
    directory.mkdir()
    async with application() as app:
        config = bootstrap(extensions, spot(), 1, app.port)
        (cluster,) = (each for each in config.static_resources.clusters if HOST in each.name)
        endpoint = cluster.load_assignment.endpoints[0].lb_endpoints[0].endpoint
        endpoint.address.pipe.path = str(mixers.link)
        async with envoy_server(config, directory, concurrency=WORKERS, environment=PLACE) as envoy:
            yield envoy


async def test_requests_are_counted_once_or_known_to_be_lost(
    etcd: EtcdServer, apply: Apply, tmp_path: Path
) -> None:
    """A new Mixer takes over gracefully, is killed under load, and is followed by a third one."""
    await apply(TELEMETRY, URLS)
    async with AsyncExitStack() as stack:
        mixers = Mixers(tmp_path, etcd.endpoint, stack)
        first, second = await mixers.start(), await mixers.start()
        mixers.hand_over(first)
        envoy = await stack.enter_async_context(proxy(mixers, "requests"))
        other = await stack.enter_async_context(proxy(mixers, "connection"))
        load = Load(f"http://127.0.0.1:{envoy.ports['http']}")
        connection = await Connection.open(other.ports["tcp"])
        stack.callback(connection.writer.close)
        async with asyncio.TaskGroup() as tasks:
            for _ in range(4):
                tasks.create_task(load.client())
            await until(lambda: len(paths(first)) > 30)
            await connection.counted(first, await connection.exchange())
            mixers.hand_over(second)
            assert await first.stop() == 0
            before = set(load.finished)
            await until(lambda: len(before.difference(mixers.counted)) <= ON_THE_WAY)
            await until(lambda: len(paths(second)) > 30)
            await connection.counted(second, await connection.exchange())
            second.process.kill()
            await second.ended()
            third = await mixers.start()
            mixers.hand_over(third)
            await until(lambda: len(paths(third)) > 30)
            load.stopped.set()

        stats = "access_logs.grpc_access_log."

        async def everything_arrived() -> bool:
            written = await envoy.stat(f"{stats}logs_written")
            sent = await envoy.stat(f"{stats}grpc_entries_flushed")
            taken = await requests_taken(third)
            return written == sent == load.made and taken == len(paths(third))

        await until(everything_arrived)
        assert await envoy.stat(f"{stats}logs_dropped") == 0
        counted = mixers.counted
        assert len(counted) == len(set(counted))
        assert set(counted) <= load.finished
        earlier = len(paths(first)) + len(paths(second))
        taken = earlier + await requests_taken(third)
        lost = await envoy.stat(f"{stats}grpc_entries_flushed") - taken
        assert lost == len(load.finished.difference(counted))
        assert await samples(third, "istio_requests_total", "prometheus") == len(paths(third))
