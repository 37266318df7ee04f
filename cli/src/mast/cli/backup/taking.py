"""Taking a backup: everything that belongs into it, as it was at one revision of the store."""

from __future__ import annotations

from contextlib import aclosing
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from mast.cli.backup.archive import Header, Item, Writer, writing
from mast.cli.backup.contents import ALWAYS, belongs, defect
from mast.cli.errors import CommandError
from mast.common.etcd import Compacted, Store
from mast.common.keys import CA_RESTORING, HISTORY

_ATTEMPTS: Final = 5


async def take(
    store: Store,
    path: Path,
    now: datetime,
    *,
    history: bool = False,
    keys: dict[str, Any] | None = None,
) -> Header:
    """Write a backup; ``keys`` are the sealing keys as they are to stand in it.

    Raises CommandError if something is stored that could not be put back, or if a restore is not
    finished: half of a state is no state. Raises EtcdError if etcd does not answer.
    """
    prefixes = (*ALWAYS, *((HISTORY,) if history else ()))
    for _ in range(_ATTEMPTS):
        try:
            return await _taken(store, path, now, prefixes, keys)
        except Compacted as error:
            compacted = error
    raise CommandError(f"the store was compacted while it was read, again and again: {compacted}")


async def _taken(
    store: Store,
    path: Path,
    now: datetime,
    prefixes: tuple[str, ...],
    keys: dict[str, Any] | None,
) -> Header:
    # A marker tells of a restore that goes on; the page also tells the newest revision.
    async with aclosing(store.pages(CA_RESTORING)) as pages:
        first = await anext(pages)
    if first.entries:
        raise CommandError("a restore is not finished", hint="run it again first")
    header = Header(
        cluster=f"{await store.cluster_id():x}",
        revision=first.revision,
        time=now.isoformat(timespec="seconds"),
        mastctl=version("mast-cli"),
        prefixes=prefixes,
    )
    with writing(path, header) as writer:
        for prefix in prefixes:
            await _add(store, writer, prefix, header)
        writer.finish(keys)
    return header


async def _add(store: Store, writer: Writer, prefix: str, header: Header) -> None:
    async with aclosing(store.pages(prefix, revision=header.revision)) as pages:
        async for page in pages:
            for entry in page.entries:
                if entry.lease or not belongs(entry.key, header.prefixes):
                    continue
                if (reason := defect(entry.key, entry.value)) is not None:
                    raise CommandError(
                        f"{entry.key!r} cannot be read, nor could it be put back: {reason}",
                        hint="delete it, or take a snapshot: mastctl etcd snapshot",
                    )
                writer.add(Item(entry.key, entry.value, entry.mod_revision))
