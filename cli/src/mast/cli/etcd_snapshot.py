"""Copies of everything that etcd holds, as `etcdutl snapshot restore` takes them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Final

import grpc
import grpc.aio

from mast.cli.errors import CommandError
from mast.common.etcd.stubs import rpc_pb2, rpc_pb2_grpc

_SECONDS: Final = 600
_PAGE: Final = 512
_DIGEST: Final = hashlib.sha256().digest_size
_NAME: Final = "mast-%Y%m%dT%H%M%SZ.db"
_PATTERN: Final = "mast-*.db"


async def save(channel: grpc.aio.Channel, folder: Path, now: datetime) -> Path:
    """A snapshot in ``folder`` (mode 0600), named for the time; there is no half one, ever.

    Raises CommandError if etcd does not give it, or if it did not arrive whole: the database, whose
    size is a multiple of 512, is followed by its SHA-256.
    """
    draft, path = folder / ".snapshot.part", folder / now.strftime(_NAME)
    stub = rpc_pb2_grpc.MaintenanceStub(channel)
    seen, held = hashlib.sha256(), b""
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            async for part in stub.Snapshot(rpc_pb2.SnapshotRequest(), timeout=_SECONDS):
                file.write(part.blob)
                held += part.blob
                seen.update(held[:-_DIGEST])
                held = held[-_DIGEST:]
            size = file.tell()
            file.flush()
            os.fsync(file.fileno())
    except grpc.aio.AioRpcError as error:
        draft.unlink(missing_ok=True)
        raise CommandError(f"etcd: {error.code().name}: {error.details()}") from error
    if size % _PAGE != _DIGEST or held != seen.digest():
        draft.unlink()
        raise CommandError(f"the snapshot did not arrive whole: {size} bytes")
    draft.replace(path)
    return path


def outdated(folder: Path, keep: int) -> Iterator[Path]:
    """All snapshots but the newest ``keep``."""
    yield from sorted(folder.glob(_PATTERN))[: -keep or None]


@asynccontextmanager
async def reached(
    endpoint: str, ca: Path | None, cert: Path | None, key: Path | None
) -> AsyncIterator[grpc.aio.Channel]:
    """A member, with TLS if there is a CA; CommandError if the files cannot be read."""
    if ca is None:
        async with grpc.aio.insecure_channel(endpoint) as channel:
            yield channel
        return
    try:
        chain, own = (file.read_bytes() if file else None for file in (cert, key))
        credentials = grpc.ssl_channel_credentials(ca.read_bytes(), own, chain)
    except OSError as error:
        raise CommandError(f"cannot read {error.filename}: {error.strerror}") from error
    async with grpc.aio.secure_channel(endpoint, credentials) as channel:
        yield channel
