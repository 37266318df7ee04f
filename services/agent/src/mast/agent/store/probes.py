"""Probes of the application, made from the proxy's source address so that nothing captures them
(citadel-and-agent.md B7, B9).
"""

import asyncio
import ssl
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address

import aiohttp
import grpc
import grpc.aio
from grpc_health.v1 import health_pb2
from multidict import CIMultiDict
from yarl import URL

from mast.agent.core.probers import ExecProbe, GrpcProbe, HttpProbe, Probe, TcpProbe

MOST_REDIRECTS = 10
MOST_BYTES = 10 * 1024
GROUP_PROBE_AGENT = "istio-probe/1.0"

_SOURCES = {4: "127.0.0.6", 6: "::6"}
_HOP_HEADERS = frozenset({"host", "connection", "content-length", "transfer-encoding"})


@dataclass(frozen=True)
class Outcome:
    """What a probe found. ``status`` is an HTTP status; 200 also stands for other successes."""

    status: int
    body: bytes = b""
    problem: str = ""


def _unverified() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@dataclass(frozen=True)
class Prober:
    """Probes one workload at its own address.

    ``source`` binds connections to 127.0.0.6 or ::6; without it they may be captured, which is
    right only where nothing is. ``endpoints`` says where ports of the workload really are, as
    ``{"9080": "127.0.0.1:43121"}`` (interception mode NONE).
    """

    host: str
    source: bool = True
    endpoints: Mapping[str, str] = field(default_factory=dict)
    _insecure: ssl.SSLContext = field(default_factory=_unverified)

    async def probe(self, probe: Probe, headers: Mapping[str, str] | None = None) -> Outcome:
        """Make a probe; never raises for what the application does. ``headers`` go with HTTP."""
        try:
            async with asyncio.timeout(probe.timeout.total_seconds()):
                match probe:
                    case HttpProbe():
                        return await self._http(probe, headers or {})
                    case TcpProbe():
                        return await self._tcp(probe)
                    case GrpcProbe():
                        return await self._grpc(probe)
                    case ExecProbe():
                        return await self._exec(probe.command)
        except TimeoutError:
            return Outcome(500, problem=f"no answer within {probe.timeout.total_seconds():g} s")
        except (OSError, ValueError, aiohttp.ClientError, grpc.aio.AioRpcError) as error:
            return Outcome(500, problem=f"{type(error).__name__}: {error}")

    def _place(self, host: str, port: int) -> tuple[str, int]:
        if not host and (endpoint := self.endpoints.get(str(port))):
            real_host, _, real_port = endpoint.rpartition(":")
            return real_host.strip("[]"), int(real_port)
        return host or self.host, port

    def _local_address(self, host: str) -> tuple[str, int] | None:
        try:
            version = ip_address(host).version
        except ValueError:
            return None
        return (_SOURCES[version], 0) if self.source else None

    async def _http(self, probe: HttpProbe, headers: Mapping[str, str]) -> Outcome:
        host, port = self._place(probe.host, probe.port)
        scheme = "https" if probe.https else "http"
        sent = CIMultiDict(
            (name, value) for name, value in headers.items() if name.lower() not in _HOP_HEADERS
        )
        sent.update(probe.headers)
        connector = aiohttp.TCPConnector(
            ssl=self._insecure, local_addr=self._local_address(host), force_close=True
        )
        url = URL.build(scheme=scheme, host=host, port=port).join(URL(probe.path, encoded=True))
        async with aiohttp.ClientSession(connector=connector) as session:
            for _ in range(MOST_REDIRECTS + 1):
                async with session.get(url, headers=sent, allow_redirects=False) as response:
                    location = response.headers.get("location", "")
                    if not (300 <= response.status < 400 and location):
                        body = await response.content.read(MOST_BYTES)
                        return Outcome(response.status, body)
                    target = url.join(URL(location))
                    if target.host != url.host:  # Kubernetes: a redirect elsewhere is a success
                        return Outcome(200)
                    url = target
        return Outcome(500, problem=f"more than {MOST_REDIRECTS} redirects")

    async def _tcp(self, probe: TcpProbe) -> Outcome:
        host, port = self._place(probe.host, probe.port)
        local = self._local_address(host)
        _, writer = await asyncio.open_connection(host, port, local_addr=local)
        writer.close()
        return Outcome(200)

    async def _grpc(self, probe: GrpcProbe) -> Outcome:
        host, port = self._place("", probe.port)
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.default_authority", host)]
        async with (
            _relay(host, port, self._local_address(host)) as address,
            grpc.aio.insecure_channel(address, options=options) as channel,
        ):
            check = channel.unary_unary(
                "/grpc.health.v1.Health/Check",
                request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
                response_deserializer=health_pb2.HealthCheckResponse.FromString,
            )
            response = await check(health_pb2.HealthCheckRequest(service=probe.service))
        if response.status == health_pb2.HealthCheckResponse.SERVING:
            return Outcome(200)
        name = health_pb2.HealthCheckResponse.ServingStatus.Name(response.status)
        return Outcome(500, problem=f"gRPC health: {name}")

    async def _exec(self, command: Sequence[str]) -> Outcome:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            status = await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return Outcome(200) if status == 0 else Outcome(500, problem=f"exit status {status}")


@asynccontextmanager
async def _relay(host: str, port: int, local: tuple[str, int] | None) -> AsyncIterator[str]:
    """A Unix socket that leads to a TCP port from a given source address; gRPC's address of it.

    gRPC cannot choose the source address of its connections itself.
    """

    async def serve(near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        try:
            far, out = await asyncio.open_connection(host, port, local_addr=local)
        except OSError:
            back.close()
            return
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_copy(near, out), name="probe-request")
            tasks.create_task(_copy(far, back), name="probe-response")

    with tempfile.TemporaryDirectory(prefix="probe-") as directory:
        path = f"{directory}/s"
        server = await asyncio.start_unix_server(serve, path)
        try:
            yield f"unix:{path}"
        finally:
            server.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass bytes on until either end is closed."""
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


def healthy(outcome: Outcome) -> str:
    """Empty if a group probe's outcome is good, HTTP 200 to 399; else the reason (B9)."""
    if 200 <= outcome.status < 400:
        return ""
    return outcome.problem or f"HTTP status {outcome.status}"
