"""A sink out of process: metrics, logs and traces to Google Cloud (once called Stackdriver).

`python stackdriver.py --listen HOST:PORT --key FILE`, where the compiled modules are on PYTHONPATH;
the key is that of a service account, without it the account of the machine counts. Mixer never
waits for Google: what finds no room is refused, what Google does not take is told and lost.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import aiohttp
import grpc
import stackdriver_pb2
from google_access import METADATA, Tokens
from stackdriver_entries import entry, span
from stackdriver_series import Metrics
from values import Refused

from istio.mixer.adapter.model.v1beta1 import report_pb2
from istio.mixer.template.logentry import template_handler_service_pb2_grpc as logentry_grpc
from istio.mixer.template.metric import template_handler_service_pb2_grpc as metric_grpc
from istio.mixer.template.tracespan import template_handler_service_pb2_grpc as tracespan_grpc

ENDPOINTS = {
    "monitoring": "https://monitoring.googleapis.com",
    "logging": "https://logging.googleapis.com",
    "cloudtrace": "https://cloudtrace.googleapis.com",
}
MAX_QUEUED, BATCH, MAX_SERIES_A_CALL = 10_000, 500, 200
EVERY_SECONDS, PUSH_SECONDS, SHORTEST_PUSH = 1.0, 60.0, 10.0
TIMEOUT = aiohttp.ClientTimeout(total=10)


def now() -> str:
    """The time of day (RFC 3339)."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class Sink:
    """What waits for Google Cloud."""

    def __init__(self, endpoints: Mapping[str, str], tokens: Tokens, push: float | None) -> None:
        """``push`` seconds between two pushes of metrics, None: as handlers say."""
        self.metrics = Metrics()
        self._endpoints = endpoints
        self._tokens = tokens
        self._push = push
        self._entries: list[dict[str, Any]] = []
        self._spans: list[tuple[str, dict[str, Any]]] = []
        self._ended = asyncio.Event()

    def heed(self, params: stackdriver_pb2.Params) -> None:
        """Take the interval of the first handler that is seen."""
        if self._push is None:
            seconds = params.push_interval.ToTimedelta().total_seconds() or PUSH_SECONDS
            self._push = max(seconds, SHORTEST_PUSH)

    def put_entries(self, found: Sequence[dict[str, Any]]) -> int:
        """Queue log entries; how many found no room."""
        return _put(self._entries, found)

    def put_spans(self, project: str, found: Sequence[dict[str, Any]]) -> int:
        """Queue spans; how many found no room."""
        return _put(self._spans, [(project, each) for each in found])

    def end(self) -> None:
        """Nothing more comes."""
        self._ended.set()

    async def run(self) -> None:
        """Send entries and spans every second, metrics every push, until the end."""
        clock = asyncio.get_running_loop().time
        pushed = clock()
        async with aiohttp.ClientSession(timeout=TIMEOUT) as session:
            while not self._ended.is_set():
                try:
                    async with asyncio.timeout(min(EVERY_SECONDS, self._push or EVERY_SECONDS)):
                        await self._ended.wait()
                except TimeoutError:
                    pass
                await self._flush(session)
                if self._ended.is_set() or clock() - pushed >= (self._push or PUSH_SECONDS):
                    pushed = clock()
                    await self._push_metrics(session)

    async def _flush(self, session: aiohttp.ClientSession) -> None:
        while self._entries:
            batch, self._entries[:BATCH] = self._entries[:BATCH], []
            await self._send(session, "logging", "/v2/entries:write", {"entries": batch})
        while self._spans:
            taken, self._spans[:BATCH] = self._spans[:BATCH], []
            for project in sorted({name for name, _ in taken}):
                spans = [each for name, each in taken if name == project]
                path = f"/v2/projects/{project}/traces:batchWrite"
                await self._send(session, "cloudtrace", path, {"spans": spans})

    async def _push_metrics(self, session: aiohttp.ClientSession) -> None:
        for project, series in self.metrics.push(now()).items():
            for at in range(0, len(series), MAX_SERIES_A_CALL):
                body = {"timeSeries": series[at : at + MAX_SERIES_A_CALL]}
                path = f"/v3/projects/{project}/timeSeries"
                await self._send(session, "monitoring", path, body)

    async def _send(
        self, session: aiohttp.ClientSession, service: str, path: str, body: dict[str, Any]
    ) -> None:
        url = self._endpoints[service] + path
        try:
            headers = await self._tokens.headers(session)
            async with session.post(url, json=body, headers=headers) as answer:
                if not answer.ok:
                    print(f"{service}: lost: {answer.status} {await answer.text()}", flush=True)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError, KeyError) as error:
            print(f"{service}: lost: {error!r}", flush=True)


