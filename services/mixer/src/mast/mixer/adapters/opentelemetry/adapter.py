"""The handler: counts at once, sends when it is time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Final

import structlog
from google.protobuf.duration_pb2 import Duration as DurationMessage

from mast.mixer.adapters.datagrams import rate_problem
from mast.mixer.adapters.opentelemetry.collector import Collector
from mast.mixer.adapters.opentelemetry.messages import LogRecord, Span
from mast.mixer.adapters.opentelemetry.metrics import Metrics, problems
from mast.mixer.adapters.opentelemetry.records import log_record, service, span
from mast.mixer.adapters.opentelemetry.transports import place_problem
from mast.mixer.adapters.outbox import Outbox
from mast.mixer.adapters.zipkin import sampled
from mast.mixer.core.adapter import Adapter, AdapterError, Batch, HandlerConfig, Instance
from mast.mixer.core.values import NANOS, Timestamp
from mastapi.opentelemetry.v1.opentelemetry_pb2 import Params

log = structlog.get_logger()

NAME: Final = "opentelemetry"
_POSITIVE: Final = ("max_batch", "max_queued", "max_series")
_LASTING: Final = ("timeout", "metric_interval", "batch_interval")


class OpenTelemetry:
    """The metrics of one handler, and its log entries and spans on their way."""

    def __init__(
        self, config: HandlerConfig, now: Callable[[], Timestamp], clock: Callable[[], float]
    ) -> None:
        params: Params = config.params
        self._now = now
        self._share = params.sample_probability
        self._batch = params.max_batch
        self._interval = params.metric_interval.ToTimedelta().total_seconds()
        self._metrics = Metrics(config, clock, now().ns - int(clock() * NANOS))
        self._collector = Collector(params)
        every, limit = params.batch_interval.ToTimedelta(), params.max_queued
        self._logs = Outbox[LogRecord](
            f"{NAME} logs", self._collector.logs, every=every, limit=limit, batch=params.max_batch
        )
        self._spans = Outbox[tuple[str, Span]](
            f"{NAME} spans", self._collector.spans, every=every, limit=limit, batch=params.max_batch
        )

    def report(self, batches: Sequence[Batch]) -> Sequence[str]:
        """Count metrics, queue the rest; tells what could not be counted or found no room."""
        errors: list[str] = []
        logs: list[LogRecord] = []
        spans: list[tuple[str, Span]] = []
        for batch in batches:
            match batch.instance.template:
                case "metric":
                    errors += self._metrics.add(batch)
                case "logentry":
                    logs += [log_record(each, self._now()) for each in batch.instances()]
                case _:
                    spans += [each for one in batch.instances() for each in self._span(one)]
        return (*errors, *self._logs.put(logs), *self._spans.put(spans))

    def _span(self, instance: Instance) -> Iterator[tuple[str, Span]]:
        found = span(instance.fields, self._now())
        if found is not None and sampled(found.trace_id.hex(), self._share):
            yield service(instance.fields), found

    async def run(self) -> None:
        """Send what is there, every now and then."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._logs.run(), name=f"{NAME} logs")
            tasks.create_task(self._spans.run(), name=f"{NAME} spans")
            while True:
                await asyncio.sleep(self._interval)
                await self.export()

    async def export(self) -> None:
        """Send all metrics. What fails is in the next export again, as they are cumulative."""
        try:
            for chunk in self._metrics.chunks(self._batch):
                await self._collector.metrics(chunk)
        except (OSError, AdapterError) as error:
            log.error("adapter.send_failed", adapter=f"{NAME} metrics", error=str(error))

    async def close(self) -> None:
        """Send everything once more and hang up."""
        try:
            await self.export()
            await self._logs.close()
            await self._spans.close()
        finally:
            await self._collector.close()


def _validate(config: HandlerConfig) -> Sequence[str]:
    return [each for each in (*_problems(config.params), *problems(config)) if each]


def _problems(params: Params) -> Iterator[str]:
    yield place_problem(params)
    yield rate_problem("sample_probability", params.sample_probability)
    for name in _POSITIVE:
        if getattr(params, name) <= 0:
            yield f"{name}: {getattr(params, name)} must be > 0"
    for name in _LASTING:
        if getattr(params, name).ToTimedelta() <= timedelta():
            yield f"{name}: must be > 0"
    expiry = params.series_expiry.ToTimedelta()
    if expiry and expiry <= params.metric_interval.ToTimedelta():
        yield "series_expiry: must be longer than metric_interval, or 0"
    if bool(params.tls.client_certificate) != bool(params.tls.private_key):
        yield "tls: client_certificate and private_key belong together"


def adapter(now: Callable[[], Timestamp], clock: Callable[[], float]) -> Adapter:
    """The adapter; ``now`` is the time of day, ``clock`` seconds that never go back."""

    def build(config: HandlerConfig) -> OpenTelemetry:
        return OpenTelemetry(config, now, clock)

    return Adapter(
        name=NAME,
        templates=frozenset({"logentry", "metric", "tracespan"}),
        defaults=Params(
            address="localhost:4317",
            timeout=DurationMessage(seconds=10),
            metric_interval=DurationMessage(seconds=60),
            batch_interval=DurationMessage(seconds=1),
            max_batch=512,
            max_queued=16_384,
            max_series=10_000,
            series_expiry=DurationMessage(seconds=3600),
            sample_probability=1.0,
        ),
        build=build,
        validate=_validate,
    )
