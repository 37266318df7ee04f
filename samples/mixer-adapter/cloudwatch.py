"""A sink out of process: metrics to Amazon CloudWatch, twenty in a request, and logs.

`python cloudwatch.py --listen HOST:PORT --region REGION`, where the compiled modules are on
PYTHONPATH; the credentials are those of the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
AWS_SESSION_TOKEN). Mixer never waits for CloudWatch: what finds no room in the queue is refused,
what CloudWatch does not take is told and lost.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import cloudwatch_pb2
import grpc
from cloudwatch_requests import Call, Datum, Event, calls, datum, event
from signing import Credentials, authorization
from values import Refused

from istio.mixer.adapter.model.v1beta1 import report_pb2
from istio.mixer.template.logentry import template_handler_service_pb2_grpc as logentry_grpc
from istio.mixer.template.metric import template_handler_service_pb2_grpc as metric_grpc

BATCH = 20
MAX_QUEUED = 10_000
EVERY_SECONDS = 1.0
TIMEOUT = aiohttp.ClientTimeout(total=10)

Item = Datum | Event


class Sink:
    """What waits for CloudWatch."""

    def __init__(self, endpoints: Callable[[str], str], credentials: Credentials) -> None:
        """``endpoints`` gives the URL of a service."""
        self._endpoints = endpoints
        self._credentials = credentials
        self._queue: asyncio.Queue[Item | None] = asyncio.Queue(MAX_QUEUED)

    def put(self, data: Sequence[Item]) -> int:
        """Queue data; how many found no room."""
        for taken, each in enumerate(data):
            try:
                self._queue.put_nowait(each)
            except asyncio.QueueFull:
                return len(data) - taken
        return 0

    async def end(self) -> None:
        """Nothing more comes."""
        await self._queue.put(None)

    async def run(self) -> None:
        """Send batches, when they are full or a second old, until the end."""
        more = True
        async with aiohttp.ClientSession(timeout=TIMEOUT) as session:
            while more:
                batch, more = await self._batch()
                await self._send(session, batch)

    async def _batch(self) -> tuple[Sequence[Item], bool]:
        """What goes together, and whether there is more to come."""
        found: list[Item] = []
        deadline = None
        while len(found) < BATCH:
            try:
                async with asyncio.timeout_at(deadline):
                    each = await self._queue.get()
            except TimeoutError:
                break
            if each is None:
                return found, False
            deadline = deadline or asyncio.get_running_loop().time() + EVERY_SECONDS
            found.append(each)
        return found, True

    async def _send(self, session: aiohttp.ClientSession, batch: Sequence[Item]) -> None:
        for call in calls(batch):
            url = self._endpoints(call.service)
            try:
                async with session.post(
                    url, data=call.body, headers=self._headers(url, call)
                ) as answer:
                    if not answer.ok:
                        told = f"{answer.status} {await answer.text()}"
                        print(f"lost {call.items}: {told}", flush=True)
            except (aiohttp.ClientError, TimeoutError) as error:
                print(f"lost {call.items}: {error!r}", flush=True)

    def _headers(self, url: str, call: Call) -> dict[str, str]:
        at = urlsplit(url)
        headers = {
            **call.headers,
            "host": at.netloc,
            "x-amz-date": datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ"),
        }
        if self._credentials.session_token:
            headers["x-amz-security-token"] = self._credentials.session_token
        own = replace(self._credentials, service=call.service)
        return {
            **headers,
            "authorization": authorization("POST", at.path or "/", headers, call.body, own),
        }


class CloudWatch(
    metric_grpc.HandleMetricServiceServicer, logentry_grpc.HandleLogEntryServiceServicer
):
    """The services that Mixer calls."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    async def HandleMetric(
        self, request: Any, context: grpc.aio.ServicerContext
    ) -> report_pb2.ReportResult:
        """Queue what is good; tell of the rest."""
        params = await _params(request, context, "namespace")
        at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return await self._taken(request, context, lambda each: datum(each, params, at))

    async def HandleLogEntry(
        self, request: Any, context: grpc.aio.ServicerContext
    ) -> report_pb2.ReportResult:
        """Queue what is good; tell of the rest."""
        params = await _params(request, context, "log_group_name")
        at = int(datetime.now(UTC).timestamp() * 1000)
        return await self._taken(request, context, lambda each: event(each, params, at))

    async def _taken(
        self, request: Any, context: grpc.aio.ServicerContext, read: Callable[[Any], Item]
    ) -> report_pb2.ReportResult:
        items, complaints = [], []
        for instance in request.instances:
            try:
                items.append(read(instance))
            except Refused as error:
                complaints.append(str(error))
        dropped = self._sink.put(items)
        if dropped:
            text = f"{dropped} dropped, CloudWatch is too slow"
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, text)
        if complaints:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "; ".join(complaints))
        return report_pb2.ReportResult()


async def _params(
    request: Any, context: grpc.aio.ServicerContext, needed: str
) -> cloudwatch_pb2.Params:
    params = cloudwatch_pb2.Params()
    if not request.adapter_config.Unpack(params) or not getattr(params, needed):
        name = params.DESCRIPTOR.fields_by_name[needed].json_name
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"{name}: must not be empty")
    return params


async def serve(arguments: argparse.Namespace) -> None:
    """Take telemetry until SIGTERM, then send the rest."""
    credentials = Credentials(
        os.environ["AWS_ACCESS_KEY_ID"],
        os.environ["AWS_SECRET_ACCESS_KEY"],
        arguments.region,
        "monitoring",
        os.environ.get("AWS_SESSION_TOKEN", ""),
    )

    def endpoint(service: str) -> str:
        return arguments.endpoint or f"https://{service}.{arguments.region}.amazonaws.com/"

    sink = Sink(endpoint, credentials)
    server, services = grpc.aio.server(), CloudWatch(sink)
    metric_grpc.add_HandleMetricServiceServicer_to_server(services, server)
    logentry_grpc.add_HandleLogEntryServiceServicer_to_server(services, server)
    port = server.add_insecure_port(arguments.listen)
    await server.start()
    print(f"listening on {arguments.listen.rpartition(':')[0]}:{port}", flush=True)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(sink.run())
        await stop.wait()
        await server.stop(grace=5)
        await sink.end()


def main() -> None:
    """Parse flags and serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--listen", default="127.0.0.1:50052", help="HOST:PORT; port 0: any")
    parser.add_argument("--region", default=os.environ.get("AWS_REGION", "us-east-1"))
    parser.add_argument("--endpoint", default="", help="instead of the region's, to try things")
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
