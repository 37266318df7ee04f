"""Certificates a second from a Citadel process over gRPC and TLS: kinds of keys and of callers."""

from __future__ import annotations

import asyncio
import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from istio.auth.v1 import ca_pb2, ca_pb2_grpc
from mast.common.identity.ca_client import Algorithm, new_key_and_csr
from mast.common.kubernetes.objects import NAMESPACES, PODS, SERVICE_ACCOUNTS
from tests.fakes.kubernetes.server import Cluster, api_server
from tests.integration.citadel.process import Citadel, citadel
from tests.support.etcd_server import etcd_server
from tests.support.pki import Pair

SECONDS = 4.0
CALLERS = 16
ME = "spiffe://cluster.local/ns/shop/sa/reviews"
UNLIMITED = "1000000"

Metadata = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Measured:
    """Latencies of all calls that ended in time, and CPU seconds of the server."""

    latencies: Sequence[float]
    cpu: float

    def result(self, name: str) -> dict[str, Any]:
        """As a line of the report."""
        done = len(self.latencies)
        return {
            "name": name,
            "value": round(done / SECONDS, 1),
            "unit": "certificates/s",
            "per_core": round(done / self.cpu, 1),
            "p50_ms": round(statistics.median(self.latencies) * 1000, 2),
            "p99_ms": round(statistics.quantiles(self.latencies, n=100)[98] * 1000, 2),
            "server_cpu_ms_per_certificate": round(self.cpu / done * 1000, 3),
            "callers": CALLERS,
            "python": platform.python_version(),
        }


async def load(
    ca: Citadel, csr_pem: bytes, pair: Pair | None, credentials: Sequence[Metadata]
) -> Measured:
    """Many callers at a time, each with its own metadata, on one connection."""
    request = ca_pb2.IstioCertificateRequest(csr=csr_pem.decode(), validity_duration=3600)
    latencies: list[float] = []
    server = psutil.Process(ca.service.process.pid)
    async with ca.channel(await ca.roots(), pair) as channel:
        stub = ca_pb2_grpc.IstioCertificateServiceStub(channel)
        for metadata in credentials:
            await stub.CreateCertificate(request, metadata=metadata, timeout=10)
        ends = time.monotonic() + SECONDS
        before = server.cpu_times()

        async def caller(metadata: Metadata) -> None:
            while (begun := time.monotonic()) < ends:
                await stub.CreateCertificate(request, metadata=metadata, timeout=10)
                latencies.append(time.monotonic() - begun)

        async with asyncio.TaskGroup() as tasks:
            for metadata in credentials:
                tasks.create_task(caller(metadata))
        after = server.cpu_times()
    return Measured(latencies, after.user + after.system - before.user - before.system)


def pods(cluster: Cluster) -> list[Metadata]:
    """A token for each of so many pods."""
    cluster.objects.create(NAMESPACES, "", {"metadata": {"name": "shop"}})
    cluster.objects.create(SERVICE_ACCOUNTS, "shop", {"metadata": {"name": "reviews"}})
    found = []
    for number in range(CALLERS):
        pod = cluster.objects.create(PODS, "shop", {"metadata": {"name": f"reviews-{number}"}})
        token = cluster.callers.token("shop", "reviews", ["istio-ca"], pod=pod)
        found.append((("authorization", f"Bearer {token}"),))
    return found


@asynccontextmanager
async def site(kind: Algorithm) -> AsyncIterator[tuple[Citadel, Cluster]]:
    """A Citadel with a CA of this kind, without limits, and a cluster it asks about tokens."""
    with tempfile.TemporaryDirectory(prefix="ca-") as name:
        directory = Path(name)
        async with api_server() as cluster, etcd_server(directory) as etcd:
            (directory / "kubeconfig").write_text(cluster.kubeconfig())
            flags = [
                *("--ca-key-algorithm", kind, "--kubeconfig", str(directory / "kubeconfig")),
                *("--sign-rate", UNLIMITED, "--attest-rate", UNLIMITED),
                *("--attest-burst", UNLIMITED, "--identity-rate", UNLIMITED),
            ]
            async with citadel(etcd.endpoint, directory, flags) as ca:
                yield ca, cluster


async def measure() -> list[dict[str, Any]]:
    """One result per kind of key (the CA's and the CSR's) and of caller."""
    results = []
    kinds: list[Algorithm] = ["P256", "RSA2048"]
    for kind in kinds:
        async with site(kind) as (ca, cluster):
            csr = new_key_and_csr(ME, kind)[1]
            pair, _ = await ca.new_pair(await ca.join_token())
            by_certificate = await load(ca, csr, pair, [()] * CALLERS)
            results.append(by_certificate.result(f"csr_{kind.lower()}"))
            by_token = await load(ca, csr, None, pods(cluster))
            results.append(by_token.result(f"csr_{kind.lower()}_token"))
    return results


def main() -> None:
    """Print one JSON object a line."""
    for result in asyncio.run(measure()):
        sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
