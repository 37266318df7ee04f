"""What an API server tells a watcher, event by event."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from mast.common.kubernetes import Api, Resource
from mast.common.kubernetes.decoding import Decoder, Event
from mast.common.kubernetes.errors import api_error


async def watch(
    api: Api, resource: Resource, version: str, namespace: str = "", **options: Any
) -> AsyncGenerator[Event, None]:
    """Events after a version; use it under ``aclosing``. An ERROR is raised."""
    decoder = Decoder()
    async with aclosing(api.watch(resource, version, namespace, **options)) as several:
        async for lines in several:
            for line in lines:
                event = decoder.event(line)
                if event.type == "ERROR":
                    raise api_error(500, event.object)
                yield event
