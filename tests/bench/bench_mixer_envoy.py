"""Mixer behind Envoy: pairs of sidecars with policy and telemetry against the same ones without.

Every comparison is of runs that took turns; ratios and differences are medians over the rounds.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import psutil
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest

from mast.common.process.telemetry import configure_logging
from tests.bench.load import grpc_calls, http_calls
from tests.bench.load.access_logs import Recording, recording, replaying
from tests.bench.load.http_calls import Load
from tests.bench.load.mixer_site import (
    ENVOYS_CORE,
    HOST,
    OTHERS_CORE,
    PORT,
    Pair,
    application,
    mixer_seconds,
    mixers,
    pair,
    port_of,
    servers,
)
from tests.support.service_process import ServiceProcess

ROUNDS = 5
SECONDS = 3.0
USERS = 100
CALM_RATE = 1000
CALM_CONNECTIONS = 16
FRESH_RATE = 400
FRESH = "x-keep: never\r\n"
USUAL = "x-keep: usually\r\n"
FLUSHED = 1.5
"""Seconds after which Envoy has sent what it logged."""

RECORDED = "checks, and reports recorded"
REPLAYED = 150_000
SERIES = 100_000
SERIES_OF_A_REQUEST = 4
BATCH = 100


@dataclass
class Bench:
    """Pairs by what they have of Mixer, and the means to put load on them."""

    pairs: Mapping[str, Pair]
    policy: ServiceProcess
    telemetry: ServiceProcess
    recorded: Recording
    processes: ProcessPoolExecutor

    async def run(self, name: str, **load: Any) -> Run:
        """Put a load on a pair; what it took."""
        chosen = self.pairs[name]
        before = self._seconds(chosen)
        checks = await self._checks()
        loop = asyncio.get_running_loop()
        wanted = Load(
            **{
                "port": chosen.port,
                "host": f"{HOST}:8080",
                "seconds": SECONDS,
                "users": USERS,
                "core": OTHERS_CORE,
                **load,
            }
        )
        taken = await loop.run_in_executor(self.processes, http_calls.run, wanted)
        if "reports" in name:
            await asyncio.sleep(FLUSHED)
        used = [now - then for now, then in zip(self._seconds(chosen), before, strict=True)]
        requests = len(taken.latencies)
        return Run(
            rate=requests / taken.seconds,
            requests=requests,
            p50=taken.percentile(50),
            p90=taken.percentile(90),
            p99=taken.percentile(99),
            envoys_us=used[0] / requests * 1e6,
            policy=used[1],
            telemetry=used[2],
            checks=await self._checks() - checks,
        )

    def _seconds(self, chosen: Pair) -> Sequence[float]:
        return chosen.cpu_seconds, mixer_seconds(self.policy), mixer_seconds(self.telemetry)

    async def _checks(self) -> int:
        return await _sum(self.policy, "grpc_io_server_completed_rpcs{")

    async def taken(self, streams: Sequence[Sequence[bytes]], times: int, entries: int) -> float:
        """Send entries to Mixer; the processor time that it needed for all of them."""
        name = "mixer_access_log_entries_total"
        wanted = await _sum(self.telemetry, name) + entries
        before = mixer_seconds(self.telemetry)
        async with (
            asyncio.timeout(300),
            replaying(await port_of(self.telemetry), streams, times),
        ):
            while True:
                missing = wanted - await _sum(self.telemetry, name)
                if missing <= 0:
                    return mixer_seconds(self.telemetry) - before
                await asyncio.sleep(min(missing / 50_000, 1.0))


@dataclass(frozen=True, kw_only=True)
class Run:
    """One load: milliseconds, processor time of both Envoys per request, seconds of both Mixers."""

    rate: float
    requests: int
    p50: float
    p90: float
    p99: float
    envoys_us: float
    policy: float
    telemetry: float
    checks: int


async def _sum(running: ServiceProcess, name: str) -> int:
    """The sum of a Mixer's own samples whose line begins so."""
    _, text = await running.get("/metrics")
    return sum(int(float(x.rpartition(" ")[2])) for x in text.splitlines() if x.startswith(name))


