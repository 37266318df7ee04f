"""What arrives at a proxy: a connection, and perhaps a request on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

RAW: Final = "raw_buffer"
TLS: Final = "tls"
HTTP_1: Final = "http/1.1"
HTTP_2: Final = "h2c"


@dataclass(frozen=True, kw_only=True)
class Connection:
    """A connection: the address that was dialled, who dialled, and what is said first.

    ``transport`` is ``RAW`` or ``TLS``; ``alpns`` and ``server_name`` are those of the TLS
    handshake, ``identities`` the URIs in the certificate that the client showed. ``speaks`` is the
    protocol of plain text: ``HTTP_1``, ``HTTP_2``, or nothing known.
    """

    address: str
    port: int
    source_address: str
    source_port: int = 0
    transport: str = RAW
    server_name: str = ""
    alpns: tuple[str, ...] = ()
    identities: tuple[str, ...] = ()
    speaks: str = ""


@dataclass(frozen=True, kw_only=True)
class Request:
    """The headers of an HTTP request; ``path`` includes the query.

    ``headers`` are lower-case names and values in order, ``claims`` those of a valid token that
    comes with them. ``metadata`` is what filters before the router left, by filter.
    """

    authority: str
    path: str = "/"
    method: str = "GET"
    scheme: str = "http"
    headers: Sequence[tuple[str, str]] = ()
    claims: Mapping[str, Any] | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    mutual_tls: bool = False

    def header(self, name: str) -> str | None:
        """All values of a header or pseudo-header, joined by commas; None if there are none."""
        found = self.header_lines(name)
        return ",".join(found) if found else None

    def header_lines(self, name: str) -> Sequence[str]:
        """The values of a header or pseudo-header, one for each time that it is there."""
        pseudo = {
            ":authority": self.authority,
            "host": self.authority,
            ":path": self.path,
            ":method": self.method,
            ":scheme": self.scheme,
        }
        lower = name.lower()
        if lower in pseudo:
            return [pseudo[lower]]
        return [value for key, value in self.headers if key == lower]

    @property
    def grpc(self) -> bool:
        """Its content type says that it is gRPC."""
        kind = self.header("content-type") or ""
        return kind == "application/grpc" or kind.startswith("application/grpc+")

    @property
    def bare_path(self) -> str:
        """The path without query and fragment."""
        return self.path.partition("#")[0].partition("?")[0]

    @property
    def query(self) -> Mapping[str, str]:
        """Parameters of the query as they are written; of several with one name the first."""
        _, mark, text = self.path.partition("#")[0].partition("?")
        found: dict[str, str] = {}
        for part in text.split("&") if mark else ():
            name, _, value = part.partition("=")
            if part:
                found.setdefault(name, value)
        return found
