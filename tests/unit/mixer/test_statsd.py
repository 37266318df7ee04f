"""Adapters statsd and dogstatsd, over real sockets (mixer.md G.1)."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict

from mast.common.expressions.types import ValueType
from mast.mixer.adapters import dogstatsd, statsd
from mast.mixer.adapters.statsd import Template
from mast.mixer.core.adapter import Adapter, Batch, HandlerConfig, Instance, InstanceType
from mast.mixer.core.values import Duration, Value

NAME = "m.instance.istio-system"


@contextmanager
def agent() -> Iterator[socket.socket]:
    """Somebody who listens for packets."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.setblocking(False)
        yield listening


def config(adapter: Adapter, instances: tuple[InstanceType, ...] = (), **params: Any) -> (
    HandlerConfig
):  # fmt: skip
    merged = type(adapter.defaults)()
    merged.CopyFrom(adapter.defaults)
    return HandlerConfig("h", adapter.name, ParseDict(params, merged), instances)


def metric(*values: Value, **dimensions: Value) -> Batch:
    return Batch(Instance(NAME, "metric", {"dimensions": dimensions}), values, len(values))


class Told:
    """What an agent was sent, and what reports complained of."""

    def __init__(self) -> None:
        self.packets: list[str] = []
        self.errors: list[str] = []

    @property
    def lines(self) -> list[str]:
        return [line for packet in self.packets for line in packet.split("\n")]


async def told(
    adapter: Adapter, *batches: Batch, packets: int, closing: bool = True, **params: Any
) -> Told:
    """Report to a handler whose agent listens for so many packets."""
    found = Told()
    loop = asyncio.get_running_loop()
    with agent() as listening:
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        handler: Any = adapter.build(config(adapter, address=address, **params))
        found.errors = list(handler.report(batches))
        async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
            running = tasks.create_task(handler.run())
            if closing:
                running.cancel()
                await asyncio.wait([running])
                await handler.close()
            for _ in range(packets):
                found.packets.append((await loop.sock_recv(listening, 65_536)).decode())
            running.cancel()
        if not closing:
            await handler.close()
    return found


STATSD, DOGSTATSD = statsd.adapter(lambda: 0.5), dogstatsd.adapter(lambda: 0.5)


@pytest.mark.parametrize(
    ("kind", "value", "line"),
    [
        ("COUNTER", 3, "3|c"),
        ("GAUGE", -7, "-7|g"),
        ("DISTRIBUTION", Duration(1_500_000), "1.5|ms"),
        ("DISTRIBUTION", Duration(20_000_000), "20|ms"),
        ("DISTRIBUTION", 4, "4|c"),
    ],
)
async def test_statsd_kinds(kind: str, value: Value, line: str) -> None:
    found = await told(STATSD, metric(value), packets=1, metrics={NAME: {"type": kind}})
    assert found.packets == [f"{NAME}:{line}"]


async def test_statsd_names_from_dimensions() -> None:
    name = '{{.app}}-{{ index . "source.version" }}'
    found = await told(
        STATSD,
        metric(1, app="web:1", **{"source.version": 2}),
        packets=1,
        prefix="mesh.",
        metrics={NAME: {"type": "COUNTER", "nameTemplate": name}},
    )
    assert found.packets == ["mesh.web_1-2:1|c"]


async def test_statsd_lines_share_packets_up_to_their_size() -> None:
    found = await told(
        STATSD, metric(*range(5)), packets=3, flush_bytes=60, metrics={NAME: {"type": "COUNTER"}}
    )
    assert [len(each.split("\n")) for each in found.packets] == [2, 2, 1]
    assert found.lines == [f"{NAME}:{value}|c" for value in range(5)]


async def test_statsd_goes_by_itself() -> None:
    found = await told(
        STATSD,
        metric(1, 2),
        packets=1,
        closing=False,
        flush_duration="0.05s",
        metrics={NAME: {"type": "COUNTER"}},
    )
    assert found.lines == [f"{NAME}:1|c", f"{NAME}:2|c"]


@pytest.mark.parametrize(("rate", "lines"), [(0.6, [f"{NAME}:1|c|@0.6"]), (0.5, [])])
async def test_statsd_sampling(rate: float, lines: list[str]) -> None:
    found = await told(
        STATSD,
        metric(1),
        packets=len(lines),
        samplingRate=rate,
        metrics={NAME: {"type": "COUNTER"}},
    )
    assert found.lines == lines


@pytest.mark.parametrize(
    ("batch", "error"),
    [
        (metric("many"), f"metric {NAME}: value 'many' is no INT64"),
        (metric(True), "is no INT64"),
        (Batch(Instance("other", "metric", {"dimensions": {}}), [1]), "no metric is configured"),
    ],
)
@pytest.mark.parametrize("adapter", [STATSD, DOGSTATSD], ids=lambda each: each.name)
async def test_values_that_do_not_count(adapter: Adapter, batch: Batch, error: str) -> None:
    found = await told(
        adapter, batch, packets=0, metrics={NAME: {"type": "COUNTER", **_named(adapter)}}
    )
    assert len(found.errors) == 1
    assert error in found.errors[0]