@asynccontextmanager
async def bench() -> AsyncIterator[Bench]:
    """Everything, running."""
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for name in ("etcd", "application"):
            (directory / name).mkdir()
        policy, telemetry = await stack.enter_async_context(mixers(directory / "etcd", USERS))
        checks, reports = await port_of(policy), await port_of(telemetry)
        port = await stack.enter_async_context(application(directory / "application"))
        recorded = await stack.enter_async_context(recording())
        found = {
            name: await stack.enter_async_context(pair(directory / name, port, servers(*ports)))
            for name, ports in (
                ("nothing", (0, 0)),
                ("checks", (checks, 0)),
                ("reports", (0, reports)),
                ("checks and reports", (checks, reports)),
                (RECORDED, (checks, recorded.port)),
            )
        }
        spawning = get_context("spawn")  # A process with gRPC in it cannot be forked.
        processes = stack.enter_context(ProcessPoolExecutor(1, spawning))
        yield Bench(found, policy, telemetry, recorded, processes)


async def rounds(found: Bench, names: Sequence[str], **load: Any) -> dict[str, list[Run]]:
    """The same load on pairs in turn, several times."""
    runs: dict[str, list[Run]] = {name: [] for name in names}
    for _ in range(ROUNDS):
        for name in names:
            runs[name].append(await found.run(name, **load))
    return runs


def over(runs: Mapping[str, Sequence[Run]], name: str, of: Callable[[Run, Run], float]) -> float:
    """The median over the rounds of what is made of a pair's run and of that with nothing."""
    return median(map(of, runs[name], runs["nothing"]))


async def measure(found: Bench) -> AsyncIterator[dict[str, Any]]:
    """Everything, in the order of the lines printed."""
    names = [name for name in found.pairs if name != RECORDED]
    for name in found.pairs:
        await found.run(name, seconds=1.0)
    full = await rounds(found, names)
    calm = await rounds(found, names, rate=CALM_RATE, connections=CALM_CONNECTIONS)
    yield {
        "name": "pair with nothing",
        "value": round(median(each.rate for each in full["nothing"])),
        "unit": "requests/s",
        "envoys_us": round(median(each.envoys_us for each in full["nothing"]), 1),
        "p50_ms": round(median(each.p50 for each in calm["nothing"]), 3),
        "p99_ms": round(median(each.p99 for each in calm["nothing"]), 3),
    }
    for name in names[1:]:
        yield compared(f"pair with {name}", full, calm, name)
    names = ["nothing", "checks"]
    full = await rounds(found, names, headers=USUAL)
    calm = await rounds(found, names, rate=CALM_RATE, connections=CALM_CONNECTIONS, headers=USUAL)
    yield compared("pair with checks, verdicts kept as long as usual", full, calm, "checks")
    fresh = await rounds(found, ["nothing", "checks"], rate=FRESH_RATE, headers=FRESH)
    yield {
        "name": "a check for every request",
        "value": round(median(each.requests / each.policy for each in fresh["checks"])),
        "unit": "checks per CPU second of Mixer",
        "p50_ms": round(median(each.p50 for each in fresh["checks"]), 3),
        "p99_ms": round(median(each.p99 for each in fresh["checks"]), 3),
        "p99_ms_with_nothing": round(median(each.p99 for each in fresh["nothing"]), 3),
    }
    yield await direct(found)
    async for result in telemetry(found):
        yield result


async def direct(found: Bench) -> dict[str, Any]:
    """Checks as the server's Envoy sends them, while Mixer has its core to itself."""
    metadata = (
        ("x-mixer-reporter", "inbound"),
        ("x-mixer-uid", "kubernetes://web-1.default"),
        ("x-mixer-address", "127.0.0.1"),
    )
    load = grpc_calls.Calls(
        port=await port_of(found.policy),
        path="/envoy.service.auth.v3.Authorization/Check",
        messages=[_check(number).SerializeToString() for number in range(USERS)],
        seconds=SECONDS,
        at_once=32,
        metadata=metadata,
        core=ENVOYS_CORE,
    )
    loop = asyncio.get_running_loop()
    costs, rates, p99 = [], [], []
    for _ in range(ROUNDS):
        before = mixer_seconds(found.policy)
        taken = await loop.run_in_executor(found.processes, grpc_calls.run, load)
        costs.append((mixer_seconds(found.policy) - before) / len(taken.latencies))
        rates.append(len(taken.latencies) / taken.seconds)
        p99.append(taken.percentile(99))
    return {
        "name": "checks without Envoy, 32 at a time",
        "value": round(1 / median(costs)),
        "unit": "checks per CPU second of Mixer",
        "per_second": round(median(rates)),
        "p99_ms": round(median(p99), 3),
    }


