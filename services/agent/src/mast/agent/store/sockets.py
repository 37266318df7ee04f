"""Unix sockets of the agent: is somebody there already, make room, leave nothing."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def is_live(path: str) -> bool:
    """Whether a server accepts connections on the socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except OSError:
            return False
        return True


@contextmanager
def place_for(path: str) -> Iterator[str]:
    """Make the socket's directory and take a stale socket away; gives gRPC's address for it.

    The socket is gone when the block is left.
    """
    where = Path(path)
    where.parent.mkdir(parents=True, exist_ok=True)
    where.unlink(missing_ok=True)
    try:
        yield f"unix:{path}"
    finally:
        where.unlink(missing_ok=True)


def open_to_programs(path: str) -> None:
    """Let every user of the pod connect, whatever our umask is: programs are not our user."""
    os.chmod(path, 0o666)  # noqa: S103 - as Istio's agent does it