def _put(queue: list[Any], found: Sequence[Any]) -> int:
    room = max(MAX_QUEUED - len(queue), 0)
    queue.extend(found[:room])
    return max(len(found) - room, 0)


class Stackdriver(
    metric_grpc.HandleMetricServiceServicer,
    logentry_grpc.HandleLogEntryServiceServicer,
    tracespan_grpc.HandleTraceSpanServiceServicer,
):
    """The services that Mixer calls."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    async def HandleMetric(
        self, request: Any, context: grpc.aio.ServicerContext
    ) -> report_pb2.ReportResult:
        """Count what is good; tell of the rest."""
        params, at, complaints = await self._params(request, context), now(), []
        for instance in request.instances:
            try:
                self._sink.metrics.add(instance, params, at)
            except Refused as error:
                complaints.append(str(error))
        return await _told(context, complaints)

    async def HandleLogEntry(
        self, request: Any, context: grpc.aio.ServicerContext
    ) -> report_pb2.ReportResult:
        """Queue entries."""
        params = await self._params(request, context)
        found, complaints = [], []
        for instance in request.instances:
            try:
                found.append(entry(instance, params))
            except Refused as error:
                complaints.append(str(error))
        return await _told(context, complaints, self._sink.put_entries(found))

    async def HandleTraceSpan(
        self, request: Any, context: grpc.aio.ServicerContext
    ) -> report_pb2.ReportResult:
        """Queue the spans of sampled traces."""
        params = await self._params(request, context)
        spans = [each for one in request.instances if (each := span(one, params)) is not None]
        return await _told(context, [], self._sink.put_spans(params.project_id, spans))

    async def _params(
        self, request: Any, context: grpc.aio.ServicerContext
    ) -> stackdriver_pb2.Params:
        params = stackdriver_pb2.Params()
        if not request.adapter_config.Unpack(params) or not params.project_id:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "projectId: must not be empty")
        self._sink.heed(params)
        return params


async def _told(
    context: grpc.aio.ServicerContext, complaints: Sequence[str], dropped: int = 0
) -> report_pb2.ReportResult:
    if dropped:
        text = f"{dropped} dropped, Google Cloud is too slow"
        await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, text)
    if complaints:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "; ".join(complaints))
    return report_pb2.ReportResult()


async def serve(arguments: argparse.Namespace) -> None:
    """Take telemetry until SIGTERM, then send the rest."""
    endpoints = dict.fromkeys(ENDPOINTS, arguments.endpoint) if arguments.endpoint else ENDPOINTS
    tokens = Tokens(arguments.key, arguments.metadata)
    sink = Sink(endpoints, tokens, arguments.push_seconds)
    server, services = grpc.aio.server(), Stackdriver(sink)
    metric_grpc.add_HandleMetricServiceServicer_to_server(services, server)
    logentry_grpc.add_HandleLogEntryServiceServicer_to_server(services, server)
    tracespan_grpc.add_HandleTraceSpanServiceServicer_to_server(services, server)
    port = server.add_insecure_port(arguments.listen)
    await server.start()
    print(f"listening on {arguments.listen.rpartition(':')[0]}:{port}", flush=True)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(sink.run())
        await stop.wait()
        await server.stop(grace=5)
        sink.end()


def main() -> None:
    """Parse flags and serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--listen", default="127.0.0.1:50053", help="HOST:PORT; port 0: any")
    key = os.environ.get("GOOGLE_APPLICATION_CREDENTIALS", "")
    parser.add_argument("--key", default=key, help="a service account's JSON")
    parser.add_argument("--endpoint", default="", help="instead of Google's, to try things")
    parser.add_argument("--metadata", default=METADATA, help="who knows the machine's account")
    parser.add_argument("--push-seconds", type=float, help="instead of the handler's interval")
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
