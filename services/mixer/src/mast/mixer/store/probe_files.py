"""Files that tell a container's probes how Mixer is: they are fresh as long as it is well."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path


async def keep_fresh(path: Path, interval: timedelta, well: Callable[[], bool]) -> None:
    """Touch ``path`` twice in ``interval`` while Mixer is ``well``; it is removed in the end."""
    try:
        while True:
            if well():
                path.touch()
            await asyncio.sleep(interval.total_seconds() / 2)
    finally:
        path.unlink(missing_ok=True)


def fresh(path: Path, interval: timedelta, now: datetime) -> bool:
    """Whether ``path`` was touched in the last ``interval`` (mixer.md I, "probe")."""
    with suppress(FileNotFoundError):
        age = now.timestamp() - path.stat().st_mtime
        return age <= interval.total_seconds()
    return False
