"""Adapter calls at the edge (mixer.md A22, A23; checklist 16)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from mast.common.process.telemetry import Metrics
from mast.mixer.core.adapter import AdapterError
from mast.mixer.core.dispatch import Call, Destination, Failure, Notes, Session
from mast.mixer.runtime.calls import Calls
from mast.mixer.runtime.instruments import Instruments


def destination(name: str = "h") -> Destination:
    return Destination(f"{name}.handler.ns", f"{name}.ns", "script", "checknothing", None)


def call(invoke: Callable[[], Any], name: str = "h") -> Call:
    return Call(destination(name), invoke)


class Running:
    """Calls with their metrics."""

    def __init__(self, deadline: timedelta = timedelta(seconds=5)) -> None:
        self.instruments = Instruments(Metrics("mixer"))
        self.calls = Calls(self.instruments, deadline)

    def sample(self, text: str) -> str:
        found = self.instruments.render().splitlines()
        (line,) = [each for each in found if each.startswith(text)]
        return line.rpartition(" ")[2]


async def answer(value: object) -> object:
    await asyncio.sleep(0)
    return value


async def failing(error: Exception) -> object:
    await asyncio.sleep(0)
    raise error


def raising(error: Exception) -> Callable[[], Any]:
    def invoke() -> Any:
        raise error

    return invoke


async def test_outcomes_are_in_the_order_of_the_calls() -> None:
    """A22, A23: whichever completes first."""
    running = Running()
    outcomes = await running.calls.make(
        [
            call(lambda: 1),
            call(lambda: answer(2)),
            call(raising(AdapterError("gone"))),
            call(raising(RuntimeError("oops"))),
            call(lambda: failing(AdapterError("away"))),
            call(lambda: failing(RuntimeError("ouch"))),
            call(lambda: answer(3)),
        ]
    )
    assert outcomes == [
        1,
        2,
        Failure("gone"),
        Failure("panic during handler dispatch: oops"),
        Failure("away"),
        Failure("panic during handler dispatch: ouch"),
        3,
    ]


async def test_waiting_calls_run_in_parallel() -> None:
    """A22."""
    met = asyncio.Barrier(2)

    async def meet() -> int:
        return await met.wait()

    running = Running()
    async with asyncio.timeout(30):
        outcomes = await running.calls.make([call(meet), call(meet)])
    assert sorted(outcomes) == [0, 1]
    assert running.sample("mixer_handler_workers_total") == "0"


async def test_a_call_that_takes_too_long_fails_alone() -> None:
    """A23, L16."""
    running = Running(timedelta(milliseconds=20))
    outcomes = await running.calls.make(
        [call(lambda: asyncio.Event().wait(), "slow"), call(lambda: answer(1))]
    )
    assert outcomes == [Failure("handler 'slow.ns' did not answer in time"), 1]


async def test_calls_are_counted_by_handler_and_error() -> None:
    """I: names and labels."""
    running = Running()
    await running.calls.make(
        [call(lambda: 1), call(lambda: answer(2)), call(raising(AdapterError("gone")))]
    )
    labels = 'adapter="script",error="%s",handler="h.handler.ns",meshFunction="checknothing"'
    name = "mixer_runtime_dispatches_total{"
    assert running.sample(f"{name}{labels % 'false'}") == "2"
    assert running.sample(f"{name}{labels % 'true'}") == "1"
    seconds = "mixer_runtime_dispatch_duration_seconds_count{"
    assert running.sample(f"{seconds}{labels % 'true'}") == "1"


async def test_a_session_is_driven_to_its_result() -> None:
    def session() -> Session[str]:
        first = yield [call(lambda: 1), call(lambda: answer(2))]
        second = yield [call(lambda: 3)]
        return f"{first} {second}"

    running = Running()
    assert await running.calls.drive(session(), Notes(instances=5)) == "[1, 2] [3]"
    assert running.sample("mixer_dispatcher_instances_per_request_sum") == "5"
    assert running.sample("mixer_dispatcher_destinations_per_request_sum") == "3"


async def test_a_session_may_need_no_calls() -> None:
    def session() -> Session[int]:
        return 7
        yield []

    assert await Running().calls.drive(session(), Notes()) == 7
