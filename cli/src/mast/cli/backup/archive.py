"""The file of a backup: gzip'd lines of JSON, the last of which tells whether the others are whole.

The first line is the header, then one for each key, by prefix, then one with the sealing keys if
they are in it, then the end: counts, ids of sealing keys, and the SHA-256 of all lines before.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import os
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from mast.cli.backup.contents import belongs, defect, sealed
from mast.cli.errors import CommandError
from mast.common.keys import TRUST

FORMAT: Final = "mast-backup"
VERSION: Final = 1
"""Rises when a file needs a newer mastctl to be understood."""

_SHOWN: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """Where and when it was taken: ``cluster`` is etcd's own name for itself, in hexadecimal."""

    cluster: str
    revision: int
    time: str
    mastctl: str
    prefixes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Item:
    """A key as it was: ``revision`` is the one that it was last written at."""

    key: str
    value: bytes
    revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """``counts`` by prefix, ``key_ids`` by the name of the sealing key."""

    counts: Mapping[str, int]
    key_ids: Mapping[str, tuple[str, ...]]
    trust_domains: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Backup:
    """A whole file; ``keys`` are the sealing keys as they stand in it, encrypted."""

    header: Header
    items: tuple[Item, ...] = field(repr=False)
    keys: Mapping[str, Any] | None = field(repr=False)
    end: End
    checksum: str


class Writer:
    """Writes lines and remembers what the end has to tell."""

    def __init__(self, file: gzip.GzipFile, header: Header) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self._end = _Summary(header.prefixes)
        self._line({"format": FORMAT, "version": VERSION, **asdict(header)})

    def add(self, item: Item) -> None:
        """One key."""
        self._end.add(item)
        value = base64.b64encode(item.value).decode()
        self._line({"key": item.key, "revision": item.revision, "value": value})

    def finish(self, keys: Mapping[str, Any] | None) -> End:
        """The encrypted sealing keys, if they are to be in it, and the end."""
        if keys is not None:
            self._line({"keys": keys})
        end = self._end.told()
        self._line({"end": asdict(end), "sha256": self._digest.hexdigest()})
        return end

    def _line(self, content: Mapping[str, Any]) -> None:
        line = json.dumps(content).encode() + b"\n"
        self._digest.update(line)
        self._file.write(line)


class _Summary:
    def __init__(self, prefixes: tuple[str, ...]) -> None:
        self._counts = dict.fromkeys(prefixes, 0)
        self._key_ids: dict[str, set[str]] = {}
        self._domains: set[str] = set()

    def add(self, item: Item) -> None:
        prefix = next(each for each in self._counts if item.key.startswith(each))
        self._counts[prefix] += 1
        for name, each in sealed(item.key, item.value):
            self._key_ids.setdefault(name, set()).add(each.key_id)
        if item.key.startswith(TRUST):
            self._domains.add(item.key.removeprefix(TRUST))

    def told(self) -> End:
        ids = {name: tuple(sorted(found)) for name, found in sorted(self._key_ids.items())}
        return End(
            counts=dict(self._counts), key_ids=ids, trust_domains=tuple(sorted(self._domains))
        )


@contextmanager
def writing(path: Path, header: Header) -> Iterator[Writer]:
    """A file of mode 0600 that is there when it is whole, and not at all if anything fails."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with (
            os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as raw,
            gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0) as packed,
        ):
            yield Writer(packed, header)
            packed.close()
            raw.flush()
            os.fsync(raw.fileno())
        draft.replace(path)
    except OSError as error:
        raise CommandError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        draft.unlink(missing_ok=True)


def read(path: Path) -> Backup:
    """A file, wholly verified; CommandError tells what is wrong with it."""
    try:
        with gzip.open(path) as file:
            lines = file.read().splitlines(keepends=True)
    except (OSError, EOFError, zlib.error) as error:
        raise CommandError(f"{path}: cut, damaged, or no backup: {error}") from error
    try:
        found = _parsed(lines)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CommandError(f"{path}: cut, damaged, or no backup: {error}") from error
    wrong = [*_defects(found)]
    if wrong:
        more = f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise CommandError(
            f"{path}: {'; '.join(wrong[:_SHOWN])}{more}",
            hint="a newer mastctl may have taken it; nothing was written",
        )
    return found


def _parsed(lines: list[bytes]) -> Backup:
    first = json.loads(lines[0]) if lines else {}
    if first.pop("format", None) != FORMAT:
        raise ValueError("the first line is not a header")
    version = first.pop("version")
    if version != VERSION:
        raise CommandError(
            f"the backup has format {version}; this mastctl understands {VERSION}",
            hint="use the mastctl that took it, or a newer one",
        )
    last = json.loads(lines[-1])
    checksum = hashlib.sha256(b"".join(lines[:-1])).hexdigest()
    if last["sha256"] != checksum:
        raise ValueError("the checksum is another one")
    middle = [json.loads(line) for line in lines[1:-1]]
    keys = middle.pop()["keys"] if middle and "keys" in middle[-1] else None
    items = (
        Item(each["key"], base64.b64decode(each["value"], validate=True), each["revision"])
        for each in middle
    )
    header = Header(**{**first, "prefixes": tuple(first["prefixes"])})
    end = last["end"]
    ids = {name: tuple(each) for name, each in end["key_ids"].items()}
    told = End(counts=end["counts"], key_ids=ids, trust_domains=tuple(end["trust_domains"]))
    return Backup(header=header, items=tuple(items), keys=keys, end=told, checksum=checksum)


def _defects(backup: Backup) -> Iterator[str]:
    """Whatever is not as the header and the end say, or could not be read once it is restored."""
    prefixes = backup.header.prefixes
    summary, seen = _Summary(prefixes), set()
    for item in backup.items:
        if not belongs(item.key, prefixes):
            yield f"{item.key!r} does not belong into it"
        elif item.key in seen:
            yield f"{item.key!r} is there twice"
        elif (reason := defect(item.key, item.value)) is not None:
            yield f"{item.key!r}: {reason}"
        else:
            summary.add(item)
            seen.add(item.key)
    told = summary.told()
    if len(seen) == len(backup.items) and told != backup.end:
        yield f"it holds {told.counts}, and should hold {backup.end.counts}"
