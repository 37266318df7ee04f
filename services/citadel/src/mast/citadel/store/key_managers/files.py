"""Keys in files of the operator's choice, mode 0600 (A12). Replicas need a directory in common."""

import asyncio
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from mast.citadel.core.keys import PrivateKey, key_name, load_private_key, private_key_pem
from mast.citadel.core.remote_keys import KeyUnavailable
from mast.citadel.store.key_managers.keyring import NewKey
from mast.common.identity.ca_client import new_private_key


@dataclass(frozen=True)
class FileKeys:
    """``NAME.pem`` in a directory, which is made if it is not there (0700)."""

    directory: Path

    async def create(self, algorithm: str) -> NewKey:
        return await asyncio.to_thread(self._create, algorithm)

    async def load(self, name: str) -> PrivateKey | None:
        return await asyncio.to_thread(self._load, name)

    async def destroy(self, name: str) -> None:
        try:
            self._path(name).unlink(missing_ok=True)
        except OSError as error:
            raise KeyUnavailable(str(error)) from error

    def _create(self, algorithm: str) -> NewKey:
        key = new_private_key(algorithm)
        made = NewKey(key, key_name(key))
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            with os.fdopen(os.open(self._path(made.id), flags, 0o600), "w") as file:
                file.write(private_key_pem(key))
        except OSError as error:
            raise KeyUnavailable(str(error)) from error
        return made

    def _load(self, name: str) -> PrivateKey:
        """Raises KeyUnavailable also for a file that others could read."""
        path = self._path(name)
        try:
            with path.open("rb") as file:
                mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
                pem = file.read()
        except OSError as error:
            raise KeyUnavailable(f"key file {path}: {error.strerror}") from error
        if mode & 0o077:
            raise KeyUnavailable(f"key file {path}: mode is {mode:04o}, want 0600")
        try:
            return load_private_key(pem)
        except ValueError as error:
            raise KeyUnavailable(f"key file {path}: {error}") from error

    def _path(self, name: str) -> Path:
        return self.directory / f"{Path(name).name}.pem"
