"""Keys with something to do (Galley's edge to Kubernetes)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from structlog.testing import capture_logs

from mast.galley.kubernetes.work import Work


async def run_until(
    work: Work[str], done: asyncio.Event, begin: Callable[[], None] | None = None
) -> None:
    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        running = tasks.create_task(work.run())
        if begin:
            begin()
        await done.wait()
        running.cancel()


def working(do: Callable[[str], Awaitable[None]]) -> Work[str]:
    return Work("test", do, (ValueError,), lambda: 0.0)


async def test_every_key_is_done_once() -> None:
    done, seen = asyncio.Event(), []

    async def do(key: str) -> None:
        seen.append(key)
        if len(seen) == 3:
            done.set()

    work = working(do)
    for key in ("a", "b", "a", "c"):
        work.add(key)
    await run_until(work, done)
    assert sorted(seen) == ["a", "b", "c"]


async def test_what_is_added_meanwhile_is_done_again_but_not_at_once() -> None:
    done, running, most = asyncio.Event(), 0, 0
    rounds = 0

    async def do(key: str) -> None:
        nonlocal running, most, rounds
        running += 1
        most = max(most, running)
        rounds += 1
        if rounds == 1:
            work.add(key)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        running -= 1
        if rounds == 2:
            done.set()

    work = working(do)
    work.add("a")
    await run_until(work, done)
    assert (rounds, most) == (2, 1)


async def test_failures_come_back_and_are_told_once() -> None:
    done, attempts = asyncio.Event(), 0

    async def do(key: str) -> None:
        nonlocal attempts
        attempts += 1
        if attempts < 3:
            raise ValueError("no")
        done.set()

    work = working(do)
    work.add("a")
    with capture_logs() as logs:
        await run_until(work, done)
    assert attempts == 3
    assert [log["event"] for log in logs] == ["kubernetes.failed"]
    assert (logs[0]["key"], logs[0]["error"]) == ("a", "no")


async def test_a_failure_holds_no_other_key_up() -> None:
    done = asyncio.Event()

    async def do(key: str) -> None:
        if key == "bad":
            raise ValueError("no")
        done.set()

    work = working(do)
    work.workers = 1
    work.add("bad")
    work.add("good")
    await run_until(work, done)
