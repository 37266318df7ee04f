"""What Mixer costs: expressions, checks and records of reports, with the default telemetry."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import asynccontextmanager
from multiprocessing import get_context
from statistics import quantiles
from typing import Any

from istio.mixer.v1 import mixer_pb2
from mast.common.expressions.tree import EvaluationError
from mast.common.process.serving import Listen, serving
from mast.common.process.telemetry import Metrics, configure_logging
from mast.mixer.adapters.catalog import Edges, adapters
from mast.mixer.api.mixer import Admission, MixerServicer, register
from mast.mixer.core.config.snapshot import compile_snapshot
from mast.mixer.core.engine import QuotaAsk
from mast.mixer.core.series import Registry
from mast.mixer.core.shedding import LatencyLimiter, Mode, RateLimiter, Shedder
from mast.mixer.core.templates import TEMPLATES
from mast.mixer.core.values import Attributes, Duration, Timestamp, Value
from mast.mixer.core.wire import Numbering, encode, encode_shared
from mast.mixer.core.workloads import Pod, Workloads
from mast.mixer.runtime.calls import Calls
from mast.mixer.runtime.engine import LiveEngine
from mast.mixer.runtime.handlers import Handlers
from mast.mixer.runtime.instruments import Instruments
from tests.bench.load import grpc_calls
from tests.bench.load.http_calls import Taken
from tests.support.mixer_config import NOW, TELEMETRY, entries, no_answer

SECONDS = 2.0
BATCH = 100
# How many pairs of workloads talk: so many label sets are alive.
PAIRS = 200

POLICY = """
kind: handler
metadata: {name: lists}
spec: {compiledAdapter: listchecker, params: {overrides: [v1, v2], blacklist: false}}
---
kind: instance
metadata: {name: version}
spec: {compiledTemplate: listentry, params: {value: 'source.labels["version"] | "none"'}}
---
kind: rule
metadata: {name: versions}
spec:
  match: destination.service.namespace == "shop"
  actions: [{handler: lists, instances: [version]}]
---
kind: handler
metadata: {name: quotas}
spec:
  compiledAdapter: memquota
  params:
    quotas: [{name: ratelimit.instance.istio-system, max_amount: 1000000, valid_duration: 1s}]
