"""The thread on which the world, its views and the sessions live."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any, Final, TypeVar

from mast.pilot.core.xds.work import Clock

T = TypeVar("T")

SHIFT: Final = timedelta(milliseconds=5)
"""Results are handed over this often, even if there is more to do."""


class Worker:
    """Runs functions there, in order, many of them in one go: a push asks for hundreds at once.

    See `mast.pilot.core.xds.work.Work`. Waking a thread and the loop costs more than most of the
    functions.
    """

    def __init__(self, thread: ThreadPoolExecutor, clock: Clock) -> None:
        self._thread = thread
        self._clock = clock
        self._waiting: list[tuple[Callable[[], Any], asyncio.Future[Any]]] = []
        self._busy = False

    async def __call__(self, task: Callable[[], T], /) -> T:
        """Run a function there."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()
        self._waiting.append((task, done))
        if not self._busy:
            self._busy = True
            loop.call_soon(self._begin, loop)
        return await done

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Hand everything that waits to the thread."""
        batch, self._waiting = self._waiting, []
        tasks = [task for task, done in batch if not done.done()]
        waiting = [done for _, done in batch if not done.done()]

        def finished(job: asyncio.Future[Sequence[_Result]]) -> None:
            self._finished(loop, tasks, waiting, job.result())

        loop.run_in_executor(self._thread, self._work_off, tasks).add_done_callback(finished)

    def _work_off(self, tasks: Sequence[Callable[[], Any]]) -> "Sequence[_Result]":
        """Results of the first tasks, of as many as there is time for."""
        results: list[_Result] = []
        end = self._clock.instant() + SHIFT
        for task in tasks:
            try:
                results.append((task(), None))
            except Exception as error:  # noqa: BLE001 - it belongs to whoever asked
                results.append((None, error))
            if self._clock.instant() >= end:
                break
        return results

    def _finished(
        self,
        loop: asyncio.AbstractEventLoop,
        tasks: Sequence[Callable[[], Any]],
        waiting: Sequence[asyncio.Future[Any]],
        results: "Sequence[_Result]",
    ) -> None:
        left = len(results)
        self._waiting[:0] = zip(tasks[left:], waiting[left:], strict=True)
        for done, (result, error) in zip(waiting, results, strict=False):
            if done.done():
                continue
            if error is None:
                done.set_result(result)
            else:
                done.set_exception(error)
        self._busy = bool(self._waiting)
        if self._busy:
            self._begin(loop)


_Result = tuple[Any, Exception | None]
"""What a function returned or raised."""
