"""Adapter ``dogstatsd``: metrics with tags as lines over UDP, as Datadog's agent takes them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Final

from mast.mixer.adapters.datagrams import (
    Datagrams,
    address_problem,
    counted,
    milliseconds,
    rate_problem,
)
from mast.mixer.adapters.outbox import Outbox
from mast.mixer.core.adapter import Adapter, AdapterError, Batch, HandlerConfig
from mast.mixer.core.values import Duration, Value, float_text, text
from mastapi.dogstatsd.v1.dogstatsd_pb2 import Params

MAX_QUEUED: Final = 65_536
_EVERY: Final = timedelta(milliseconds=100)
_SPECIAL: Final = re.compile(r"[:|@#\s]")
_IN_TAGS: Final = re.compile(r"[,|\n]")


class Dogstatsd:
    """The metrics of one handler."""

    def __init__(self, params: Params, random: Callable[[], float]) -> None:
        """``random`` is uniform over [0, 1): it decides what is sampled."""
        self._params = params
        self._random = random
        self._datagrams = Datagrams(params.address)
        self._outbox = Outbox(
            "dogstatsd",
            self._datagrams.send,
            every=_EVERY,
            limit=MAX_QUEUED,
            batch=max(params.buffer_length, 1),
        )

    def report(self, batches: Sequence[Batch]) -> Sequence[str]:
        """Queue the lines of records; tells those that have no number."""
        errors: list[str] = []
        lines = [line for batch in batches for line in self._lines(batch, errors)]
        return (*errors, *self._outbox.put(lines))

    def _lines(self, batch: Batch, errors: list[str]) -> Iterator[str]:
        info = self._params.metrics.get(batch.instance.name)
        if info is None:
            errors.append(f"dogstatsd: no metric is configured for {batch.instance.name}")
            return
        name = _SPECIAL.sub("_", self._params.prefix + info.name)
        tags = self._tags(info, batch.instance.fields["dimensions"])
        rate = self._params.sample_rate or 1.0
        for value in batch.values or ():
            try:
                measured = _measured(batch.instance.name, info.type, value)
            except AdapterError as error:
                errors.append(f"dogstatsd: {error}")
                continue
            if rate >= 1 or self._random() < rate:
                sampled = f"|@{rate:g}" if rate < 1 else ""
                yield f"{name}:{measured}{sampled}{tags}"

    def _tags(self, info: Params.MetricInfo, dimensions: Mapping[str, Value]) -> str:
        """Global tags, those of the metric, dimensions; the later of equal names counts."""
        named = {**self._params.global_tags, **info.tags}
        named |= {name: text(value) for name, value in dimensions.items()}
        shown = [_IN_TAGS.sub("_", f"{name}:{value}") for name, value in sorted(named.items())]
        return f"|#{','.join(shown)}" if shown else ""

    async def run(self) -> None:
        """Send what is queued."""
        await self._outbox.run()

    async def close(self) -> None:
        """Send the rest and let go of the socket."""
        await self._outbox.close()
        self._datagrams.close()


def _measured(name: str, kind: Params.MetricInfo.Type.ValueType, value: Value | None) -> str:
    """Value and type: durations are timings, other distributions histograms."""
    if kind == Params.MetricInfo.DISTRIBUTION:
        if isinstance(value, Duration):
            return f"{milliseconds(value)}|ms"
        if isinstance(value, float):
            return f"{float_text(value)}|h"
        return f"{counted(name, value)}|h"
    letter = "g" if kind == Params.MetricInfo.GAUGE else "c"
    if letter == "g" and isinstance(value, float):
        return f"{float_text(value)}|g"
    return f"{counted(name, value)}|{letter}"


def _validate(config: HandlerConfig) -> Sequence[str]:
    return [problem for problem in _problems(config.params) if problem]


def _problems(params: Params) -> Iterator[str]:
    yield address_problem(params.address)
    yield rate_problem("sample_rate", params.sample_rate)
    if params.buffer_length < 0:
        yield f"buffer_length: {params.buffer_length} must not be negative"
    for name, info in sorted(params.metrics.items()):
        if info.type == Params.MetricInfo.UNKNOWN:
            yield f"metrics[{name}].type: must be COUNTER, GAUGE or DISTRIBUTION"
        if not info.name:
            yield f"metrics[{name}].name: must not be empty"


def adapter(random: Callable[[], float]) -> Adapter:
    """The adapter; ``random`` is uniform over [0, 1)."""

    def build(config: HandlerConfig) -> Dogstatsd:
        return Dogstatsd(config.params, random)

    return Adapter(
        name="dogstatsd",
        templates=frozenset({"metric"}),
        defaults=Params(address="localhost:8125", prefix="istio."),
        build=build,
        validate=_validate,
    )
