"""A sink out of process: metrics to Amazon CloudWatch, twenty in a request.

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
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from urllib.parse import urlencode, urlsplit

import aiohttp
import cloudwatch_pb2
import grpc
from signing import Credentials, authorization
from values import filled, measured

from istio.mixer.adapter.model.v1beta1 import report_pb2
from istio.mixer.template.metric import (
    template_handler_service_pb2,
    template_handler_service_pb2_grpc,
)

BATCH = 20
MAX_QUEUED = 10_000
MAX_DIMENSIONS, MAX_LENGTH = 30, 1024
EVERY_SECONDS = 1.0
TIMEOUT = aiohttp.ClientTimeout(total=10)

Unit = cloudwatch_pb2.Params.MetricDatum.Unit
PER_SECOND = {"Seconds": 1, "Milliseconds": 1_000, "Microseconds": 1_000_000}


class Datum(NamedTuple):
    """A value of a metric."""

    namespace: str
    name: str
    value: float
    unit: str
    at: str
    dimensions: Mapping[str, str]


class Refused(ValueError):
    """An instance that is no datum."""


def datum(
    instance: template_handler_service_pb2.InstanceMsg, params: cloudwatch_pb2.Params, at: str
) -> Datum:
    """What an instance is for CloudWatch. Its dimensions have no empty values."""
    if instance.name not in params.metric_info:
        raise Refused(f"metricInfo: no {instance.name}")
    unit = Unit.Name(params.metric_info[instance.name].unit)
    found = measured(instance.value)
    if found is None:
        raise Refused(f"{instance.name}: its value is no number")
    if isinstance(found, timedelta):
        if unit not in PER_SECOND:
            raise Refused(f"metricInfo[{instance.name}].unit: {unit} is no unit of time")
        found = found.total_seconds() * PER_SECOND[unit]
    shown = [(name, each[:MAX_LENGTH]) for name, each in filled(instance.dimensions).items()]
    return Datum(params.namespace, instance.name, found, unit, at, dict(shown[:MAX_DIMENSIONS]))


def form(namespace: str, data: Sequence[Datum]) -> dict[str, str]:
    """The parameters of PutMetricData."""
    found = {"Action": "PutMetricData", "Version": "2010-08-01", "Namespace": namespace}
    for number, each in enumerate(data, 1):
        at = f"MetricData.member.{number}"
        found[f"{at}.MetricName"] = each.name
        found[f"{at}.Value"] = f"{each.value:.17g}"
        found[f"{at}.Unit"] = each.unit
        found[f"{at}.Timestamp"] = each.at
        for place, (name, value) in enumerate(each.dimensions.items(), 1):
            found[f"{at}.Dimensions.member.{place}.Name"] = name
            found[f"{at}.Dimensions.member.{place}.Value"] = value
    return found


class Sink:
    """What waits for CloudWatch."""

    def __init__(self, endpoint: str, credentials: Credentials) -> None:
        self._endpoint = endpoint
        self._credentials = credentials
        self._queue: asyncio.Queue[Datum | None] = asyncio.Queue(MAX_QUEUED)

    def put(self, data: Sequence[Datum]) -> int:
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

    async def _batch(self) -> tuple[Sequence[Datum], bool]:
        """What goes together, and whether there is more to come."""
        found: list[Datum] = []
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

    async def _send(self, session: aiohttp.ClientSession, batch: Sequence[Datum]) -> None:
        for namespace in sorted({each.namespace for each in batch}):
            data = [each for each in batch if each.namespace == namespace]
            body = urlencode(form(namespace, data)).encode()
            try:
                async with session.post(
                    self._endpoint, data=body, headers=self._headers(body)
                ) as answer:
                    if not answer.ok:
                        print(f"lost {len(data)}: {answer.status} {await answer.text()}")
            except (aiohttp.ClientError, TimeoutError) as error:
                print(f"lost {len(data)}: {error!r}", flush=True)

    def _headers(self, body: bytes) -> dict[str, str]:
        at = urlsplit(self._endpoint)
        headers = {
            "content-type": "application/x-www-form-urlencoded; charset=utf-8",
            "host": at.netloc,
            "x-amz-date": datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ"),
        }
        if self._credentials.session_token:
            headers["x-amz-security-token"] = self._credentials.session_token
        signed = authorization("POST", at.path or "/", headers, body, self._credentials)
        return {**headers, "authorization": signed}


class Metrics(template_handler_service_pb2_grpc.HandleMetricServiceServicer):
    """The service that Mixer calls."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    async def HandleMetric(
        self,
        request: template_handler_service_pb2.HandleMetricRequest,
        context: grpc.aio.ServicerContext,
    ) -> report_pb2.ReportResult:
        """Queue what is good; tell of the rest."""
        params = cloudwatch_pb2.Params()
        if not request.adapter_config.Unpack(params) or not params.namespace:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "namespace: must not be empty")
        at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        data, complaints = [], []
        for instance in request.instances:
            try:
                data.append(datum(instance, params, at))
            except Refused as error:
                complaints.append(str(error))
        dropped = self._sink.put(data)
        if dropped:
            text = f"{dropped} dropped, CloudWatch is too slow"
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, text)
        if complaints:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "; ".join(complaints))
        return report_pb2.ReportResult()


async def serve(arguments: argparse.Namespace) -> None:
    """Take metrics until SIGTERM, then send the rest."""
    credentials = Credentials(
        os.environ["AWS_ACCESS_KEY_ID"],
        os.environ["AWS_SECRET_ACCESS_KEY"],
        arguments.region,
        "monitoring",
        os.environ.get("AWS_SESSION_TOKEN", ""),
    )
    endpoint = arguments.endpoint or f"https://monitoring.{arguments.region}.amazonaws.com/"
    sink = Sink(endpoint, credentials)
    server = grpc.aio.server()
    template_handler_service_pb2_grpc.add_HandleMetricServiceServicer_to_server(
        Metrics(sink), server
    )
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
