"""Check and Report calls by the load, and what mixc says of each (mixer.md I2, I3)."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import grpc.aio

from mast.cli.mixer.calls import CALL_SECONDS, Answer, check_request, mixer, report_request
from mast.cli.mixer.load import Load, Tally, batches
from mast.cli.output import Format, dump, note
from mast.mixer.core.values import Attributes


@dataclass
class Output:
    """What becomes of answers: lines at once, documents at the end; without ``responses`` only
    failures are told, and how it went altogether."""

    format: Format = Format.TABLE
    responses: bool = True
    _documents: list[dict[str, Any]] = field(default_factory=list)

    def answered(self, answer: Answer) -> None:
        """A check was answered."""
        if not self.responses:
            return
        if self.format is Format.TABLE:
            self.say(*answer.lines())
        else:
            self._documents.append(answer.document())

    def failed(self, text: str) -> None:
        """A check was not."""
        if self.format is Format.TABLE:
            self.say(f"Check RPC failed with: {text}")
        else:
            self._documents.append({"error": text})

    def reported(self, text: str, *, failed: bool = False) -> None:
        """A report ended with this status."""
        if failed or self.responses:
            self.say(f"Report RPC returned {text}")

    def say(self, *lines: str) -> None:
        """Write lines."""
        sys.stdout.writelines(f"{line}\n" for line in lines)

    def end(self, tally: Tally) -> None:
        """There will be no more."""
        if self.format is not Format.TABLE:
            sys.stdout.write(dump(self._documents, self.format))
        if not self.responses:
            note(str(tally))


async def check(
    address: str,
    attributes: Attributes,
    quotas: Mapping[str, int],
    deduplication_id: str,
    load: Load,
    output: Output,
) -> Tally:
    """Ask again and again; without a deduplication id each call has its own."""
    tally = Tally()
    salt = f"mastctl-{time.time_ns()}"

    async def call(number: int) -> None:
        request = check_request(attributes, quotas, deduplication_id or f"{salt}-{number}")
        tally.calls += 1
        try:
            answer = Answer(await stub.Check(request, timeout=CALL_SECONDS))
        except grpc.aio.AioRpcError as error:
            output.failed(tally.failure(error))
        else:
            output.answered(answer)

    async with mixer(address) as stub:
        started = _now()
        await load.send(load.repeat, call)
        tally.seconds = _now() - started
    output.end(tally)
    return tally


async def report(
    address: str, attributes: Attributes, batch: int, load: Load, output: Output
) -> Tally:
    """Tell again and again, up to ``batch`` records in a call."""
    tally = Tally()
    sizes = list(batches(load.repeat, batch))

    async def call(number: int) -> None:
        request = report_request([attributes] * sizes[number % len(sizes)])
        tally.calls += 1
        try:
            await stub.Report(request, timeout=CALL_SECONDS)
        except grpc.aio.AioRpcError as error:
            output.reported(tally.failure(error), failed=True)
        else:
            output.reported("OK")

    async with mixer(address) as stub:
        started = _now()
        await load.send(len(sizes), call)
        tally.seconds = _now() - started
    output.end(tally)
    return tally


def _now() -> float:
    return asyncio.get_running_loop().time()