def _check(number: int) -> CheckRequest:
    request = CheckRequest()
    context = request.attributes
    for side, name in ((context.source, "client"), (context.destination, "web")):
        side.principal = f"spiffe://cluster.local/ns/default/sa/{name}"
        side.address.socket_address.address = "127.0.0.1"
        side.address.socket_address.port_value = PORT
    http = context.request.http
    http.method, http.path, http.scheme = "GET", "/items", "http"
    http.host, http.protocol = f"{HOST}:{PORT}", "HTTP/1.1"
    http.headers.update(
        {
            ":authority": http.host,
            ":method": http.method,
            ":path": http.path,
            ":scheme": http.scheme,
            "accept": "*/*",
            "user-agent": "bench",
            "x-envoy-attempt-count": "1",
            "x-forwarded-client-cert": "By=spiffe://cluster.local/ns/default/sa/web;Hash=5a13c862",
            "x-forwarded-proto": "http",
            "x-mast-peer": "kubernetes://client-1.default,127.0.0.2",
            "x-request-id": "237bad45-462f-4d83-974f-c7f12adab87a",
            "x-user": f"user-{number}",
        }
    )
    service = context.route_metadata_context.filter_metadata["istio.mixer"]
    service["destination.service.host"] = HOST
    service["destination.service.name"] = "web"
    service["destination.service.namespace"] = "default"
    service["destination.service.uid"] = "istio://default/services/web"
    return request


def compared(
    name: str,
    full: Mapping[str, Sequence[Run]],
    calm: Mapping[str, Sequence[Run]],
    pair: str,
) -> dict[str, Any]:
    """What a pair costs beside the one with nothing: under full load, and calmly for latencies."""
    runs = full[pair]
    hits = 1 - sum(each.checks for each in runs) / sum(each.requests for each in runs)
    return {
        "name": name,
        "value": round(over(full, pair, lambda one, two: one.rate / two.rate), 3),
        "unit": "of the rate with nothing",
        "envoys_us_added": round(
            over(full, pair, lambda one, two: one.envoys_us - two.envoys_us), 1
        ),
        "hit_ratio": round(hits, 3),
        "p50_ms_added": round(over(calm, pair, lambda one, two: one.p50 - two.p50), 3),
        "p90_ms_added": round(over(calm, pair, lambda one, two: one.p90 - two.p90), 3),
        "p99_ms_added": round(over(calm, pair, lambda one, two: one.p99 - two.p99), 3),
        "policy_vcpu_per_1000": round(median(x.policy / x.requests * 1000 for x in runs), 4),
        "telemetry_vcpu_per_1000": round(median(x.telemetry / x.requests * 1000 for x in runs), 4),
    }


async def telemetry(found: Bench) -> AsyncIterator[dict[str, Any]]:
    """Entries as the pair's Envoys sent them, as fast as Mixer takes them; and many series."""
    each = found.recorded.entries
    times = REPLAYED // each
    await found.taken(found.recorded.streams, 1, each)
    rates = []
    for _ in range(ROUNDS):
        spent = await found.taken(found.recorded.streams, times, times * each)
        rates.append(times * each / spent)
    yield {
        "name": "access-log entries over gRPC",
        "value": round(median(rates)),
        "unit": "entries per CPU second of Mixer",
        "entries": times * each,
        "entries_a_message": round(each / sum(map(len, found.recorded.streams)), 1),
    }
    process = psutil.Process(found.telemetry.process.pid)
    before = process.memory_info().rss
    number = SERIES // SERIES_OF_A_REQUEST
    spent = await found.taken([found.recorded.varied(number, BATCH)], 1, number)
    yield {
        "name": "memory of 100,000 series",
        "value": round((process.memory_info().rss - before) / 2**20),
        "unit": "MiB",
        "resident_mib": round(process.memory_info().rss / 2**20),
        "new_label_sets_per_cpu_second": round(number / spent),
    }


async def _print() -> None:
    async with bench() as found:
        async for result in measure(found):
            sys.stdout.write(json.dumps(result) + "\n")
            sys.stdout.flush()


def main() -> None:
    """Print one JSON object a line."""
    configure_logging("bench", "error")
    asyncio.run(_print())


if __name__ == "__main__":
    main()
