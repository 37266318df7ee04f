"""Watching a directory tree: its contents, each time they have changed and come to rest.

The tree is polled by name, size, time and inode, which sees edits, renames and swapped symlinks
on every file system; notifications of the kernel only make it look at once.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import structlog
from watchfiles import awatch

from mast.galley.core.documents import TEXT_LIMIT_BYTES
from mast.galley.store.commits import commit_of

log = structlog.get_logger()

SUFFIXES = (".yaml", ".yml", ".json")
POLL = timedelta(seconds=1)
QUIET = timedelta(milliseconds=100)
# How often a tree that never rests is looked at before it is read as it is.
_PATIENCE = 50

Signature = tuple[int, int, int]
Contents = Mapping[str, bytes | str]


@dataclass(frozen=True, slots=True)
class Found:
    """What was found at once: contents by path relative to the root, or why there is none; and the
    commit, if it is a Git work tree."""

    contents: Contents
    commit: str = ""


class FileTree:
    """The configuration files below a directory; names that begin with a dot are left out."""

    def __init__(self, root: Path, *, poll: timedelta = POLL, quiet: timedelta = QUIET) -> None:
        self._root = root
        self._poll = poll
        self._quiet = quiet
        self._wake = asyncio.Event()
        self._seen: Mapping[str, Signature] | None = None

    async def next(self) -> Found:
        """The contents, once they differ from those given before.

        A directory that is gone (not mounted yet) is waited for. One that leads elsewhere, or is at
        another commit, by the time it is read is read again: what is given is of one moment.
        """
        while True:
            signatures = await asyncio.to_thread(_signatures, self._root)
            if signatures is not None and signatures != self._seen:
                settled = await self._settled(signatures)
                found = None
                if settled is not None:
                    found = await asyncio.to_thread(_found, self._root, settled)
                if found is not None:
                    self._seen = settled
                    return found
            self._wake.clear()
            await self._woken(self._poll)

    async def _settled(self, signatures: Mapping[str, Signature]) -> Mapping[str, Signature] | None:
        """The signatures as soon as they stay the same for a moment; the last ones if never."""
        for _ in range(_PATIENCE):
            await asyncio.sleep(self._quiet.total_seconds())
            again = await asyncio.to_thread(_signatures, self._root)
            if again is None or again == signatures:
                return again
            signatures = again
        return signatures

    async def _woken(self, limit: timedelta) -> None:
        try:
            async with asyncio.timeout(limit.total_seconds()):
                await self._wake.wait()
        except TimeoutError:
            return

    @asynccontextmanager
    async def notified(self) -> AsyncIterator[None]:
        """Look at once, not at the next poll, when the kernel tells of a change."""
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen(stop), name=f"notifications of {self._root}")
            try:
                yield
            finally:
                stop.set()

    async def _listen(self, stop: asyncio.Event) -> None:
        try:
            async for _ in awatch(self._root, stop_event=stop, debounce=50, step=20):
                self._wake.set()
        except (OSError, RuntimeError) as error:
            log.info("files.polling", directory=str(self._root), reason=str(error))


def _signatures(root: Path) -> Mapping[str, Signature] | None:
    """What can be told of each file without reading it; None if there is no such directory."""
    if not root.is_dir():
        return None
    found: dict[str, Signature] = {}
    visited: set[tuple[int, int]] = set()
    for directory, folders, names in os.walk(root, followlinks=True):
        place = _place(directory)
        if place is None or place in visited:
            folders.clear()
            continue
        visited.add(place)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in names:
            path = Path(directory, name)
            if not name.startswith(".") and path.suffix in SUFFIXES and not _is_special(path):
                found[str(path.relative_to(root))] = _signature(path)
    return found


def _is_special(path: Path) -> bool:
    """A pipe, socket or device: reading it might never end."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode)


def _place(directory: str) -> tuple[int, int] | None:
    """What is the same for all paths to a directory; None if it has just gone."""
    try:
        status = os.stat(directory)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _signature(path: Path) -> Signature:
    try:
        status = path.stat()
    except OSError:
        return (0, 0, 0)
    return (status.st_mtime_ns, status.st_size, status.st_ino)


def _found(root: Path, paths: Mapping[str, Signature]) -> Found | None:
    place, commit = root.resolve(), commit_of(root)
    contents = _contents(place, paths)
    same = (root.resolve(), commit_of(root)) == (place, commit)
    return Found(contents, commit) if same else None


def _contents(root: Path, paths: Mapping[str, Signature]) -> Contents:
    found: dict[str, bytes | str] = {}
    for path in paths:
        try:
            with (root / path).open("rb") as file:
                # One byte more than may be judged tells that it is too long.
                found[path] = file.read(TEXT_LIMIT_BYTES + 1)
        except FileNotFoundError:
            continue
        except OSError as error:
            found[path] = f"cannot be read: {error.strerror}"
    return found
