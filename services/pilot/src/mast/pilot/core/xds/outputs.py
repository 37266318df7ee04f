"""What comes out of a session: responses to send, and facts to count and to log."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Send:
    """A response to write to the stream."""

    type_url: str
    nonce: str
    payload: bytes
    resources: int


@dataclass(frozen=True)
class Acked:
    """The client accepted a response."""

    type_url: str
    nonce: str


@dataclass(frozen=True)
class Rejected:
    """The client rejected a response; `names` are the suspects, most of them innocent."""

    type_url: str
    nonce: str
    reason: str
    names: tuple[str, ...]


@dataclass(frozen=True)
class Stale:
    """A request carried a nonce that is not open; it was ignored (pilot.md B9)."""

    type_url: str
    nonce: str


Output = Send | Acked | Rejected | Stale
