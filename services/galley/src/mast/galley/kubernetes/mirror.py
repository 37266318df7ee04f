"""Objects of a kind as they were told last, for whoever has to compare."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field

from mast.common.kubernetes import Api, Change, Object, Resource, follow


@dataclass
class Mirror:
    """Keeps in step with one resource; ``told`` is called for every change, ``synced`` once."""

    api: Api
    resource: Resource
    told: Callable[[Change], None]
    labels: str = ""
    fields: str = ""
    namespace: str = ""
    synced: asyncio.Event = field(default_factory=asyncio.Event)
    _objects: dict[tuple[str, str], Object] = field(default_factory=dict, init=False)

    def get(self, namespace: str, name: str) -> Object | None:
        """One object."""
        return self._objects.get((namespace, name))

    def __iter__(self) -> Iterator[Object]:
        return iter(list(self._objects.values()))

    async def run(self) -> None:
        """Follow, for ever."""
        following = follow(
            self.api, self.resource, self.namespace, labels=self.labels, fields=self.fields
        )
        async with aclosing(following) as batches:
            async for batch in batches:
                for change in batch.changes:
                    key = (change.namespace, change.name)
                    if change.object is None:
                        self._objects.pop(key, None)
                    else:
                        self._objects[key] = change.object
                for change in batch.changes:
                    self.told(change)
                self.synced.set()
