"""Log events as something to wait for."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

import structlog

Events = asyncio.Queue[MutableMapping[str, Any]]


@contextmanager
def log_events() -> Iterator[Events]:
    """A queue of everything that is logged within the block, in order."""
    queue: Events = asyncio.Queue()

    def put(_: Any, level: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        queue.put_nowait({**event, "log_level": level})
        raise structlog.DropEvent

    before = structlog.get_config()["processors"]
    structlog.configure(processors=[put])
    try:
        yield queue
    finally:
        structlog.configure(processors=before)
