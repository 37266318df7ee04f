"""What the servers behind a front may know of their callers."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import unquote


@dataclass(frozen=True)
class Peer:
    """A connected caller: the verified URI SANs of its certificate, and its IP address.

    ``names`` are all SANs of the certificate, the URI first. On a Unix socket there is no address
    but ``uid``, the user that connected.
    """

    identities: tuple[str, ...] = ()
    address: str = ""
    names: tuple[str, ...] = ()
    uid: int | None = None


class PeerTable:
    """What is known of the callers that are connected through a front."""

    def __init__(self) -> None:
        self._peers: dict[str, Peer] = {}

    def identities(self, grpc_peer: str) -> tuple[str, ...]:
        """The verified URI SANs of a caller; () without certificate or for an unknown path."""
        peer = self.find(grpc_peer)
        return peer.identities if peer else ()

    def address(self, grpc_peer: str) -> str:
        """The IP address of a caller, "" for an unknown path."""
        peer = self.find(grpc_peer)
        return peer.address if peer else ""

    def __len__(self) -> int:
        return len(self._peers)

    def find(self, grpc_peer: str) -> Peer | None:
        """All that is known of a caller; None for an unknown path."""
        return self._peers.get(unquote(grpc_peer.removeprefix("unix:")))

    @contextmanager
    def present(self, path: str, peer: Peer) -> Iterator[None]:
        """Know a caller, for as long as the block lasts, by the path that stands for it."""
        self._peers[path] = peer
        try:
            yield
        finally:
            del self._peers[path]
