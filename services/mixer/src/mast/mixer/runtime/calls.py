"""Makes adapter calls: those of one step in parallel, with a deadline; nothing they do escapes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from inspect import isawaitable
from typing import Any, TypeVar

from mast.mixer.core.dispatch import Call, Failure, Notes, Session, failure
from mast.mixer.runtime.instruments import Instruments

T = TypeVar("T")


@dataclass(slots=True)
class Calls:
    """Runs sessions of the core by making the adapter calls that they ask for."""

    instruments: Instruments
    deadline: timedelta = timedelta(seconds=5)
    clock: Callable[[], float] = time.perf_counter
    _waiting: int = 0

    async def drive(self, session: Session[T], notes: Notes) -> T:
        """The result of a session, which writes notes; its exceptions pass."""
        made = 0
        try:
            calls = next(session)
            while True:
                made += len(calls)
                calls = session.send(await self.make(calls))
        except StopIteration as done:
            result: T = done.value
            return result
        finally:
            self.instruments.request(calls=made, instances=notes.instances)

    async def make(self, calls: Sequence[Call]) -> Sequence[Any]:
        """The outcomes of calls, in their order: answers and Failures (A22, A23).

        Handlers that answer at once are called one after the other; the others run in parallel.
        """
        outcomes: list[Any] = []
        waiting: list[tuple[int, Call, Awaitable[Any], float]] = []
        for index, call in enumerate(calls):
            start = self.clock()
            outcome = _invoked(call)
            if isawaitable(outcome):
                waiting.append((index, call, outcome, start))
            else:
                self._count(call, outcome, start)
            outcomes.append(outcome)
        if waiting:
            async with asyncio.TaskGroup() as tasks:
                running = [
                    (index, tasks.create_task(self._answer(call, answer, start), name="adapter"))
                    for index, call, answer, start in waiting
                ]
            for index, task in running:
                outcomes[index] = task.result()
        return outcomes

    async def _answer(self, call: Call, answer: Awaitable[Any], start: float) -> Any:
        self._wait(1)
        try:
            async with asyncio.timeout(self.deadline.total_seconds()):
                outcome = await answer
        except TimeoutError:
            outcome = Failure(f"handler '{call.destination.shown}' did not answer in time")
        except Exception as error:  # noqa: BLE001  an adapter's failure is an outcome (A23)
            outcome = failure(error)
        finally:
            self._wait(-1)
        self._count(call, outcome, start)
        return outcome

    def _wait(self, change: int) -> None:
        self._waiting += change
        self.instruments.waiting(self._waiting)

    def _count(self, call: Call, outcome: Any, start: float) -> None:
        self.instruments.dispatched(
            call.destination, self.clock() - start, failed=isinstance(outcome, Failure)
        )


def _invoked(call: Call) -> Any:
    try:
        return call.invoke()
    except Exception as error:  # noqa: BLE001  an adapter's failure is an outcome (A23)
        return failure(error)
