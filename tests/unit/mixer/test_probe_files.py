"""Files for a container's probes (mixer.md I, probe)."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mast.mixer.main import main
from mast.mixer.store.probe_files import fresh, keep_fresh

INTERVAL = timedelta(milliseconds=20)
TEN_SECONDS = timedelta(seconds=10)


@pytest.mark.parametrize(("age", "is_fresh"), [(0, True), (9, True), (11, False)])
def test_a_file_is_fresh_for_an_interval(tmp_path: Path, age: int, is_fresh: bool) -> None:
    path = tmp_path / "ready"
    path.touch()
    now = datetime.fromtimestamp(path.stat().st_mtime + age, tz=UTC)
    assert fresh(path, TEN_SECONDS, now) is is_fresh


@pytest.mark.parametrize("well", [True, False])
async def test_it_is_touched_while_mixer_is_well_and_removed_then(
    tmp_path: Path, well: bool
) -> None:
    path, asked = tmp_path / "ready", asyncio.Event()
    seen: list[bool] = []

    def state() -> bool:
        seen.append(path.exists())
        if len(seen) == 3:
            asked.set()
        return well

    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        keeping = tasks.create_task(keep_fresh(path, INTERVAL, state))
        await asked.wait()
        keeping.cancel()
    assert seen[:3] == [False, well, well]
    assert not path.exists()


@pytest.mark.parametrize("there", [True, False])
def test_the_command_tells_by_its_exit_status(tmp_path: Path, there: bool) -> None:
    path = tmp_path / "ready"
    if there:
        path.touch()
    with pytest.raises(SystemExit) as ended:
        main(["probe", "--probe-path", str(path), "--interval", "1h"])
    assert ended.value.code == (0 if there else 1)


def test_the_command_needs_a_path() -> None:
    with pytest.raises(SystemExit) as ended:
        main(["probe"])
    assert ended.value.code == 2
