"""Questions to Pilot before Envoy starts: one stream, one request, one answer (pilot.md B)."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Final, TypeVar

import grpc.aio

from mast.agent.store.pilot import Call, Unreachable
from mast.common.backoff import Backoff

T = TypeVar("T")

METHOD: Final = "DeltaAggregatedResources"
PATIENCE: Final = timedelta(seconds=20)
"""Envoy waits no longer for an answer: traffic is worth more."""

Dial = Callable[[str], AbstractAsyncContextManager[Call]]


class NoAnswer(Exception):
    """Pilot did not answer in time; says what went wrong last."""


async def first_answer(
    dial: Dial,
    request: bytes,
    read: Callable[[bytes], T],
    random: Callable[[], float],
    patience: timedelta = PATIENCE,
) -> T:
    """What `read` makes of the answer; ValueError of it means that the answer is none."""
    backoff = Backoff(timedelta(milliseconds=200), timedelta(seconds=5))
    error: Exception | None = None
    try:
        async with asyncio.timeout(patience.total_seconds()):
            while True:
                try:
                    return read(await _ask(dial, request))
                except (Unreachable, grpc.aio.AioRpcError, ValueError) as problem:
                    error = problem
                await asyncio.sleep(backoff.next(random()).total_seconds())
    except TimeoutError as late:
        raise NoAnswer(str(error) if error else "no answer") from late


async def _ask(dial: Dial, request: bytes) -> bytes:
    async with dial(METHOD) as call:
        await call.write(request)
        answer = await call.read()
        if not isinstance(answer, bytes):  # the end of the stream
            raise Unreachable(f"Pilot closed the stream: {await call.details()}")
        return answer
