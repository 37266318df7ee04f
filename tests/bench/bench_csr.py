"""Certificates a second from a Citadel process over gRPC and TLS, key kinds apart."""

from __future__ import annotations

import asyncio
import json
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from istio.auth.v1 import ca_pb2, ca_pb2_grpc
from mast.common.ca_client import Algorithm, new_key_and_csr
from tests.integration.citadel.process import Citadel, citadel
from tests.support.etcd_server import etcd_server
from tests.support.pki import Pair

SECONDS = 4.0
CALLERS = 16
ME = "spiffe://cluster.local/ns/shop/sa/reviews"


async def load(ca: Citadel, pair: Pair, csr_pem: bytes) -> tuple[list[float], float]:
    """Latencies of all calls that ended in time, and CPU seconds of the server."""
    request = ca_pb2.IstioCertificateRequest(csr=csr_pem.decode(), validity_duration=3600)
    latencies: list[float] = []
    server = psutil.Process(ca.service.process.pid)
    async with ca.channel(await ca.roots(), pair) as channel:
        stub = ca_pb2_grpc.IstioCertificateServiceStub(channel)
        await stub.CreateCertificate(request, timeout=10)
        ends = time.monotonic() + SECONDS
        before = server.cpu_times()

        async def caller() -> None:
            while (begun := time.monotonic()) < ends:
                await stub.CreateCertificate(request, timeout=10)
                latencies.append(time.monotonic() - begun)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(CALLERS):
                tasks.create_task(caller())
        after = server.cpu_times()
    return latencies, after.user + after.system - before.user - before.system


async def measure() -> list[dict[str, Any]]:
    """One result per kind of CA key and of CSR key."""
    results = []
    kinds: list[Algorithm] = ["P256", "RSA2048"]
    for kind in kinds:
        with tempfile.TemporaryDirectory(prefix="ca-") as name:
            directory = Path(name)
            flags = ["--sign-rate", "1000000", "--ca-key-algorithm", kind]
            async with (
                etcd_server(directory) as etcd,
                citadel(etcd.endpoint, directory, flags) as ca,
            ):
                pair, _ = await ca.new_pair(await ca.join_token())
                latencies, cpu = await load(ca, pair, new_key_and_csr(ME, kind)[1])
        results.append(
            {
                "name": f"csr_{kind.lower()}",
                "value": round(len(latencies) / SECONDS, 1),
                "unit": "certificates/s",
                "p50_ms": round(statistics.median(latencies) * 1000, 2),
                "p99_ms": round(statistics.quantiles(latencies, n=100)[98] * 1000, 2),
                "server_cpu_ms_per_certificate": round(cpu / len(latencies) * 1000, 3),
                "callers": CALLERS,
                "python": platform.python_version(),
            }
        )
    return results


def main() -> None:
    """Print one JSON object a line."""
    for result in asyncio.run(measure()):
        sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
