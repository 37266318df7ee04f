"""Lines on their way to a stream or file: a bounded queue, a writer, rotation (mixer.md G.1)."""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO, Protocol

import structlog

from istio.mixer.adapter.stdio.config.config_pb2 import Params
from mast.mixer.core.adapter import AdapterError

log = structlog.get_logger()

# Lines that wait for a slow output before new ones are dropped.
MAX_QUEUED = 65_536


class Sink(Protocol):
    """Where lines go; all methods may block and run in a worker thread, one at a time."""

    def open(self) -> None:
        """Get ready; raises OSError."""
        ...

    def write(self, text: str) -> None:
        """Write whole lines; raises OSError."""
        ...

    def close(self) -> None:
        """Let go; nothing is written afterwards."""
        ...


class StreamSink:
    """An open stream that others use too, such as the standard output."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def open(self) -> None:
        """It is open."""

    def write(self, text: str) -> None:
        """Write and flush."""
        self._stream.write(text)
        self._stream.flush()

    def close(self) -> None:
        """It stays open."""


class FileSink:
    """A file that lines are appended to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[str] | None = None

    def open(self) -> None:
        """Open for appending."""
        self._file = self.path.open("a", encoding="utf-8")

    def write(self, text: str) -> None:
        """Write and flush."""
        if self._file is None:
            self.open()
        assert self._file is not None  # noqa: S101  opened above
        self._file.write(text)
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


class RotatedSink(FileSink):
    """A file that is renamed when it is full; old ones are deleted by age and number.

    Rotated files carry the time in their names: ``access-2020-01-31T10-00-00.000.log``.
    """

    def __init__(
        self,
        path: Path,
        *,
        max_bytes: int,
        max_age: timedelta,
        keep: int,
        now: Callable[[], datetime],
    ) -> None:
        """0 or timedelta() mean: no such limit."""
        super().__init__(path)
        self._max_bytes = max_bytes
        self._max_age = max_age
        self._keep = keep
        self._now = now

    def write(self, text: str) -> None:
        """Rotate if the text does not fit any more, then write."""
        size = self.path.stat().st_size if self.path.exists() else 0
        if self._max_bytes and size and size + len(text.encode()) > self._max_bytes:
            self.close()
            self._rotate()
        super().write(text)

    def _rotate(self) -> None:
        stamp = self._now().strftime("%Y-%m-%dT%H-%M-%S.%f")
        self.path.rename(self.path.with_name(f"{self.path.stem}-{stamp}{self.path.suffix}"))
        pattern = f"{self.path.stem}-????-??-??T??-??-??.*{self.path.suffix}"
        rotated = sorted(self.path.parent.glob(pattern), reverse=True)
        oldest = (self._now() - self._max_age).timestamp() if self._max_age else 0.0
        for index, old in enumerate(rotated):
            if (self._keep and index >= self._keep) or old.stat().st_mtime < oldest:
                old.unlink()


def sink_of(params: Params, now: Callable[[], datetime]) -> Sink:
    """The output that stdio's params name.

    Differs from Istio: the limits on days and on the number of files are not swapped (G.1).
    """
    if params.log_stream == Params.STDOUT:
        return StreamSink(sys.stdout)
    if params.log_stream == Params.STDERR:
        return StreamSink(sys.stderr)
    path = Path(params.output_path)
    if params.log_stream == Params.FILE:
        return FileSink(path)
    return RotatedSink(
        path,
        max_bytes=params.max_megabytes_before_rotation << 20,
        max_age=timedelta(days=params.max_days_before_rotation),
        keep=params.max_rotated_files,
        now=now,
    )


class Lines:
    """Lines waiting for a sink. Producers never wait: what does not fit is dropped."""

    def __init__(self, sink: Sink, limit: int = MAX_QUEUED) -> None:
        self._sink = sink
        self._limit = limit
        self._queue: deque[str] = deque()
        self._filled = asyncio.Event()
        self._writing = asyncio.Lock()

    def put(self, lines: Sequence[str]) -> int:
        """Queue lines; how many had to be dropped."""
        room = self._limit - len(self._queue)
        self._queue.extend(lines[:room])
        self._filled.set()
        return max(len(lines) - room, 0)

    async def open(self) -> None:
        """Open the sink; raises AdapterError if it cannot be."""
        try:
            await asyncio.to_thread(self._sink.open)
        except OSError as error:
            raise AdapterError(f"cannot open the output: {error}") from error

    async def run(self) -> None:
        """Write what is queued, for ever; lines that cannot be written are lost."""
        while True:
            await self._filled.wait()
            self._filled.clear()
            await self._flush()

    async def _flush(self) -> None:
        """Write what is queued; returns when all that was taken from the queue is written."""
        async with self._writing:
            lines = [*self._queue, ""]
            self._queue.clear()
            if len(lines) == 1:
                return
            try:
                await asyncio.to_thread(self._sink.write, "\n".join(lines))
            except OSError as error:
                log.error("stdio.write_failed", lines=len(lines) - 1, error=str(error))

    async def close(self) -> None:
        """Write the rest and close the sink; to be called before :meth:`run` is cancelled."""
        await self._flush()
        await asyncio.to_thread(self._sink.close)
