"""Adapter stdio (mixer.md G.1; checklist 39)."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.json_format import ParseDict

from istio.mixer.adapter.stdio.config.config_pb2 import Params
from mast.mixer.adapters import stdio
from mast.mixer.adapters.lines import Lines
from mast.mixer.core.adapter import Batch, HandlerConfig, Instance
from mast.mixer.core.values import Duration, Timestamp, Value

TIME = Timestamp(1_580_464_800_123_456_789)
NOW = Timestamp(0)


class Memory:
    """A sink that remembers."""

    def __init__(self) -> None:
        self.text = ""
        self.state = "new"

    def open(self) -> None:
        self.state = "open"

    def write(self, text: str) -> None:
        self.text += text

    def close(self) -> None:
        self.state = "closed"


def config(**params: Any) -> HandlerConfig:
    merged = Params()
    merged.CopyFrom(stdio.adapter(lambda _: Memory(), lambda: NOW).defaults)  # type: ignore[arg-type]
    return HandlerConfig("h", "stdio", ParseDict(params, merged))


def entry(severity: str = "", timestamp: Timestamp | None = TIME, **variables: Value) -> Batch:
    fields = {"severity": severity, "timestamp": timestamp, "variables": variables}
    return Batch(Instance("log.instance.istio-system", "logentry", fields))


def metric(*values: Value, **dimensions: Value) -> Batch:
    instance = Instance("m.instance.istio-system", "metric", {"dimensions": dimensions})
    return Batch(instance, values, len(values))


async def written(*batches: Batch, **params: Any) -> list[str]:
    memory = Memory()
    handler = stdio.adapter(lambda _: memory, lambda: NOW).build(config(**params))
    assert isinstance(handler, stdio.Stdio)
    await handler.prepare()
    assert memory.state == "open"
    assert handler.report(batches) == ()
    await handler.close()
    assert memory.state == "closed"
    return memory.text.splitlines()


async def test_log_entries_in_json() -> None:
    assert await written(
        entry(
            "warning",
            b="text",
            a=5,
            c=1.5,
            d=True,
            address=b"\x01\x02\x03\x04",
            when=TIME,
            latency=Duration(60_500_000_000),
            labels={"z": "1", "a": "2"},
            nan=float("nan"),
            quoted='"\\\n é',
        )
    ) == [
        '{"level":"warn","time":"2020-01-31T10:00:00.123456Z",'
        '"instance":"log.instance.istio-system","a":5,"address":"1.2.3.4","b":"text","c":1.5,'
        '"d":true,"labels":{"a":"2","z":"1"},"latency":"1m0.5s","nan":"NaN",'
        '"quoted":"\\"\\\\\\n é","when":"2020-01-31T10:00:00.123456Z"}'
    ]


async def test_a_variable_may_have_the_name_of_a_column() -> None:
    (line,) = await written(entry(level="x"))
    assert line.startswith('{"level":"info","time":"2020-')
    assert line.endswith('"instance":"log.instance.istio-system","level":"x"}')
    assert await written(entry()) == [
        '{"level":"info","time":"2020-01-31T10:00:00.123456Z",'
        '"instance":"log.instance.istio-system"}'
    ]


async def test_metrics_in_json() -> None:
    assert await written(metric(5, 7, b="x", a="y"), metric_level="ERROR") == [
        '{"level":"error","time":"1970-01-01T00:00:00.000000Z",'
        f'"instance":"m.instance.istio-system","value":{value},"a":"y","b":"x"}}'
        for value in (5, 7)
    ]


async def test_the_console_has_columns() -> None:
    assert await written(entry("info", b="x", a=1), metric(2), output_as_json=False) == [
        '2020-01-31T10:00:00.123456Z\tinfo\tlog.instance.istio-system\t{"a":1,"b":"x"}',
        '1970-01-01T00:00:00.000000Z\tinfo\tm.instance.istio-system\t{"value":2}',
    ]


async def test_entries_without_time_are_of_now() -> None:
    (line,) = await written(entry(timestamp=None))
    assert '"time":"1970-01-01T00:00:00.000000Z"' in line


@pytest.mark.parametrize(
    ("severity", "level"),
    [("Info", "info"), ("INFORMATIONAL", "info"), ("", "info"), ("what", "info"), ("WARN", "warn"),
     ("err", "error"), ("FATAL", "error"), ("Warning", "info")],
)  # fmt: skip
async def test_levels_by_severity(severity: str, level: str) -> None:
    (line,) = await written(entry(severity))
    assert line.startswith(f'{{"level":"{level}"')


async def test_severities_can_be_named() -> None:
    (line,) = await written(entry("Bad"), severity_levels={"Bad": "ERROR"})
    assert '"level":"error"' in line


async def test_entries_below_the_output_level_are_left_out() -> None:
    lines = await written(entry("info"), entry("warning"), entry("error"), metric(1),
                          output_level="WARNING")  # fmt: skip
    assert [line[10:14] for line in lines] == ["warn", "erro"]


async def test_what_a_slow_output_loses_is_told() -> None:
    handler = stdio.Stdio(config().params, Lines(Memory(), limit=2), lambda: NOW)
    assert handler.report([metric(1, 2, 3)]) == ("stdio: 1 lines dropped, the output is too slow",)


@pytest.mark.parametrize(
    ("params", "problems"),
    [
        ({}, []),
        ({"log_stream": "FILE", "output_path": "/x"}, []),
        ({"log_stream": "FILE"}, ["output_path: must be given when log_stream is FILE"]),
        ({"log_stream": "ROTATED_FILE"},
         ["output_path: must be given when log_stream is ROTATED_FILE"]),
        ({"output_path": "/x"}, ["output_path: must be empty when log_stream is STDOUT"]),
        ({"log_stream": "STDERR", "output_path": "/x"},
         ["output_path: must be empty when log_stream is STDERR"]),
        ({"max_rotated_files": -1}, ["max_rotated_files: must not be negative"]),
    ],
)  # fmt: skip
def test_validation(params: dict[str, Any], problems: list[str]) -> None:
    assert stdio.adapter(lambda _: Memory(), lambda: NOW).validate(config(**params)) == problems
