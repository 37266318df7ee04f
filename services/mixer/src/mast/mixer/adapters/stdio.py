"""Adapter ``stdio``: log entries and metrics as lines of text (mixer.md G.1)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import isfinite
from typing import Any

from istio.mixer.adapter.stdio.config.config_pb2 import Params
from mast.mixer.adapters.lines import Lines, Sink
from mast.mixer.core.adapter import Adapter, Batch, HandlerConfig, Instance
from mast.mixer.core.values import Timestamp, Value, text

INFO, WARNING, ERROR = Params.INFO, Params.WARNING, Params.ERROR
_NAMES: Mapping[int, str] = {INFO: "info", WARNING: "warn", ERROR: "error"}

_SEVERITIES: Mapping[Params.Level.ValueType, Sequence[str]] = {
    INFO: ("INFORMATIONAL", "informational", "INFO", "info"),
    WARNING: ("WARNING", "warning", "WARN", "warn"),
    ERROR: ("ERROR", "error", "ERR", "err", "FATAL", "fatal"),
}


def shown(value: Value | None) -> Any:
    """A value as JSON takes it: addresses, times and durations as text (G.1)."""
    if isinstance(value, Mapping):
        return dict(sorted(value.items()))
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float) and isfinite(value):
        return value
    return text(value)


def json_line(level: str, time: str, instance: str, fields: Mapping[str, Any]) -> str:
    """``level``, ``time``, ``instance``, then the fields in their order, as one JSON object.

    A field of one of those names is written all the same, as Istio does.
    """
    head = _json({"level": level, "time": time, "instance": instance})
    return f"{head[:-1]},{_json(fields)[1:]}" if fields else head


def console_line(level: str, time: str, instance: str, fields: Mapping[str, Any]) -> str:
    """Time, level, instance and a JSON object of the fields, parted by tabs."""
    return "\t".join((time, level, instance, _json(fields)))


def _json(fields: Mapping[str, Any]) -> str:
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":"))


class Stdio:
    """Writes what it is given, from a level on, to one sink."""

    def __init__(self, params: Params, lines: Lines, now: Callable[[], Timestamp]) -> None:
        self._params = params
        self._lines = lines
        self._now = now
        self._severities = dict(params.severity_levels)
        self._format = json_line if params.output_as_json else console_line

    def report(self, batches: Sequence[Batch]) -> Sequence[str]:
        """Queue the lines; gives an error if some had to be dropped."""
        dropped = self._lines.put(
            [
                line
                for batch in batches
                for instance in batch.instances()
                for line in self._line(instance)
            ]
        )
        return (f"stdio: {dropped} lines dropped, the output is too slow",) if dropped else ()

    def _line(self, instance: Instance) -> Iterator[str]:
        """The line of an instance, unless its level is below the output level.

        Differs from Istio: ``outputLevel`` is honoured (G.1).
        """
        fields = instance.fields
        if instance.template == "metric":
            level, time = self._params.metric_level, self._now()
            body = {"value": fields["value"], **dict(sorted(fields["dimensions"].items()))}
        else:
            level = self._severities.get(fields["severity"], INFO)
            time = fields["timestamp"] or self._now()
            body = dict(sorted(fields["variables"].items()))
        if level >= self._params.output_level:
            rendered = {name: shown(value) for name, value in body.items()}
            yield self._format(_NAMES[level], str(time), instance.name, rendered)

    async def prepare(self) -> None:
        """Open the output."""
        await self._lines.open()

    async def run(self) -> None:
        """Write what is queued, as it comes."""
        await self._lines.run()

    async def close(self) -> None:
        """Write the rest and close the output."""
        await self._lines.close()


def _validate(config: HandlerConfig) -> Sequence[str]:
    params = config.params
    to_file = params.log_stream in {Params.FILE, Params.ROTATED_FILE}
    stream = Params.Stream.Name(params.log_stream)
    problems: list[str] = []
    if to_file and not params.output_path:
        problems.append(f"output_path: must be given when log_stream is {stream}")
    if params.output_path and not to_file:
        problems.append(f"output_path: must be empty when log_stream is {stream}")
    problems += [
        f"{name}: must not be negative"
        for name in (
            "max_megabytes_before_rotation",
            "max_days_before_rotation",
            "max_rotated_files",
        )
        if getattr(params, name) < 0
    ]
    return problems


def adapter(sink: Callable[[Params], Sink], now: Callable[[], Timestamp]) -> Adapter:
    """The adapter; ``sink`` makes the output that params name, ``now`` is the time of day."""

    def build(config: HandlerConfig) -> Stdio:
        return Stdio(config.params, Lines(sink(config.params)), now)

    return Adapter(
        name="stdio",
        templates=frozenset({"logentry", "metric"}),
        defaults=Params(
            log_stream=Params.STDOUT,
            metric_level=INFO,
            output_level=INFO,
            output_as_json=True,
            max_days_before_rotation=30,
            max_megabytes_before_rotation=104_857_600,
            max_rotated_files=1000,
            severity_levels={name: level for level, names in _SEVERITIES.items() for name in names},
        ),
        build=build,
        validate=_validate,
    )
