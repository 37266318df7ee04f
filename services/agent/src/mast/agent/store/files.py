"""Files that others change: read, wait for changes, write at once or not at all."""

import asyncio
import os
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from tempfile import NamedTemporaryFile

POLL = timedelta(milliseconds=500)


def read_if_there(path: str | Path) -> bytes | None:
    """The content of a file, None if there is no such file; other errors are raised."""
    try:
        return Path(path).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None


def text_if_there(path: str | Path) -> str:
    """The text of a file, empty if there is no such file."""
    return (read_if_there(path) or b"").decode()


def write_atomically(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Replace a file: readers see the old content or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as temporary:
        os.fchmod(temporary.fileno(), mode)
        temporary.write(data)
    Path(temporary.name).replace(path)


class FileWatch:
    """Notices changes of files from the moment it is made.

    ``failed`` is called for each file that cannot even be looked at, once until it can again.
    Files are looked at every ``poll``, through symbolic links: a kubelet swaps a directory link,
    and a laptop with many agents has few inotify instances to give.
    """

    def __init__(
        self,
        paths: Sequence[str],
        *,
        debounce: timedelta,
        poll: timedelta = POLL,
        failed: Callable[[], None] = lambda: None,
    ) -> None:
        self._paths = paths
        self._debounce = debounce.total_seconds()
        self._poll = poll.total_seconds()
        self._failed = failed
        self._unseen: frozenset[str] = frozenset()
        self._seen = self._look()

    async def changed(self) -> None:
        """Return once files differ from the last look and were quiet for ``debounce``."""
        while (now := self._look()) == self._seen:  # noqa: ASYNC110 - files give no event here
            await asyncio.sleep(self._poll)
        while now != self._seen:
            self._seen = now
            await asyncio.sleep(self._debounce)
            now = self._look()

    def _look(self) -> list[tuple[int, int, int] | None]:
        """What tells versions of each file apart; ``failed`` counts files that become invisible."""
        found: list[tuple[int, int, int] | None] = []
        unseen = set()
        for path in self._paths:
            try:
                status = Path(path).stat()
            except (FileNotFoundError, NotADirectoryError):
                found.append(None)
            except OSError:
                found.append(None)
                unseen.add(path)
            else:
                found.append((status.st_ino, status.st_mtime_ns, status.st_size))
        for _ in unseen - self._unseen:
            self._failed()
        self._unseen = frozenset(unseen)
        return found
