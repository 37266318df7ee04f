"""What is done until a process is asked to end."""

import asyncio
from functools import partial

import pytest

from mast.common.process.lifecycle import until_asked


async def for_ever(told: list[str], name: str) -> None:
    told.append(f"{name} began")
    try:
        await asyncio.Event().wait()
    finally:
        told.append(f"{name} ended")


async def test_jobs_end_when_the_process_is_asked_to() -> None:
    stop, told = asyncio.Event(), list[str]()
    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        names = ("lead", "clean")
        jobs = {name: partial(for_ever, told, name) for name in names}
        doing = tasks.create_task(until_asked(stop, jobs))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert told == ["lead began", "clean began"]
        stop.set()
        await doing
    assert sorted(told) == sorted(f"{name} {what}" for name in names for what in ("began", "ended"))


async def test_a_job_that_fails_is_told_at_once() -> None:
    async def fail() -> None:
        raise OSError("no disk")

    async with asyncio.timeout(30):
        with pytest.raises(ExceptionGroup, match="unhandled") as failed:
            await until_asked(asyncio.Event(), {"write": fail})
    assert [str(each) for each in failed.value.exceptions] == ["no disk"]
