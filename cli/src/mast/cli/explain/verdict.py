"""What a workload or gateway decides about a call, wherever it comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mast.cli.explain.inbound import arrive
from mast.cli.explain.outbound import Asked, explain
from mast.cli.explain.site import Side, Surroundings
from mast.cli.explain.story import Judged, Step, Story
from mast.cli.explain.traffic import HTTP_1, RAW, TLS, Connection, Request
from mast.pilot.core import names
from mast.pilot.core.model.proxy import ProxyType
from mast.pilot.core.security.authorization.principals import SPIFFE

SOMEBODY = "192.0.2.1"
"""Stands for the address (RFC 5737) of a caller whose address is not given."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """A request, or a connection that carries bytes if ``http`` is false, to a port.

    ``principal`` is the caller's identity with or without its scheme; without it the caller has no
    certificate of the mesh. ``claims`` are those of a valid token.
    """

    port: int
    http: bool = True
    host: str = ""
    path: str = "/"
    method: str = "GET"
    headers: Sequence[tuple[str, str]] = ()
    claims: Mapping[str, Any] | None = None
    principal: str = ""
    source_address: str = SOMEBODY
    server_name: str = ""


@dataclass(frozen=True)
class Verdict:
    """What was decided, in steps; ``decided`` is the rule that counted, None if none did."""

    story: Story

    @property
    def allowed(self) -> bool:
        """The call reaches the workload, or goes on beyond the gateway."""
        return not self.story.status

    @property
    def decided(self) -> Judged | None:
        """The rule that refuses, or the one that allows."""
        wanted = "ALLOW" if self.allowed else "DENY"
        matching = (each for each in self.story.access if each.enforced and not each.lacking)
        return next((each for each in matching if each.action == wanted), None)

    @property
    def last(self) -> Step:
        """The step that refused, else the last one that was taken."""
        return self.story.steps[-1]


def verdict(call: Call, side: Side, around: Surroundings) -> Verdict:
    """The verdict of a proxy; raises NotUnderstood."""
    if side.proxy.type is ProxyType.ROUTER:
        return Verdict(explain(_asked(call), side, around, onwards=False))
    story = Story()
    arrive(_connection(call, side), _request(call) if call.http else None, side, around, story)
    return Verdict(story)


def _asked(call: Call) -> Asked:
    """A call to a gateway from outside of the mesh, over TLS if it asks for a server name."""
    schemes = ("https", "tls") if call.server_name else ("http", "tcp")
    return Asked(
        host=call.host or call.server_name or "localhost",
        port=call.port,
        scheme=schemes[0 if call.http else 1],
        path=call.path,
        method=call.method,
        headers=call.headers,
        source_address=call.source_address,
        sni=call.server_name,
        claims=call.claims,
    )


def _connection(call: Call, side: Side) -> Connection:
    secure = bool(call.principal)
    alpns = names.MTLS_HTTP_1 if call.http else names.MTLS_TCP
    return Connection(
        address=side.address,
        port=call.port,
        source_address=call.source_address,
        transport=TLS if secure else RAW,
        server_name=call.server_name,
        alpns=tuple(alpns) if secure else (),
        identities=(SPIFFE + call.principal.removeprefix(SPIFFE),) if secure else (),
        speaks=HTTP_1 if call.http else "",
    )


def _request(call: Call) -> Request:
    return Request(
        authority=call.host,
        path=call.path,
        method=call.method,
        headers=call.headers,
        claims=call.claims,
    )
