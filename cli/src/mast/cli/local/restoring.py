"""A laptop mesh and backups of it: its store when nothing runs, and a state to start with."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import aiohttp

from mast.cli.backup.archive import read
from mast.cli.backup.restoring import restore
from mast.cli.backup.sealing_keys import read_key, write_key
from mast.cli.errors import CommandError
from mast.cli.local import mesh as meshes
from mast.cli.local import plan
from mast.cli.local.etcd import certificate
from mast.cli.local.home import Home, Mesh
from mast.common.etcd import EtcdConfig, connect
from mast.common.etcd.roles import ADMINISTRATOR

_SECONDS: Final = 30
_BACKUP_USER: Final = "backup"
_CALL: Final = timedelta(seconds=20)


def key_files(home: Home) -> Mapping[str, Path]:
    """Where the sealing keys of the mesh are, by name; they need not be there."""
    return {"ca": home.path("data", "ca.key"), "secrets": home.path("data", "secrets.key")}


def keys_at_hand(home: Home) -> Mapping[str, bytes]:
    """The sealing keys that are there."""
    return {name: read_key(path) for name, path in key_files(home).items() if path.exists()}


@asynccontextmanager
async def standing_store(home: Home) -> AsyncIterator[EtcdConfig]:
    """How to read the store of the mesh; of one that was killed, the store runs meanwhile."""
    mesh = home.mesh()
    if mesh is None:
        raise CommandError("there is no mesh here", hint="start one with: mastctl up")
    if mesh.supervisor.alive():
        yield _reached(home, mesh, _BACKUP_USER)
        return
    with home.lock(), home.path("logs", "etcd.log").open("ab") as log:
        service = plan.etcd_service(home, mesh)
        process = await asyncio.create_subprocess_exec(
            *service.command, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log
        )
        try:
            await _until_ready(service.ready)
            yield _reached(home, mesh, _BACKUP_USER)
        finally:
            process.terminate()
            await process.wait()


async def start_with(
    home: Home,
    file: Path,
    keys: Mapping[str, bytes],
    mode: str,
    now: datetime,
    progress: meshes.Progress,
) -> Mesh:
    """Start a mesh with the state of a backup, or start the one that is here anew with it.

    ``keys`` are the sealing keys of the backup. Raises CommandError as ``mesh.start``.
    """

    def prepare() -> None:
        for name, path in key_files(home).items():
            if name in keys and keys[name] != keys_at_hand(home).get(name):
                path.unlink(missing_ok=True)
                write_key(path, keys[name])
        shutil.copyfile(file, staged(home))
        staged(home).chmod(0o600)

    if home.mesh() is None:
        return await meshes.start(home, mode, now, progress, prepare=prepare)
    return await meshes.start_anew(home, now, progress, prepare)


def staged(home: Home) -> Path:
    """Where a backup waits until the store is there to take it."""
    return home.path(*plan.STAGED)


async def put_back(home: Home, mesh: Mesh) -> None:
    """Restore what waits for that; the store does not ask for users yet, or knows us as root.

    Raises CommandError or EtcdError; the backup goes on waiting then.
    """
    waiting = staged(home)
    if not waiting.exists():
        return
    async with connect(_reached(home, mesh, ADMINISTRATOR)) as store:
        await restore(store, await asyncio.to_thread(read, waiting), force=True)
    waiting.unlink()


def _reached(home: Home, mesh: Mesh, user: str) -> EtcdConfig:
    pki = plan.etcd_pki(home)
    chain, key = certificate(pki, user)
    return EtcdConfig(
        endpoints=(mesh.addresses["etcd"],),
        ca=pki / "ca.pem",
        cert=chain,
        key=key,
        timeout=_CALL,
    )


async def _until_ready(url: str) -> None:
    try:
        async with (
            asyncio.timeout(_SECONDS),
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session,
        ):
            while not await meshes.is_ready(session, url):  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise CommandError(f"the store of the mesh does not start in {_SECONDS} s") from None
