"""Latest: a slow reader skips versions and is never left waiting for what it has not seen."""

import asyncio

from mast.common.latest import Latest


async def test_reader_gets_only_the_newest() -> None:
    slot: Latest[str] = Latest("a")
    slot.publish("b")
    slot.publish("c")
    assert await slot.after("a") == "c"


async def test_readers_wait_for_the_next_value() -> None:
    first = "a"
    slot: Latest[str] = Latest(first)
    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        readers = [tasks.create_task(slot.after(first)) for _ in range(3)]
        await asyncio.sleep(0)
        assert not any(reader.done() for reader in readers)
        slot.publish("b")
    assert [reader.result() for reader in readers] == ["b"] * 3
    assert slot.value == "b"
