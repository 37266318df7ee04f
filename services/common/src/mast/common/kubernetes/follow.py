"""A kind's objects kept in step with the API server: list, watch, and list again when it must be.

The rules are those of galley-and-kubernetes.md A2.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from random import random as system_random
from typing import Any, Final, Generic, NamedTuple

import structlog
from typing_extensions import TypeVar

from mast.common.backoff import Backoff
from mast.common.kubernetes.api import Api
from mast.common.kubernetes.decoding import Decoder
from mast.common.kubernetes.errors import ApiFailure, Expired, NotFound, Unreachable, api_error
from mast.common.kubernetes.objects import (
    Object,
    Resource,
    name_of,
    namespace_of,
    version_of,
)

log = structlog.get_logger()

T = TypeVar("T", default=Object)
Key = tuple[str, str]

_WATCH_SECONDS = (300, 600)
_GOOD_FOR = timedelta(minutes=2)
_PROGRESS = ("ADDED", "MODIFIED", "DELETED")


@dataclass(frozen=True, slots=True)
class Change(Generic[T]):
    """One object that is there now, or (``object`` None) is gone; ``previous`` was there before."""

    namespace: str
    name: str
    object: T | None
    previous: T | None


@dataclass(frozen=True)
class Batch(Generic[T]):
    """Changes of distinct objects. After the first one what was told adds up to a whole listing."""

    changes: tuple[Change[T], ...]


@dataclass(frozen=True)
class Form(Generic[T]):
    """What is kept of objects: of those with the fields of ``shape`` what ``keep`` makes of them.

    ``shape`` has at least namespace, name and resourceVersion of the metadata; None is everything.
    Objects that come to equal things are the same. ``keep`` runs in a thread.
    """

    shape: Any
    keep: Callable[[Object], T]


class _Kept(NamedTuple, Generic[T]):
    version: str
    value: T


@dataclass
class _Mirror(Generic[T]):
    """What was told so far, and how it differs from what there is."""

    objects: dict[Key, _Kept[T]] = field(default_factory=dict)

    def put(self, key: Key, found: _Kept[T]) -> Change[T] | None:
        """Take an object as it is now; None if it is what was told."""
        previous = self.objects.get(key)
        if previous is not None and previous.value == found.value:
            self.objects[key] = _Kept(found.version, previous.value)
            return None
        self.objects[key] = found
        return Change(*key, found.value, None if previous is None else previous.value)

    def remove(self, key: Key) -> Change[T] | None:
        """Take that an object is gone; None if it never was there."""
        previous = self.objects.pop(key, None)
        return None if previous is None else Change(*key, None, previous.value)

    def replace(self, listed: Mapping[Key, _Kept[T]]) -> tuple[Change[T], ...]:
        """Everything that a listing changes: only differences, deletions among them."""
        gone = [self.remove(key) for key in set(self.objects) - listed.keys()]
        changes = [*gone, *(self.put(key, found) for key, found in listed.items())]
        return tuple(change for change in changes if change is not None)


def _slim(found: Object) -> Object:
    """Without what nobody reads and everybody would pay for (A2.4)."""
    metadata = dict(found.get("metadata") or {})
    metadata.pop("managedFields", None)
    annotations = dict(metadata.get("annotations") or {})
    if annotations.pop("kubectl.kubernetes.io/last-applied-configuration", None) is not None:
        metadata["annotations"] = annotations
    return {**found, "metadata": metadata}


WHOLE: Final[Form[Object]] = Form(None, _slim)
"""Objects with all of their fields."""


def follow(
    api: Api,
    resource: Resource,
    namespace: str = "",
    *,
    labels: str = "",
    fields: str = "",
    defined: bool = False,
    state: Callable[[ApiFailure | None], None] = lambda _: None,
    random: Callable[[], float] = system_random,
) -> AsyncGenerator[Batch[Object], None]:
    """All objects as they are, then their changes; see ``follow_as``."""
    selected = _Selected(resource, namespace, labels, fields)
    return _follow(_Follower(api, selected, WHOLE, state, random), defined=defined)


def follow_as(
    form: Form[T],
    api: Api,
    resource: Resource,
    *,
    state: Callable[[ApiFailure | None], None] = lambda _: None,
    random: Callable[[], float] = system_random,
) -> AsyncGenerator[Batch[T], None]:
    """What ``form`` makes of all objects, then its changes; use it under ``aclosing``.

    The first batch is the listing, possibly empty. Nothing is lost and nothing is told twice,
    whatever happens to connections: after a lost version (410) it lists again and tells the
    differences. It never ends: while the server is away or refuses, it waits 0.8 to 30 s. A kind
    that is not served (a CRD that is missing) counts as one without objects until it is, unless it
    is ``defined``: then its version is about to come or to go, and what was told stays.
    ``state`` hears of every failure, and None once following works again.
    """
    return _follow(_Follower(api, _Selected(resource), form, state, random), defined=False)


async def _follow(follower: _Follower[T], *, defined: bool) -> AsyncGenerator[Batch[T], None]:
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
        await asyncio.sleep(backoff.next(follower.random()).total_seconds())


class _Selected(NamedTuple):
    """Which objects are followed."""

    resource: Resource
    namespace: str = ""
    labels: str = ""
    fields: str = ""


class _Events(NamedTuple, Generic[T]):
    """What some events change, and the failure that they end with."""

    changes: tuple[Change[T], ...]
    failure: ApiFailure | None


def _sum(before: T | None, last: Change[T]) -> Change[T]:
    """Several changes of an object as one. What came and went meanwhile is told as gone.

    Otherwise who made it, and is to make it again, would never know.
    """
    gone = last.object is None and before is None
    return Change(last.namespace, last.name, last.object, last.previous if gone else before)


@dataclass
class _Follower(Generic[T]):
    """Where following has got to: the version that is watched from, "" before a listing."""

    api: Api
    selected: _Selected
    form: Form[T]
    state: Callable[[ApiFailure | None], None]
    random: Callable[[], float]
    decoder: Decoder = field(init=False)
    mirror: _Mirror[T] = field(default_factory=_Mirror)
    version: str = ""
    told: bool = False
    failing: bool = False
    # Whether the version is a listing's that no watch has proved good.
    unproved: bool = False

    def __post_init__(self) -> None:
        self.decoder = Decoder(self.form.shape)

    async def rounds(self) -> AsyncGenerator[Batch[T], None]:
        """List if need be, then watch again and again; ends with the first failure only."""
        while True:
            if not self.version and (batch := await self._list()):
                yield batch
            async with aclosing(self._watch()) as watched:
                async for lines in watched:
                    events = await self.api.in_turn(partial(self._noted, lines))
                    if events.failure is None or events.changes:
                        self._proved()
                    if events.changes:
                        yield Batch(events.changes)
                    if events.failure is not None:
                        raise events.failure
            self._proved()

    async def _list(self) -> Batch[T] | None:
        """Everything there is; what is kept of a page is made before the next one is read."""
        resource, namespace, labels, fields = self.selected
        listed: dict[Key, _Kept[T]] = {}
        pages = self.api.pages(resource, namespace, self.decoder, labels=labels, fields=fields)
        version = ""
        async with aclosing(pages) as found:
            async for again, page in found:
                if again:
                    listed.clear()
                await self.api.in_turn(partial(self._keep, page.objects, listed))
                version = page.version
        changes = await self.api.in_turn(partial(self.mirror.replace, listed))
        self.version, self.unproved = version, True
        return self._batch(changes)

    def _keep(self, objects: Iterable[Object], listed: dict[Key, _Kept[T]]) -> None:
        """Add objects to a listing; those that were told already are not looked at again."""
        for found in objects:
            key, version = (namespace_of(found), name_of(found)), version_of(found)
            known = self.mirror.objects.get(key)
            same = known is not None and known.version == version
            listed[key] = known if known and same else _Kept(version, self._kept(found))

    def _kept(self, found: Object) -> T:
        resource = self.selected.resource
        common = {"apiVersion": resource.api_version, "kind": resource.kind}
        return self.form.keep({**common, **found})

    def _watch(self) -> AsyncGenerator[Sequence[bytes], None]:
        shortest, longest = _WATCH_SECONDS
        resource, namespace, labels, fields = self.selected
        return self.api.watch(
            resource,
            self.version,
            namespace,
            labels=labels,
            fields=fields,
            seconds=int(shortest + (longest - shortest) * self.random()),
        )

    def _noted(self, lines: Iterable[bytes]) -> _Events[T]:
        """What events change, each object once; they count up to the first failure."""
        before: dict[Key, T | None] = {}
        last: dict[Key, Change[T]] = {}
        failure: ApiFailure | None = None
        for line in lines:
            try:
                kind, found = self.decoder.event(line)
            except ValueError as error:
                failure = Unreachable(f"watch {self.selected.resource.plural}: {error}")
                break
            if kind == "ERROR":
                failure = api_error(500, found)
                break
            self.version = version_of(found) or self.version
            if kind in _PROGRESS and (change := self._changed(kind, found)):
                key = change.namespace, change.name
                before.setdefault(key, change.previous)
                last.pop(key, None)
                last[key] = change
        sums = (_sum(before[key], change) for key, change in last.items())
        return _Events(tuple(each for each in sums if each.object != each.previous), failure)

    def _changed(self, kind: str, found: Object) -> Change[T] | None:
        key = namespace_of(found), name_of(found)
        if kind == "DELETED":
            return self.mirror.remove(key)
        version = version_of(found)
        known = self.mirror.objects.get(key)
        if known is not None and known.version == version:
            return None
        return self.mirror.put(key, _Kept(version, self._kept(found)))

    def unserved(self) -> Batch[T] | None:
        """The kind is not there: what was told of its objects is void."""
        self.version = ""
        return self._batch(self.mirror.replace({}))

    def expired(self) -> bool:
        """The version is lost: list again, at once unless a new one was lost as well."""
        self.version = ""
        log.debug("kubernetes.expired", resource=self.selected.resource.plural)
        return not self.unproved

    def failed(self, error: ApiFailure) -> None:
        """Say so, once per change of state."""
        if not self.failing:
            plural = self.selected.resource.plural
            log.warning("kubernetes.unavailable", resource=plural, error=str(error))
        self.failing = True
        self.state(error)

    def _proved(self) -> None:
        if self.failing:
            log.info("kubernetes.following", resource=self.selected.resource.plural)
            self.state(None)
        self.failing = self.unproved = False

    def _batch(self, changes: tuple[Change[T], ...]) -> Batch[T] | None:
        """What to tell: the first listing even if it is empty."""
        if self.told and not changes:
            return None
        self.told = True
        return Batch(changes)