def _named(adapter: Adapter) -> dict[str, str]:
    return {"name": "calls"} if adapter is DOGSTATSD else {}


async def test_what_does_not_fit_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statsd, "MAX_QUEUED", 2)
    found = await told(STATSD, metric(1, 2, 3), packets=1, metrics={NAME: {"type": "COUNTER"}})
    assert found.errors == ["statsd: 1 dropped, the backend is too slow"]
    assert len(found.lines) == 2


@pytest.mark.parametrize(
    ("kind", "value", "line"),
    [
        ("COUNTER", 3, "3|c"),
        ("GAUGE", 1.5, "1.5|g"),
        ("DISTRIBUTION", Duration(2_000_000), "2|ms"),
        ("DISTRIBUTION", 4, "4|h"),
        ("DISTRIBUTION", 0.25, "0.25|h"),
    ],
)
async def test_dogstatsd(kind: str, value: Value, line: str) -> None:
    found = await told(
        DOGSTATSD,
        metric(value, app="web", code=200),
        packets=1,
        globalTags={"mesh": "a", "app": "?"},
        sampleRate=0.75,
        metrics={NAME: {"name": "calls", "type": kind, "tags": {"team": "x,y"}}},
    )
    assert found.packets == [f"istio.calls:{line}|@0.75|#app:web,code:200,mesh:a,team:x_y"]


@pytest.mark.parametrize(("length", "packets"), [(0, 3), (2, 2), (5, 1)])
async def test_dogstatsd_buffers(length: int, packets: int) -> None:
    found = await told(
        DOGSTATSD,
        metric(1, 2, 3),
        packets=packets,
        bufferLength=length,
        metrics={NAME: {"name": "calls", "type": "COUNTER"}},
    )
    assert found.lines == [f"istio.calls:{value}|c" for value in (1, 2, 3)]


PROBLEMS: list[tuple[Adapter, dict[str, Any], str]] = [
    (STATSD, {"address": "localhost"}, "address: 'localhost' is not HOST:PORT"),
    (STATSD, {"address": "localhost:70000"}, "address: 'localhost:70000' is not HOST:PORT"),
    (STATSD, {"samplingRate": 1.5}, "sampling_rate: 1.5 is not between 0 and 1"),
    (STATSD, {"flushBytes": -1}, "flush_bytes: -1 must be > 0"),
    (STATSD, {"flushDuration": "0s"}, "flush_duration: must be > 0"),
    (STATSD, {"metrics": {"m": {}}}, "metrics[m].type: must be COUNTER, GAUGE or DISTRIBUTION"),
    (
        STATSD,
        {"metrics": {NAME: {"type": "COUNTER", "nameTemplate": "{{.app | upper}}"}}},
        f"metrics[{NAME}].name_template: '{{{{.app | upper}}}}': only {{{{.name}}}} and "
        '{{index . "name"}} are allowed',
    ),
    (
        STATSD,
        {"metrics": {NAME: {"type": "COUNTER", "nameTemplate": "{{.nope}}"}}},
        f"metrics[{NAME}].name_template: instance {NAME} has no dimension 'nope'",
    ),
    (DOGSTATSD, {"address": ":1"}, "address: ':1' is not HOST:PORT"),
    (DOGSTATSD, {"sampleRate": -1}, "sample_rate: -1 is not between 0 and 1"),
    (DOGSTATSD, {"bufferLength": -1}, "buffer_length: -1 must not be negative"),
    (
        DOGSTATSD,
        {"metrics": {"m": {"name": "m"}}},
        "metrics[m].type: must be COUNTER, GAUGE or DISTRIBUTION",
    ),
    (DOGSTATSD, {"metrics": {"m": {"type": "GAUGE"}}}, "metrics[m].name: must not be empty"),
]


@pytest.mark.parametrize(("adapter", "params", "problem"), PROBLEMS)
def test_problems(adapter: Adapter, params: dict[str, Any], problem: str) -> None:
    instance = InstanceType(NAME, "metric", {"dimensions[app]": ValueType.STRING})
    assert list(adapter.validate(config(adapter, (instance,), **params))) == [problem]


@pytest.mark.parametrize("adapter", [STATSD, DOGSTATSD], ids=lambda each: each.name)
def test_defaults_have_no_problems(adapter: Adapter) -> None:
    assert not adapter.validate(config(adapter))


@pytest.mark.parametrize("text", ["{{", "}}", "{{.}}", "{{ .a.b }}", "{{if .a}}{{end}}"])
def test_other_templates_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="only"):
        Template(text)
