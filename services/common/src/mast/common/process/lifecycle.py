"""From process start to exit status: the event loop, signals and crashes of a service."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

import structlog

log = structlog.get_logger()

Jobs = Mapping[str, Callable[[], Coroutine[Any, Any, None]]]
"""What is to be done, by name."""


def run(main: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    """Run ``main(stop)`` to its end; SIGTERM and SIGINT set ``stop``, a second one ends at once.

    A crash is logged once and ends the process with status 1, so that a supervisor restarts it.
    """
    try:
        asyncio.run(_supervised(main))
    except* KeyboardInterrupt:
        sys.exit(130)
    except* Exception as crash:
        for error in _leaves(crash):
            log.error("process.crashed", error=f"{type(error).__name__}: {error}", exc_info=error)
        sys.exit(1)


async def until_asked(stop: asyncio.Event, jobs: Jobs) -> None:
    """Do jobs, by name, until ``stop`` is set: those that other replicas take over meanwhile.

    A leader among them steps down then, so another one leads before this process has ended.
    """
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(job(), name=name) for name, job in jobs.items()]
        await stop.wait()
        for each in running:
            each.cancel()


async def _supervised(main: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def asked(number: signal.Signals) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        log.info("process.stopping", signal=number.name)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked, number)
    await main(stop)


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in group.exceptions:
        found += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found
