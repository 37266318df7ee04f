"""Functions of the core run on one thread, many in one go."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from mast.pilot.api.worker import SHIFT, Worker


class Clock:
    """A clock that each function moves on."""

    def __init__(self) -> None:
        self.time = timedelta()

    def now(self) -> datetime:
        return datetime(2020, 1, 1, tzinfo=UTC) + self.time

    def instant(self) -> timedelta:
        return self.time


@pytest.fixture
def thread():
    with ThreadPoolExecutor(1) as made:
        yield made


class Counting(ThreadPoolExecutor):
    """Counts how often it is woken."""

    jobs = 0

    def submit(self, *args, **kwargs):
        self.jobs += 1
        return super().submit(*args, **kwargs)


async def all_of(work, *tasks):
    async with asyncio.TaskGroup() as group:
        made = [group.create_task(work(each)) for each in tasks]
    return [each.result() for each in made]


@pytest.mark.parametrize(
    ("each", "jobs"),
    [
        pytest.param(timedelta(), 1, id="in-one-go"),
        pytest.param(SHIFT, 5, id="long-ones-one-by-one"),
        pytest.param(SHIFT / 2, 3, id="as-many-as-there-is-time-for"),
    ],
)
async def test_in_order_on_the_thread(each, jobs):
    clock, ran = Clock(), []

    def task(number):
        def run():
            clock.time += each
            ran.append(number)
            return number, threading.current_thread().name

        return run

    with Counting(1, thread_name_prefix="core") as thread:
        found = await all_of(Worker(thread, clock), *map(task, range(5)))
        assert thread.jobs == jobs
    assert ran == list(range(5))
    assert found == [(number, "core_0") for number in range(5)]


async def test_what_one_raises_is_its_own(thread):
    work = Worker(thread, Clock())

    def fail():
        raise ValueError("no")

    async def failing():
        with pytest.raises(ValueError, match="no"):
            await work(fail)

    async with asyncio.TaskGroup() as group:
        group.create_task(failing())
        other = group.create_task(work(lambda: "fine"))
    assert other.result() == "fine"


async def test_who_gave_up_is_not_served(thread):
    work, ran = Worker(thread, Clock()), []
    async with asyncio.TaskGroup() as group:
        first = group.create_task(work(lambda: ran.append("given up")))
        group.create_task(work(lambda: ran.append("wanted")))
        await asyncio.sleep(0)
        first.cancel()
    assert ran == ["wanted"]
    assert await work(lambda: "later") == "later"
