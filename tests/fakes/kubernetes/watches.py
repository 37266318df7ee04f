"""Listings and watches ("Efficient detection of changes", "Retrieving large results sets")."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property

from aiohttp import web

from mast.common.kubernetes.objects import Object, Resource
from tests.fakes.kubernetes.chaos import Chaos
from tests.fakes.kubernetes.objects import Event, Objects
from tests.fakes.kubernetes.selectors import selector
from tests.fakes.kubernetes.status import Status, bad_request

Selects = Callable[[Object], bool]

# Where the first objects of a watch that begins with them end.
INITIAL_END = "k8s.io/initial-events-end"


@dataclass(eq=False)
class Stream:
    """A watch that is open; it ends by ``cut``, with a word if it is ``expired``."""

    cut: asyncio.Event = field(default_factory=asyncio.Event)
    expired: bool = False


@dataclass
class Streams:
    """The watches that are open, how often bookmarks come, and how many came."""

    bookmarks_every: timedelta = timedelta(milliseconds=200)
    bookmarks: int = 0
    open: set[Stream] = field(default_factory=set)

    def end(self, *, expired: bool = False) -> None:
        """End all of them: without a word, or as those whose version is forgotten."""
        for stream in self.open:
            stream.expired = expired
            stream.cut.set()


@dataclass(frozen=True)
class Asked:
    """What a listing or watch asks for; 400 if its parameters are no good."""

    resource: Resource
    namespace: str
    query: Mapping[str, str]

    @cached_property
    def selects(self) -> Selects:
        query = self.query
        labels, fields = query.get("labelSelector", ""), query.get("fieldSelector", "")
        return selector(self.resource, labels, fields)

    @property
    def version(self) -> int | None:
        return self.number("resourceVersion")

    def number(self, name: str) -> int | None:
        text = self.query.get(name, "")
        if text and not text.isdecimal():
            raise bad_request(f'{name}: Invalid value: "{text}": want a number')
        return int(text) if text else None

    def is_set(self, name: str) -> bool:
        return self.query.get(name) in {"true", "1"}

    def shown(self, found: Object) -> Object:
        """An object in the version that is asked for."""
        if found.get("apiVersion") == self.resource.api_version:
            return found
        return {**found, "apiVersion": self.resource.api_version}


def page(objects: Objects, chaos: Chaos, asked: Asked) -> Object:
    """One page of a listing: all pages show one revision."""
    token, match = asked.query.get("continue", ""), asked.query.get("resourceVersionMatch", "")
    version = asked.version
    if match and version is None:
        raise bad_request("resourceVersionMatch is forbidden unless resourceVersion is provided")
    if token:
        if version:
            raise bad_request("specifying resource version is not allowed when using continue")
        if token not in objects.pages:
            raise Status(410, "Expired", "The provided continue parameter is too old")
        rest, revision = objects.pages.pop(token)
    else:
        revision = _revision(objects, chaos, version, match)
        past = revision if revision < objects.revision else None
        rest = objects.shown(asked.resource, asked.namespace, asked.selects, past)
    limit = asked.number("limit") or len(rest)
    found, rest = rest[:limit], rest[limit:]
    metadata: Object = {"resourceVersion": str(revision)}
    if rest:
        metadata["continue"] = f"page-{revision}-{len(objects.pages)}-{len(rest)}"
        if not asked.query.get("labelSelector") and not asked.query.get("fieldSelector"):
            metadata["remainingItemCount"] = len(rest)
        objects.pages[metadata["continue"]] = (rest, revision)
    return {
        "kind": f"{asked.resource.kind}List",
        "apiVersion": asked.resource.api_version,
        "metadata": metadata,
        "items": [{k: v for k, v in o.items() if k not in {"apiVersion", "kind"}} for o in found],
    }


def _revision(objects: Objects, chaos: Chaos, version: int | None, match: str) -> int:
    """The revision that a listing shows ("Semantics for list"); 504 for one that is to come."""
    if version is None:
        return objects.revision
    if version > objects.revision:
        raise _too_large(version, objects.revision)
    if match == "Exact":
        return version
    cached = objects.revision if chaos.cache is None else chaos.cache
    return cached if version <= cached else objects.revision


def _too_large(version: int, current: int) -> Status:
    message = f"Timeout: Too large resource version: {version}, current: {current}"
    return Status(504, "Timeout", message, retry_after=1)


@dataclass
class Watch:
    """One watch, told to whoever reads the response."""

    objects: Objects
    chaos: Chaos
    asked: Asked
    response: web.StreamResponse
    stream: Stream
    streams: Streams

    async def run(self) -> None:
        """Tell what happens until the watch ends; connections may end meanwhile."""
        objects, asked = self.objects, self.asked
        seconds = asked.number("timeoutSeconds")
        with suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(1800 if seconds is None else seconds):
                seen = await self._begin()
                while not self.stream.cut.is_set():
                    change, upto = objects.change, self._upto()
                    try:
                        fresh = list(objects.since(seen, asked.resource, asked.namespace))
                    except Status as status:
                        await self._line("ERROR", status.body())
                        return
                    for event in fresh:
                        if event.revision <= upto:
                            await self._event(event)
                    seen = max(seen, upto)
                    await self._idle(change, seen)
                if self.stream.expired:
                    gone = Status(410, "Expired", f"too old resource version: {seen}")
                    await self._line("ERROR", gone.body())

    def _upto(self) -> int:
        return self.objects.revision if self.chaos.cache is None else self.chaos.cache

    async def _begin(self) -> int:
        """What is there, if the watch begins with it; and old events, if somebody wants chaos."""
        objects, asked, version = self.objects, self.asked, self.asked.version
        if not version or asked.is_set("sendInitialEvents"):
            revision = self._upto()
            past = revision if revision < objects.revision else None
            for found in objects.shown(asked.resource, asked.namespace, asked.selects, past):
                await self._line("ADDED", asked.shown(found))
            if asked.is_set("sendInitialEvents"):
                await self._bookmark(revision, {"annotations": {INITIAL_END: "true"}})
            return revision
        if self.chaos.replays:
            past_events = [
                event
                for event in objects.since(objects.oldest, asked.resource, asked.namespace)
                if event.revision <= version
            ]
            for event in past_events[-self.chaos.replays :]:
                await self._event(event)
        return version

    async def _event(self, event: Event) -> None:
        """An event as a watcher with selectors sees it: what is not selected is not there."""
        selects = self.asked.selects
        now = event.type != "DELETED" and selects(event.object)
        before = event.previous is not None and selects(event.previous)
        if not now and not before:
            return
        kind = "DELETED" if not now else "MODIFIED" if before else "ADDED"
        for _ in range(1 + self.chaos.repeats):
            await self._line(kind, self.asked.shown(event.object))

    async def _idle(self, change: asyncio.Event, seen: int) -> None:
        """Wait for something to happen; a bookmark now and then."""
        try:
            async with asyncio.timeout(self.streams.bookmarks_every.total_seconds()):
                await _either(change, self.stream.cut)
        except TimeoutError:
            if self.asked.is_set("allowWatchBookmarks"):
                await self._bookmark(seen)

    async def _bookmark(self, revision: int, metadata: Object | None = None) -> None:
        mark = {
            "kind": self.asked.resource.kind,
            "apiVersion": self.asked.resource.api_version,
            "metadata": {"resourceVersion": str(revision), **(metadata or {})},
        }
        await self._line("BOOKMARK", mark)
        self.streams.bookmarks += 1

    async def _line(self, kind: str, found: Object) -> None:
        text = json.dumps({"type": kind, "object": found})
        await self.response.write(text.encode() + b"\n")


async def _either(*events: asyncio.Event) -> None:
    async with asyncio.TaskGroup() as tasks:
        waiting = [tasks.create_task(each.wait()) for each in events]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()
