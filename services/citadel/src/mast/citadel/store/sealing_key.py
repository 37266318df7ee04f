"""The file with the key that seals the CA's private key in the store."""

import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from mast.citadel.core.sealing import KEY_BYTES


def sealing_key(path: Path, entropy: Callable[[int], bytes]) -> bytes:
    """The 32 bytes in the file, which is made (mode 0600) if it is absent.

    Of several processes that make it at once one wins and all return the winner's key. Raises
    OSError if the file cannot be read, is readable by others or is not 32 bytes long.
    """
    try:
        return _read(path)
    except FileNotFoundError:
        _create(path, entropy(KEY_BYTES))
        return _read(path)


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        mode = os.fstat(file.fileno()).st_mode & 0o777
        key = file.read(KEY_BYTES + 1)
    if mode & 0o077:
        raise OSError(f"sealing key file {path}: mode {mode:04o}, want 0600")
    if len(key) != KEY_BYTES:
        raise OSError(f"sealing key file {path}: not {KEY_BYTES} bytes long")
    return key


def _create(path: Path, key: bytes) -> None:
    """Write beside and link into place: nobody ever reads half a key."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, draft = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 0600
    try:
        with open(descriptor, "wb") as file:
            file.write(key)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):  # another process was faster
            os.link(draft, path)
    finally:
        os.unlink(draft)
