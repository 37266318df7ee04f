"""Adapter ``statsd``: metrics as lines over UDP (mixer.md G.1)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from google.protobuf.duration_pb2 import Duration as DurationMessage

from istio.mixer.adapter.statsd.config.config_pb2 import Params
from mast.mixer.adapters.datagrams import (
    Datagrams,
    address_problem,
    counted,
    milliseconds,
    rate_problem,
)
from mast.mixer.adapters.outbox import Outbox
from mast.mixer.core.adapter import Adapter, AdapterError, Batch, HandlerConfig
from mast.mixer.core.values import Duration, Value, text

MAX_QUEUED: Final = 65_536
_FIELD: Final = re.compile(r"""\{\{-?\s*(?:\.([A-Za-z_]\w*)|index\s+\.\s+"([^"]*)")\s*-?\}\}""")
_SPECIAL: Final = re.compile(r"[:|@\s]")


class Template:
    """A Go template of which fields of dimensions are the whole language.

    ``{{.name}}`` and ``{{index . "name"}}``; ValueError for anything else in braces.
    """

    def __init__(self, source: str) -> None:
        plain = _FIELD.sub("", source)
        if "{{" in plain or "}}" in plain:
            raise ValueError(
                f'{source!r}: only {{{{.name}}}} and {{{{index . "name"}}}} are allowed'
            )
        self._source = source

    @property
    def names(self) -> frozenset[str]:
        """The dimensions that it needs."""
        return frozenset(name or other for name, other in _FIELD.findall(self._source))

    def filled(self, dimensions: Mapping[str, Value]) -> str:
        """The text; AdapterError names a dimension that is missing."""

        def value(found: re.Match[str]) -> str:
            name = found[1] or found[2]
            if name not in dimensions:
                raise AdapterError(f"name_template {self._source!r}: no dimension {name!r}")
            return text(dimensions[name])

        return _FIELD.sub(value, self._source)


class Statsd:
    """The metrics of one handler."""

    def __init__(self, params: Params, random: Callable[[], float]) -> None:
        """``random`` is uniform over [0, 1): it decides what is sampled."""
        self._params = params
        self._random = random
        self._templates = {
            name: Template(info.name_template or name) for name, info in params.metrics.items()
        }
        self._datagrams = Datagrams(params.address)
        self._outbox = Outbox(
            "statsd",
            self._datagrams.send,
            every=params.flush_duration.ToTimedelta(),
            limit=MAX_QUEUED,
            batch=params.flush_bytes,
            weight=lambda line: len(line.encode()) + 1,
        )

    def report(self, batches: Sequence[Batch]) -> Sequence[str]:
        """Queue the lines of records; tells those that have no number."""
        errors: list[str] = []
        lines = [line for batch in batches for line in self._lines(batch, errors)]
        return (*errors, *self._outbox.put(lines))

    def _lines(self, batch: Batch, errors: list[str]) -> Iterator[str]:
        name = batch.instance.name
        info = self._params.metrics.get(name)
        if info is None:
            errors.append(f"statsd: no metric is configured for {name}")
            return
        rate = self._params.sampling_rate
        for value in batch.values or ():
            try:
                shown = self._templates[name].filled(batch.instance.fields["dimensions"])
                measured = _measured(name, info.type, value)
            except AdapterError as error:
                errors.append(f"statsd: {error}")
                continue
            if rate >= 1 or self._random() < rate:
                sampled = f"|@{rate:g}" if rate < 1 else ""
                clean = _SPECIAL.sub("_", self._params.prefix + shown)
                yield f"{clean}:{measured}{sampled}"

    async def run(self) -> None:
        """Send what is queued."""
        await self._outbox.run()

    async def close(self) -> None:
        """Send the rest and let go of the socket."""
        await self._outbox.close()
        self._datagrams.close()


def _measured(name: str, kind: Params.MetricInfo.Type.ValueType, value: Value | None) -> str:
    """Value and type; a distribution of numbers counts (G.1)."""
    if kind == Params.MetricInfo.DISTRIBUTION and isinstance(value, Duration):
        return f"{milliseconds(value)}|ms"
    return f"{counted(name, value)}|{'g' if kind == Params.MetricInfo.GAUGE else 'c'}"


def _validate(config: HandlerConfig) -> Sequence[str]:
    params = config.params
    return [problem for problem in _problems(params, config) if problem]


def _problems(params: Params, config: HandlerConfig) -> Iterator[str]:
    yield address_problem(params.address)
    yield rate_problem("sampling_rate", params.sampling_rate)
    if params.flush_bytes <= 0:
        yield f"flush_bytes: {params.flush_bytes} must be > 0"
    if params.flush_duration.ToTimedelta() <= timedelta():
        yield "flush_duration: must be > 0"
    instances = {each.name: each for each in config.instances}
    for name, info in sorted(params.metrics.items()):
        yield from (f"metrics[{name}].{each}" for each in _metric(info, instances.get(name)))


def _metric(info: Params.MetricInfo, instance: Any) -> Iterator[str]:
    if info.type == Params.MetricInfo.UNKNOWN:
        yield "type: must be COUNTER, GAUGE or DISTRIBUTION"
    try:
        wanted = Template(info.name_template).names
    except ValueError as error:
        yield f"name_template: {error}"
        return
    if instance is not None:
        missing = sorted(name for name in wanted if f"dimensions[{name}]" not in instance.types)
        if missing:
            yield f"name_template: instance {instance.name} has no dimension {missing[0]!r}"


def adapter(random: Callable[[], float]) -> Adapter:
    """The adapter; ``random`` is uniform over [0, 1)."""

    def build(config: HandlerConfig) -> Statsd:
        return Statsd(config.params, random)

    return Adapter(
        name="statsd",
        templates=frozenset({"metric"}),
        defaults=Params(
            address="localhost:8125",
            flush_duration=DurationMessage(nanos=300_000_000),
            flush_bytes=512,
            sampling_rate=1.0,
        ),
        build=build,
        validate=_validate,
    )
