"""Where lines go (mixer.md G.1)."""

from __future__ import annotations

import asyncio
import io
import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from istio.mixer.adapter.stdio.config.config_pb2 import Params
from mast.mixer.adapters.lines import FileSink, Lines, RotatedSink, StreamSink, sink_of
from mast.mixer.core.adapter import AdapterError

NOW = datetime(2020, 1, 31, 10, 0, tzinfo=UTC)


class Time:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


def test_a_stream_stays_open() -> None:
    stream = io.StringIO()
    sink = StreamSink(stream)
    sink.open()
    sink.write("a\n")
    sink.close()
    assert stream.getvalue() == "a\n"


def test_files_are_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "log"
    for text in ("a\n", "b\n"):
        sink = FileSink(path)
        sink.open()
        sink.write(text)
        sink.close()
        sink.close()
    assert path.read_text() == "a\nb\n"


def test_full_files_are_rotated(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    sink = RotatedSink(path, max_bytes=10, max_age=timedelta(), keep=2, now=Time())
    for number in range(6):
        sink.write(f"line {number}\n")
    sink.close()
    names = sorted(each.name for each in tmp_path.iterdir())
    assert len(names) == 3
    assert all(name.startswith("access-2020-01-31T10-00-") for name in names[:2])
    assert path.read_text() == "line 5\n"
    assert (tmp_path / names[1]).read_text() == "line 4\n"


def test_old_files_are_deleted(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    sink = RotatedSink(path, max_bytes=1, max_age=timedelta(days=1), keep=0, now=Time())
    sink.write("a\n")
    sink.write("b\n")
    (rotated,) = tmp_path.glob("access-*")
    long_ago = NOW.timestamp() - 3 * 86400
    os.utime(rotated, (long_ago, long_ago))
    sink.write("c\n")
    sink.close()
    assert len(list(tmp_path.glob("access-*"))) == 1
    assert not rotated.exists()


def test_without_limits_nothing_is_rotated(tmp_path: Path) -> None:
    path = tmp_path / "log"
    sink = RotatedSink(path, max_bytes=0, max_age=timedelta(), keep=0, now=Time())
    for _ in range(3):
        sink.write("x\n")
    sink.close()
    assert [each.name for each in tmp_path.iterdir()] == ["log"]


def test_params_choose_the_sink(tmp_path: Path) -> None:
    path = str(tmp_path / "log")
    out = sink_of(Params(log_stream=Params.STDOUT), Time())
    err = sink_of(Params(log_stream=Params.STDERR), Time())
    assert isinstance(out, StreamSink)
    assert isinstance(err, StreamSink)
    assert out._stream is sys.stdout  # noqa: SLF001
    assert err._stream is sys.stderr  # noqa: SLF001
    file = sink_of(Params(log_stream=Params.FILE, output_path=path), Time())
    assert type(file) is FileSink
    rotated = sink_of(Params(log_stream=Params.ROTATED_FILE, output_path=path), Time())
    assert isinstance(rotated, RotatedSink)
    assert rotated.path == tmp_path / "log"


class Slow:
    """A sink that tells when it has written, and can fail."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.written = asyncio.Event()
        self.texts: list[str] = []
        self.broken = False

    def open(self) -> None:
        if self.broken:
            raise OSError("disk is gone")

    def write(self, text: str) -> None:
        broken = self.broken
        if not broken:
            self.texts.append(text)
        self.loop.call_soon_threadsafe(self.written.set)
        if broken:
            raise OSError("disk is full")

    def close(self) -> None:
        self.texts.append("closed")


async def test_lines_are_written_as_they_come() -> None:
    sink = Slow()
    lines = Lines(sink)
    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        running = tasks.create_task(lines.run())
        for batch in (["a", "b"], ["c"]):
            sink.written.clear()
            assert lines.put(batch) == 0
            await sink.written.wait()
        running.cancel()
    assert sink.texts == ["a\nb\n", "c\n"]


async def test_a_failing_output_does_not_stop_the_writer() -> None:
    sink = Slow()
    lines = Lines(sink)
    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        running = tasks.create_task(lines.run())
        sink.broken = True
        lines.put(["lost"])
        await sink.written.wait()
        sink.broken = False
        sink.written.clear()
        lines.put(["kept"])
        await sink.written.wait()
        running.cancel()
    assert sink.texts == ["kept\n"]


async def test_what_does_not_fit_is_dropped() -> None:
    sink = Slow()
    lines = Lines(sink, limit=3)
    assert lines.put(["a", "b"]) == 0
    assert lines.put(["c", "d", "e"]) == 2
    assert lines.put(["f"]) == 1
    await lines.close()
    assert sink.texts == ["a\nb\nc\n", "closed"]


async def test_an_output_that_cannot_be_opened_is_an_error() -> None:
    sink = Slow()
    sink.broken = True
    with pytest.raises(AdapterError, match="cannot open the output: disk is gone"):
        await Lines(sink).open()


async def test_what_is_being_written_is_not_lost_in_the_end(monkeypatch) -> None:
    """The worker has taken the lines from the queue but no thread has begun to write them."""
    sink = Slow()
    lines = Lines(sink)
    begin, taken = asyncio.Event(), asyncio.Event()
    to_thread = asyncio.to_thread

    async def late(*call: object) -> None:
        taken.set()
        await begin.wait()
        await to_thread(*call)

    monkeypatch.setattr(asyncio, "to_thread", late)
    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        running = tasks.create_task(lines.run())
        lines.put(["a"])
        await taken.wait()
        closing = tasks.create_task(lines.close())
        begin.set()
        await closing
        running.cancel()
    assert sink.texts == ["a\n", "closed"]
