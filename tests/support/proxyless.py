"""gRPC programs that speak xDS themselves, as processes of a test."""

import asyncio
import json
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from grpc import aio

from tests.support.pki import Ca, Pair, pem

ROOT = Path(__file__).parents[2]
SECONDS = 30


@dataclass(frozen=True, kw_only=True)
class Workload:
    """Who a program is, where its Pilot is, and the directory of what it may prove."""

    pilot: str
    directory: Path
    name: str
    namespace: str = "default"
    labels: Mapping[str, str] | None = None
    certificates: Path | None = None
    locality: str = ""

    def bootstrap(self) -> dict[str, Any]:
        """What GRPC_XDS_BOOTSTRAP names."""
        found: dict[str, Any] = {
            "xds_servers": [
                {
                    "server_uri": self.pilot,
                    "channel_creds": [{"type": "insecure"}],
                    "server_features": ["xds_v3"],
                }
            ],
            "node": {
                "id": f"sidecar~127.0.0.1~{self.name}.{self.namespace}"
                f"~{self.namespace}.svc.cluster.local",
                "metadata": {
                    "GENERATOR": "grpc",
                    "NAMESPACE": self.namespace,
                    "LABELS": dict(self.labels or {}),
                },
            },
            "server_listener_resource_name_template": "xds.istio.io/grpc/lds/inbound/%s",
        }
        if self.locality:
            region, zone, subzone = self.locality.split("/")
            place = {"region": region, "zone": zone, "sub_zone": subzone}
            found["node"]["locality"] = place
        if self.certificates is not None:
            found["certificate_providers"] = {
                "default": {
                    "plugin_name": "file_watcher",
                    "config": {
                        "certificate_file": str(self.certificates / "cert-chain.pem"),
                        "private_key_file": str(self.certificates / "key.pem"),
                        "ca_certificate_file": str(self.certificates / "root-cert.pem"),
                        "refresh_interval": "1s",
                    },
                }
            }
        return found

    @property
    def environment(self) -> dict[str, str]:
        """Variables of the program."""
        path = self.directory / f"{self.name}.{self.namespace}.json"
        path.write_text(json.dumps(self.bootstrap()))
        return {**os.environ, "GRPC_XDS_BOOTSTRAP": str(path)}


def write_certificates(directory: Path, ca: Ca, own: Pair) -> Path:
    """The files of a workload, as the agent writes them."""
    directory.mkdir(exist_ok=True)
    (directory / "cert-chain.pem").write_bytes(own.chain)
    (directory / "key.pem").write_bytes(own.key)
    (directory / "root-cert.pem").write_bytes(pem(ca.certificate))
    return directory


class Caller:
    """A process that calls through gRPC's own xDS client."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def calls(self, text: str = "", **asked: Any) -> dict[str, int]:
        """How often each answer came; see `tests.support.proxyless_client`."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"text": text, **asked}).encode() + b"\n")
        async with asyncio.timeout(4 * SECONDS):
            told: dict[str, int] = json.loads(await self._process.stdout.readline())
        return told

    async def call(self, text: str = "", **asked: Any) -> str:
        """The answer to one call."""
        return next(iter(await self.calls(text, **asked)))

    async def until(self, start: str, **asked: Any) -> str:
        """The first answer that begins so."""
        last = ""
        try:
            async with asyncio.timeout(SECONDS):
                while not (last := await self.call(**asked)).startswith(start):
                    continue
        except TimeoutError:
            raise AssertionError(f"the last answer was {last!r}, not {start!r}") from None
        return last


@asynccontextmanager
async def caller(
    environment: Mapping[str, str], target: str, *, secure: bool = False
) -> AsyncIterator[Caller]:
    """A client of a target until the end of the block."""
    options = ("secure",) if secure else ()
    async with _program("proxyless_client", target, *options, environment=environment) as process:
        yield Caller(process)


@asynccontextmanager
async def server(
    environment: Mapping[str, str], name: str, address: str, *, secure: bool = False
) -> AsyncIterator[None]:
    """A server that has its listener when the block begins."""
    arguments = (name, address, *(("secure",) if secure else ()))
    async with _program("proxyless_server", *arguments, environment=environment) as process:
        assert process.stdout is not None
        async with asyncio.timeout(SECONDS):
            assert await process.stdout.readline() == b"serving\n"
        yield


@asynccontextmanager
async def echo(name: str, port: int = 0) -> AsyncIterator[int]:
    """A gRPC server without xDS that answers `NAME heard TEXT`; gives its port.

    The first calls of a text with metadata `fail-first: N` fail with UNAVAILABLE, those with
    `delay` wait so many seconds.
    """
    failed: Counter[bytes] = Counter()

    async def say(request: bytes, context: Any) -> bytes:
        told = dict(context.invocation_metadata())
        if failed[request] < int(told.get("fail-first", "0")):
            failed[request] += 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, "not yet")
        await asyncio.sleep(float(told.get("delay", "0")))
        return name.encode() + b" heard " + request

    behaviour: Any = grpc.unary_unary_rpc_method_handler(say)
    running = aio.server()
    methods = dict.fromkeys(("Say", "Slow", "Abort", "Redirect"), behaviour)
    handler = grpc.method_handlers_generic_handler("test.Echo", methods)
    running.add_generic_rpc_handlers((handler,))
    bound = running.add_insecure_port(f"127.0.0.1:{port}")
    await running.start()
    try:
        yield bound
    finally:
        await running.stop(None)


@asynccontextmanager
async def _program(
    module: str, *arguments: str, environment: Mapping[str, str]
) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", f"tests.support.{module}", *arguments),
        env=dict(environment),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
