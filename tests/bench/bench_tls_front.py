"""What the TLS front costs: bytes through it to a gRPC server, and handshakes."""

from __future__ import annotations

import asyncio
import json
import platform
import resource
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from mast.common.identity.tls_front import Material, tls_front
from mast.common.process.telemetry import configure_logging
from tests.support.pki import Ca, Pair

MEGABYTES = 100
HANDSHAKES = 300
CHUNK = b"x" * (256 << 10)
NAME = "istiod.istio-system.svc"
ME = "spiffe://cluster.local/ns/shop/sa/reviews"


async def fetch(port: int, roots: bytes, pair: Pair, method: str) -> int:
    """Call a method that streams, on a connection of its own; the bytes that came."""
    credentials = grpc.ssl_channel_credentials(roots, pair.key, pair.chain)
    options = [("grpc.ssl_target_name_override", NAME), ("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options) as channel:
        stream: Any = channel.unary_stream(method)
        return sum([len(part) async for part in stream(b"")])


def client(port: int, roots: bytes, pair: Pair, method: str, times: int) -> int:
    """Run in another process, so that the server's CPU time is its own."""

    async def calls() -> int:
        return sum([await fetch(port, roots, pair, method) for _ in range(times)])

    return asyncio.run(calls())


async def measure() -> list[dict[str, Any]]:
    """Serve, let a client process load the server, and read its clocks."""
    ca = Ca.root()
    own = ca.leaf(dns=[NAME])
    pair = ca.leaf(uris=[ME])
    material = Material(own.chain, own.key, {"cluster.local": ca.pem})
    loop = asyncio.get_running_loop()
    results = []
    with tempfile.TemporaryDirectory() as directory, ProcessPoolExecutor(1) as processes:
        await loop.run_in_executor(processes, int)
        path = Path(directory) / "grpc.sock"
        async with tls_front("127.0.0.1:0", path, lambda: material) as front:
            server = _server(path)
            await server.start()
            for name, method, times, amount, unit in (
                ("tls_front_throughput", "Bulk", 1, float(MEGABYTES), "MB/s"),
                ("tls_front_connections", "Nothing", HANDSHAKES, float(HANDSHAKES), "1/s"),
            ):
                started, cpu = time.monotonic(), _cpu()
                await loop.run_in_executor(
                    processes, client, front.port, ca.pem, pair, f"/bench.Bench/{method}", times
                )
                elapsed, used = time.monotonic() - started, _cpu() - cpu
                results.append(
                    {
                        "name": name,
                        "value": round(amount / elapsed, 1),
                        "unit": unit,
                        "seconds": round(elapsed, 2),
                        "server_cpu_seconds": round(used, 2),
                        "python": platform.python_version(),
                    }
                )
            await server.stop(None)
    return results


def _server(path: Path) -> grpc.aio.Server:
    async def bulk(_: bytes, __: Any) -> AsyncIterator[bytes]:
        for _i in range(MEGABYTES * 1_000_000 // len(CHUNK)):
            yield CHUNK

    async def nothing(_: bytes, __: Any) -> AsyncIterator[bytes]:
        yield b""

    handlers: dict[str, Any] = {
        "Bulk": grpc.unary_stream_rpc_method_handler(bulk),
        "Nothing": grpc.unary_stream_rpc_method_handler(nothing),
    }
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("bench.Bench", handlers),)
    )
    server.add_insecure_port(f"unix:{path}")
    return server


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Print one JSON object a line."""
    configure_logging("bench", "warning")
    for result in asyncio.run(measure()):
        sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
