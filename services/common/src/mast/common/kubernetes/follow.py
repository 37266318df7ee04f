"""A kind's objects kept in step with the API server: list, watch, and list again when it must be.

The rules are those of galley-and-kubernetes.md A2.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import timedelta
from random import random as system_random

import structlog

from mast.common.backoff import Backoff
from mast.common.kubernetes.api import Api, WatchEvent
from mast.common.kubernetes.errors import ApiFailure, Expired, NotFound
from mast.common.kubernetes.objects import (
    Object,
    Resource,
    name_of,
    namespace_of,
    version_of,
)

log = structlog.get_logger()

_WATCH_SECONDS = (300, 600)
_GOOD_FOR = timedelta(minutes=2)
_PROGRESS = ("ADDED", "MODIFIED", "DELETED")


@dataclass(frozen=True)
class Change:
    """One object that is there now, or (``object`` None) is gone; ``previous`` was there before."""

    namespace: str
    name: str
    object: Object | None
    previous: Object | None


@dataclass(frozen=True)
class Batch:
    """Changes of distinct objects. After the first one what was told adds up to a whole listing."""

    changes: tuple[Change, ...]


@dataclass
class _Mirror:
    """What was told so far, and how it differs from what there is."""

    objects: dict[tuple[str, str], Object] = field(default_factory=dict)

    def put(self, found: Object) -> Change | None:
        key = namespace_of(found), name_of(found)
        previous = self.objects.get(key)
        if previous is not None and version_of(previous) == version_of(found):
            return None
        self.objects[key] = found
        return Change(*key, found, previous)

    def remove(self, key: tuple[str, str]) -> Change | None:
        previous = self.objects.pop(key, None)
        return None if previous is None else Change(*key, None, previous)

    def replace(self, listed: tuple[Object, ...]) -> tuple[Change, ...]:
        """Everything that a listing changes: only differences, deletions among them."""
        present = {(namespace_of(found), name_of(found)) for found in listed}
        gone = [self.remove(key) for key in set(self.objects) - present]
        changes = [*gone, *map(self.put, listed)]
        return tuple(change for change in changes if change is not None)


def _slim(found: Object) -> Object:
    """Without what nobody reads and everybody would pay for (A2.4)."""
    metadata = dict(found.get("metadata") or {})
    metadata.pop("managedFields", None)
    annotations = dict(metadata.get("annotations") or {})
    if annotations.pop("kubectl.kubernetes.io/last-applied-configuration", None) is not None:
        metadata["annotations"] = annotations
    return {**found, "metadata": metadata}


async def follow(
    api: Api,
    resource: Resource,
    namespace: str = "",
    *,
    labels: str = "",
    fields: str = "",
    defined: bool = False,
    state: Callable[[ApiFailure | None], None] = lambda _: None,
    random: Callable[[], float] = system_random,
) -> AsyncGenerator[Batch, None]:
    """All objects, then their changes; use it under ``aclosing``.

    The first batch is the listing, possibly empty. Nothing is lost and nothing is told twice,
    whatever happens to connections: after a lost version (410) it lists again and tells the
    differences. It never ends: while the server is away or refuses, it waits 0.8 to 30 s. A kind
    that is not served (a CRD that is missing) counts as one without objects until it is, unless it
    is ``defined``: then its version is about to come or to go, and what was told stays.
    ``state`` hears of every failure, and None once following works again.
    """
    follower = _Follower(api, resource, namespace, labels, fields, state, random)
    backoff = Backoff(timedelta(milliseconds=800), timedelta(seconds=30))
    loop = asyncio.get_running_loop()
    while True:
        begun = loop.time()
        try:
            async with aclosing(follower.rounds()) as batches:
                async for batch in batches:
                    yield batch
        except NotFound as error:
            if defined:
                follower.expired()
                follower.failed(error)
            elif (unserved := follower.unserved()) is not None:
                yield unserved
        except Expired as error:
            if follower.expired():
                continue
            follower.failed(error)
        except ApiFailure as error:
            follower.failed(error)
        if loop.time() - begun > _GOOD_FOR.total_seconds():
            backoff.reset()
        await asyncio.sleep(backoff.next(random()).total_seconds())


@dataclass
class _Follower:
    """Where following has got to: the version that is watched from, "" before a listing."""

    api: Api
    resource: Resource
    namespace: str
    labels: str
    fields: str
    state: Callable[[ApiFailure | None], None]
    random: Callable[[], float]
    mirror: _Mirror = field(default_factory=_Mirror)
    version: str = ""
    told: bool = False
    failing: bool = False
    # Whether the version is a listing's that no watch has proved good.
    unproved: bool = False

    async def rounds(self) -> AsyncGenerator[Batch, None]:
        """List if need be, then watch again and again; ends with the first failure only."""
        while True:
            if not self.version:
                listing = await self.api.list(
                    self.resource, self.namespace, labels=self.labels, fields=self.fields
                )
                self.version, self.unproved = listing.version, True
                if batch := self._batch(self.mirror.replace(tuple(map(_slim, listing.objects)))):
                    yield batch
            async with aclosing(self._watch()) as events:
                async for event in events:
                    self._proved()
                    self.version = version_of(event.object) or self.version
                    if event.type in _PROGRESS and (change := self._noted(event)):
                        yield Batch((change,))
            self._proved()

    def _watch(self) -> AsyncGenerator[WatchEvent, None]:
        shortest, longest = _WATCH_SECONDS
        return self.api.watch(
            self.resource,
            self.version,
            self.namespace,
            labels=self.labels,
            fields=self.fields,
            seconds=int(shortest + (longest - shortest) * self.random()),
        )

    def unserved(self) -> Batch | None:
        """The kind is not there: what was told of its objects is void."""
        self.version = ""
        return self._batch(self.mirror.replace(()))

    def expired(self) -> bool:
        """The version is lost: list again, at once unless a new one was lost as well."""
        self.version = ""
        log.debug("kubernetes.expired", resource=self.resource.plural)
        return not self.unproved

    def failed(self, error: ApiFailure) -> None:
        """Say so, once per change of state."""
        if not self.failing:
            log.warning("kubernetes.unavailable", resource=self.resource.plural, error=str(error))
        self.failing = True
        self.state(error)

    def _proved(self) -> None:
        if self.failing:
            log.info("kubernetes.following", resource=self.resource.plural)
            self.state(None)
        self.failing = self.unproved = False

    def _batch(self, changes: tuple[Change, ...]) -> Batch | None:
        """What to tell: the first listing even if it is empty."""
        if self.told and not changes:
            return None
        self.told = True
        return Batch(changes)

    def _noted(self, event: WatchEvent) -> Change | None:
        found = event.object
        if event.type == "DELETED":
            return self.mirror.remove((namespace_of(found), name_of(found)))
        return self.mirror.put(_slim(found))
