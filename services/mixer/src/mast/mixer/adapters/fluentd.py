"""Adapter ``fluentd``: log entries in fluentd's forward protocol (mixer.md G.1)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final, NamedTuple

import msgpack  # type: ignore[import-untyped]
from google.protobuf.duration_pb2 import Duration as DurationMessage

from istio.mixer.adapter.fluentd.config.config_pb2 import Params
from mast.mixer.adapters.datagrams import address_problem
from mast.mixer.adapters.outbox import Outbox
from mast.mixer.adapters.stdio import shown
from mast.mixer.core.adapter import Adapter, Batch, HandlerConfig, Instance
from mast.mixer.core.values import NANOS, Duration, Timestamp, Value

TAG: Final = "tag"
_EVENT_TIME: Final = 0
"""Extension type of times with nanoseconds (fluentd, Forward Protocol Specification v1)."""


class Entry(NamedTuple):
    """A packed event and its tag."""

    tag: str
    packed: bytes


class Fluentd:
    """The connection of one handler; opened when there is something to send, kept until it ends."""

    def __init__(self, params: Params, now: Callable[[], Timestamp]) -> None:
        self._params = params
        self._now = now
        host, _, port = params.address.rpartition(":")
        self._at = host.strip("[]"), int(port)
        self._writer: asyncio.StreamWriter | None = None
        self._outbox = Outbox(
            "fluentd",
            self._push,
            every=params.push_interval_duration.ToTimedelta(),
            limit=params.instance_buffer_size,
            batch=params.max_batch_size_bytes,
            weight=lambda entry: len(entry.packed),
        )

    def report(self, batches: Sequence[Batch]) -> Sequence[str]:
        """Queue entries; tells how many found no room."""
        return self._outbox.put(
            [self._entry(instance) for batch in batches for instance in batch.instances()]
        )

    def _entry(self, instance: Instance) -> Entry:
        """Variables and severity under the tag that a variable names, or the instance."""
        variables: Mapping[str, Value | None] = instance.fields["variables"]
        record = {name: self._shown(value) for name, value in sorted(variables.items())}
        tag = instance.name
        if isinstance(variables.get(TAG), str):
            tag = str(record.pop(TAG))
            record["name"] = instance.name
        record["severity"] = instance.fields["severity"]
        at = instance.fields["timestamp"] or self._now()
        return Entry(tag, msgpack.packb([_event_time(at), record]))

    def _shown(self, value: Value | None) -> Any:
        if isinstance(value, Duration) and self._params.integer_duration:
            return value.ns // 1_000_000
        return shown(value)

    async def _push(self, entries: Sequence[Entry]) -> None:
        timeout = self._params.push_timeout_duration.ToTimedelta().total_seconds()
        packet = b"".join(_forwarded(entries))
        try:
            async with asyncio.timeout(timeout):
                writer = await self._connected()
                writer.write(packet)
                await writer.drain()
        except (OSError, TimeoutError):
            self._disconnect()
            raise

    async def _connected(self) -> asyncio.StreamWriter:
        if self._writer is None or self._writer.is_closing():
            _, self._writer = await asyncio.open_connection(*self._at)
        return self._writer

    def _disconnect(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    async def run(self) -> None:
        """Send what is queued."""
        await self._outbox.run()

    async def close(self) -> None:
        """Send the rest and hang up."""
        await self._outbox.close()
        self._disconnect()


def _event_time(at: Timestamp) -> msgpack.ExtType:
    seconds, nanos = divmod(at.ns, NANOS)
    return msgpack.ExtType(_EVENT_TIME, (seconds % (1 << 32) << 32 | nanos).to_bytes(8, "big"))


def _forwarded(entries: Sequence[Entry]) -> Iterator[bytes]:
    """Events in forward mode, ``[tag, [[time, record], ...]]``, a message for each tag."""
    tags: dict[str, list[bytes]] = {}
    for entry in entries:
        tags.setdefault(entry.tag, []).append(entry.packed)
    packer = msgpack.Packer()
    for tag, packed in tags.items():
        yield packer.pack_array_header(2) + packer.pack(tag)
        yield packer.pack_array_header(len(packed)) + b"".join(packed)


def _validate(config: HandlerConfig) -> Sequence[str]:
    params = config.params
    problems = [
        address_problem(params.address),
        *(
            f"{name}: {getattr(params, name)} must be > 0"
            for name in ("instance_buffer_size", "max_batch_size_bytes")
            if getattr(params, name) <= 0
        ),
        *(
            f"{name}: must be > 0"
            for name in ("push_interval_duration", "push_timeout_duration")
            if getattr(params, name).ToTimedelta() <= timedelta()
        ),
    ]
    return [problem for problem in problems if problem]


def adapter(now: Callable[[], Timestamp]) -> Adapter:
    """The adapter; ``now`` is the time of day."""

    def build(config: HandlerConfig) -> Fluentd:
        return Fluentd(config.params, now)

    return Adapter(
        name="fluentd",
        templates=frozenset({"logentry"}),
        defaults=Params(
            address="localhost:24224",
            instance_buffer_size=1024,
            max_batch_size_bytes=8 << 20,
            push_interval_duration=DurationMessage(seconds=60),
            push_timeout_duration=DurationMessage(seconds=60),
        ),
        build=build,
        validate=_validate,
    )