---
kind: instance
metadata: {name: ratelimit}
spec: {compiledTemplate: quota, params: {dimensions: {source: 'source.workload.name | "unknown"'}}}
---
kind: rule
metadata: {name: quota}
spec: {actions: [{handler: quotas, instances: [ratelimit]}]}
"""


def result(name: str, value: float, unit: str, **more: Any) -> None:
    """Print a measurement."""
    sys.stdout.write(json.dumps({"name": name, "value": round(value, 3), "unit": unit, **more}))
    sys.stdout.write("\n")
    sys.stdout.flush()


def workloads() -> Workloads:
    """Two pods for each pair."""
    found = Workloads()
    for number in range(2 * PAIRS):
        name = f"app{number}-v1-5d4f8c"
        labels = {"app": f"app{number}", "version": "v1", "pod-template-hash": "5d4f8c"}
        address = bytes([10, 0, number >> 8, number & 255])
        found.put(name, Pod(name, "shop", (address,), labels, workload=f"app{number}-v1"))
    return found


def request(number: int) -> dict[str, Value]:
    """A request as a 1.4 sidecar tells it, inbound, of one pair."""
    pair = number % PAIRS
    host = f"app{pair}.shop.svc.cluster.local"
    return {
        "context.reporter.kind": "inbound",
        "context.reporter.uid": f"kubernetes://app{pair}-v1-5d4f8c.shop",
        "context.protocol": "http",
        "context.proxy_error_code": "-",
        "context.proxy_version": "1.4.10",
        "destination.uid": f"kubernetes://app{pair}-v1-5d4f8c.shop",
        "destination.namespace": "shop",
        "destination.ip": bytes([10, 0, 0, pair]),
        "destination.port": 9080,
        "destination.service.host": host,
        "destination.service.name": f"app{pair}",
        "destination.service.namespace": "shop",
        "destination.service.uid": f"istio://shop/services/app{pair}",
        "destination.principal": f"cluster.local/ns/shop/sa/app{pair}",
        "source.uid": f"kubernetes://app{PAIRS + pair}-v1-5d4f8c.shop",
        "source.namespace": "shop",
        "source.principal": f"cluster.local/ns/shop/sa/app{PAIRS + pair}",
        "source.user": f"cluster.local/ns/shop/sa/app{PAIRS + pair}",
        "origin.ip": bytes([10, 0, 1, pair]),
        "connection.mtls": True,
        "connection.requested_server_name": f"outbound_.9080_._.{host}",
        "request.headers": {
            ":authority": f"app{pair}:9080",
            ":method": "GET",
            ":path": f"/items/{number}",
            "user-agent": "python-requests/2.20",
            "accept": "*/*",
            "accept-encoding": "gzip, deflate",
            "x-request-id": f"id-{number}",
            "x-forwarded-proto": "http",
            "x-b3-traceid": f"{number:032x}",
            "x-b3-spanid": f"{number:016x}",
            "x-b3-sampled": "1",
            "content-length": "0",
        },
        "request.host": f"app{pair}:9080",
        "request.method": "GET",
        "request.path": f"/items/{number}",
        "request.url_path": f"/items/{number}",
        "request.scheme": "http",
        "request.useragent": "python-requests/2.20",
        "request.time": Timestamp(1_580_464_800 * 10**9 + number),
        "request.size": 0,
        "request.total_size": 600,
        "response.code": 200,
        "response.duration": Duration(1_000_000 + number * 1000),
        "response.headers": {":status": "200", "content-type": "application/json", "server": "x"},
        "response.size": number,
        "response.total_size": 300 + number,
        "response.time": Timestamp(1_580_464_801 * 10**9 + number),
        "check.cache_hit": False,
        "quota.cache_hit": False,
    }


@asynccontextmanager
async def engine() -> AsyncIterator[LiveEngine]:
    """A live engine with the default telemetry and some policy."""
    instruments = Instruments(Metrics("mixer"))
    edges = Edges(lambda: NOW, time.monotonic, no_answer, Registry(200_000), workloads())
    async with asyncio.TaskGroup() as tasks:
        live = LiveEngine(
            Handlers(tasks, instruments), Calls(instruments), instruments, "istio-system"
        )
        found = compile_snapshot(entries(TELEMETRY, POLICY), TEMPLATES, adapters(edges))
        if found.problems:
            raise SystemExit("\n".join(map(str, found.problems)))
        await live.swap(found)
        yield live
        await live.close()


def expressions() -> None:
    """All expressions of the default telemetry on a request, over and over."""
    edges = Edges(lambda: NOW, time.monotonic, no_answer, Registry(1), Workloads())
    found = compile_snapshot(entries(TELEMETRY), TEMPLATES, adapters(edges))
    compiled = [
        expression.evaluate
        for rule in found.rules
        for action in rule.actions
        for instance in action.instances
        for expression in instance.expressions.values()
    ]
    compiled += [rule.match.evaluate for rule in found.rules if rule.match]
    attributes = request(1)
    get = attributes.get

    def once() -> None:
        for evaluate in compiled:
            try:
                evaluate(get)
            except EvaluationError:
                continue

    count, seconds = repeat(once)
    result("expression evaluations", count * len(compiled) / seconds, "1/s of CPU")
    simple = found.expressions.compile('destination.service.namespace == "shop"').evaluate

    def comparisons() -> None:
        for _ in range(1000):
            simple(get)

    count, seconds = repeat(comparisons)
    result("simple comparisons", count * 1000 / seconds, "1/s of CPU")


def repeat(once: Callable[[], object], seconds: float = SECONDS) -> tuple[int, float]:
    """How often something ran and how much CPU time it took."""
    count, start = 0, time.process_time()
    while (spent := time.process_time() - start) < seconds:
        once()
        count += 1
    return count, spent


async def checks() -> None:
    """Checks with two rules and a quota, without gRPC."""
    async with engine() as live:
        requests: list[Attributes] = [request(number) for number in range(1000)]
        latencies: list[float] = []
        count, start = 0, time.process_time()
        while (spent := time.process_time() - start) < SECONDS:
            began = time.perf_counter()
            await live.check(
                requests[count % 1000], {"ratelimit": QuotaAsk(1)}, deduplication_id=str(count)
            )
            latencies.append(time.perf_counter() - began)
            count += 1
        result(
            "checks in process",
            count / spent,
            "1/s of CPU",
            p99_ms=round(quantiles(latencies, n=100)[98] * 1000, 3),
        )


def report_message(start: int) -> mixer_pb2.ReportRequest:
    """A batch as 1.4 proxies send it: records that stand alone and share their words."""
    numbering = Numbering()
    records = [encode_shared(request(start + number), numbering) for number in range(BATCH)]
    return mixer_pb2.ReportRequest(
        attributes=records,
        default_words=numbering.own,
        global_word_count=222,
        repeated_attributes_semantics=mixer_pb2.ReportRequest.INDEPENDENT_ENCODING,
    )


async def reports() -> None:
    """Batches of records, without gRPC."""
    batches = [report_message(start).SerializeToString() for start in range(0, 2000, BATCH)]
    idle = Shedder(Mode.DISABLED, RateLimiter(0, 0), LatencyLimiter(0, 1, 0))
    async with engine() as live:
        servicer = MixerServicer(live, Admission(idle, time.monotonic, lambda _: None))
        context: Any = None  # only errors need it
        count, start = 0, time.process_time()
        while (spent := time.process_time() - start) < SECONDS:
            received = mixer_pb2.ReportRequest.FromString(batches[count % len(batches)])
            await servicer.Report(received, context)
            count += 1
        result("report records, wire to series", count * BATCH / spent, "1/s of CPU")
        records = [[request(start + number) for number in range(BATCH)] for start in range(20)]
        count, start = 0, time.process_time()
        while (spent := time.process_time() - start) < SECONDS:
            await live.report(records[count % 20])
            count += 1
        result("report records, attributes to series", count * BATCH / spent, "1/s of CPU")


def check_messages() -> list[bytes]:
    """Checks as 1.4 sidecars send them, with a quota."""
    return [
        mixer_pb2.CheckRequest(
            attributes=encode(request(number)),
            global_word_count=222,
            deduplication_id=str(number),
            quotas={"ratelimit": mixer_pb2.CheckRequest.QuotaParams(amount=1)},
        ).SerializeToString()
        for number in range(500)
    ]


async def over_grpc() -> None:
    """The same through a gRPC server; its CPU time is all of this process."""
    idle = Shedder(Mode.DISABLED, RateLimiter(0, 0), LatencyLimiter(0, 1, 0))
    reports = [report_message(start).SerializeToString() for start in range(0, 2000, BATCH)]
    async with engine() as live:
        servicer = MixerServicer(live, Admission(idle, time.monotonic, lambda _: None))
        with ProcessPoolExecutor(1, get_context("spawn")) as processes:
            async with serving(
                lambda server: register(server, servicer), [Listen("127.0.0.1:0")]
            ) as running:
                port = running.ports[0]
                taken, spent = await called(processes, port, "Check", check_messages())
                result(
                    "checks over gRPC",
                    len(taken.latencies) / spent,
                    "1/s of server CPU",
                    per_second=round(len(taken.latencies) / taken.seconds),
                    p50_ms=round(taken.percentile(50), 3),
                    p99_ms=round(taken.percentile(99), 3),
                )
                taken, spent = await called(processes, port, "Report", reports)
                calls = len(taken.latencies)
                result("report calls over gRPC", calls / spent, "1/s of server CPU", records=BATCH)
                result("report records over gRPC", calls * BATCH / spent, "1/s of server CPU")


async def called(
    processes: Executor, port: int, method: str, messages: Sequence[bytes]
) -> tuple[Taken, float]:
    """What calls from another process took, and processor time of this one."""
    path = f"/istio.mixer.v1.Mixer/{method}"
    loop = asyncio.get_running_loop()
    spent = 0.0
    for seconds in (0.5, 2 * SECONDS):  # The first warms up.
        calls = grpc_calls.Calls(port=port, path=path, messages=messages, seconds=seconds)
        start = time.process_time()
        taken = await loop.run_in_executor(processes, grpc_calls.run, calls)
        spent = time.process_time() - start
    return taken, spent


def main() -> None:
    """Run everything."""
    configure_logging("bench", "error", "console")
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    expressions()
    asyncio.run(checks())
    asyncio.run(reports())
    asyncio.run(over_grpc())


if __name__ == "__main__":
    main()
