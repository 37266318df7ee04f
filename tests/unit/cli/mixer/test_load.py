"""Calls as mixc sends them, and what it says of failures (mixer.md I2, I3, C13)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import grpc
import grpc.aio
import pytest

from mast.cli.errors import CommandError
from mast.cli.mixer.load import Load, Tally, batches
from tests.support.mixer_vectors import vectors


def error(code: grpc.StatusCode, details: str = "") -> grpc.aio.AioRpcError:
    nothing = grpc.aio.Metadata()
    return grpc.aio.AioRpcError(code, nothing, nothing, details)


BY_COUNT = [each for each in vectors("report_batch") if "timer" not in str(each.values[0])]
"""The other case is about time: Envoy's buffers flush after a second (K6)."""


@pytest.mark.parametrize("case", BY_COUNT)
def test_conformance_report_batches(case: Mapping[str, Any]) -> None:
    """C13: a call is made for every full batch, the rest with the flush at the end."""
    told = 0
    for step in case["steps"]:
        if step["op"] == "report":
            told += step["count"]
            full = list(batches(told, case["max_entries"]))
            if told % case["max_entries"]:
                full.pop()
            assert len(full) == step["calls_so_far"]
        else:
            assert len(list(batches(told, case["max_entries"]))) == step["calls_so_far"]
    assert sum(batches(told, case["max_entries"])) == told


@pytest.mark.parametrize(
    ("records", "size", "sizes"),
    [(1, 1, [1]), (5, 2, [2, 2, 1]), (4, 4, [4]), (3, 9, [3]), (0, 3, [])],
)
def test_batches(records: int, size: int, sizes: list[int]) -> None:
    assert list(batches(records, size)) == sizes


async def test_every_worker_makes_its_calls_under_numbers_of_its_own() -> None:
    """I2: -r is what each of -c workers sends; they do not wait for each other."""
    seen: list[int] = []
    together = asyncio.Barrier(3)

    async def call(number: int) -> None:
        await together.wait()
        seen.append(number)

    async with asyncio.timeout(30):
        await Load(repeat=4, concurrency=3).send(4, call)
    assert sorted(seen) == list(range(12))


async def test_a_rate_is_kept_by_each_worker() -> None:
    """I2: --rate; no call is sent before its turn."""
    loop = asyncio.get_running_loop()
    start, sent = loop.time(), []

    async def call(_: int) -> None:
        sent.append(loop.time() - start)

    await Load(repeat=3, concurrency=2, rate=20).send(3, call)
    for done, at in enumerate(sorted(sent)):
        assert at >= done // 2 / 20 - 0.001


@pytest.mark.parametrize(
    ("code", "details", "text"),
    [
        (grpc.StatusCode.INTERNAL, "performing failed", "Internal (performing failed)"),
        (grpc.StatusCode.CANCELLED, "", "Canceled"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "late", "DeadlineExceeded (late)"),
        (grpc.StatusCode.FAILED_PRECONDITION, "no", "FailedPrecondition (no)"),
    ],
)
def test_failures_are_written_as_go_does(code: grpc.StatusCode, details: str, text: str) -> None:
    """I3: ``Code (message)``."""
    assert Tally().failure(error(code, details)) == text


def test_a_failure_is_the_end_of_the_command() -> None:
    tally = Tally(calls=3, seconds=1.5)
    tally.insist("m:1")
    tally.failure(error(grpc.StatusCode.UNAVAILABLE))
    with pytest.raises(CommandError, match="1 of 3 calls to m:1 failed") as failed:
        tally.insist("m:1")
    assert "--mixer" in failed.value.hint
    assert str(tally) == "3 calls, 1 failed, 2 a second"
