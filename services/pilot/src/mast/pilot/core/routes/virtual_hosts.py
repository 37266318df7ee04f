"""Virtual hosts of outbound route configurations: their domains, and who gets a contested one."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from envoy.config.route.v3.route_components_pb2 import (
    DirectResponseAction,
    Route,
    RouteAction,
    RouteMatch,
    VirtualHost,
)
from google.protobuf.duration_pb2 import Duration

from mast.pilot.core import names
from mast.pilot.core.filters.extensions import NOTHING, Additions
from mast.pilot.core.model.finding import Fault, Finding, ObjectName
from mast.pilot.core.model.model import Age

_BAD_GATEWAY: Final = 502
_OWN: Final = "mast"
_ORDINARY_NAME: Final = "virtual_host"
"""Metadata of virtual hosts that have the name they were asked for by."""


class Claim(NamedTuple):
    """The domains that a virtual host wants, before it is known which of them it gets.

    `own` domains are forms of the full name, `other` ones shorter names and addresses. `age`
    decides between claims. `source` is the object whose host it is.
    """

    host: str
    port: int
    own: tuple[str, ...]
    other: tuple[str, ...]
    age: Age
    source: ObjectName | None = None

    @property
    def name(self) -> str:
        """Name of the virtual host (pilot.md C)."""
        return names.virtual_host(self.host, self.port)


@dataclass(frozen=True)
class Candidate:
    """A virtual host: what it claims, and its serialised message but for its domains."""

    claim: Claim
    content: bytes

    def ending_with(self, route: Route) -> "Candidate":
        """The same with one more route, which comes last."""
        more = VirtualHost(routes=[route]).SerializeToString(deterministic=True)
        return Candidate(self.claim, self.content + more)


def candidate(claim: Claim, routes: Sequence[Route], additions: Additions = NOTHING) -> Candidate:
    """The virtual host of a claim with these routes."""
    message = VirtualHost(name=claim.name, routes=routes, include_request_attempt_count=True)
    additions.apply(message)
    additions.apply_metadata(message)
    return Candidate(claim, message.SerializeToString(deterministic=True))


def asked_for(host: VirtualHost, name: str, domain: str) -> None:
    """Make it the virtual host that somebody asked for by a name, for one domain (pilot.md B25)."""
    host.metadata.filter_metadata[_OWN][_ORDINARY_NAME] = host.name
    host.name = name
    host.ClearField("domains")
    host.domains.append(domain)


def ordinary_name(host: VirtualHost) -> str:
    """The name that a virtual host has among the others of its route configuration."""
    if _OWN not in host.metadata.filter_metadata:
        return host.name
    return str(host.metadata.filter_metadata[_OWN][_ORDINARY_NAME])


def allotted(claims: Iterable[Claim]) -> tuple[dict[Claim, tuple[str, ...]], list[Finding]]:
    """The domains of each claim, by name of the virtual host, and those that were contested.

    Envoy accepts a domain once, in whatever case. A host that is somebody's full name is his;
    other domains go to the oldest. Who gets no domain at all is left out (pilot.md C6).
    """
    ordered = sorted(claims, key=lambda each: (each.age, each.host, each.port))
    owners: dict[str, tuple[Claim, str]] = {}
    for each in ordered:
        for domain in each.own:
            owners.setdefault(domain.lower(), (each, domain))
    for each in ordered:
        for domain in each.other:
            owners.setdefault(domain.lower(), (each, domain))
    found, losses = {}, []
    for each in ordered:
        domains: list[str] = []
        for domain in dict.fromkeys((*each.own, *each.other)):
            owner, spelled = owners[domain.lower()]
            if owner is not each:
                losses.append(_loss(domain, each, owner))
            elif spelled == domain:
                domains.append(domain)
        if domains:
            found[each] = tuple(domains)
    return dict(sorted(found.items(), key=lambda item: item[0].name)), losses


def ported(domains: Iterable[str], port: int) -> Iterator[str]:
    """The domains with their port, as a proxy's client sends them; on port 80 also without (C5)."""
    for domain in domains:
        if port == 80:
            yield domain
        yield f"{domain}:{port}"


def passing(cluster: str, additions: Additions) -> VirtualHost:
    """The catch-all that lets requests to unknown hosts pass (pilot.md C, allow_any)."""
    route = Route(
        name=names.ALLOW_ANY,
        match=RouteMatch(prefix="/"),
        route=RouteAction(cluster=cluster, timeout=Duration()),
    )
    additions.apply(route)
    additions.apply_metadata(route)
    return _catch_all(names.ALLOW_ANY, route)


def blocking() -> VirtualHost:
    """The catch-all that refuses requests to unknown hosts (pilot.md C, block_all)."""
    route = Route(
        name=names.BLOCK_ALL,
        match=RouteMatch(prefix="/"),
        direct_response=DirectResponseAction(status=_BAD_GATEWAY),
    )
    return _catch_all(names.BLOCK_ALL, route)


def _catch_all(name: str, route: Route) -> VirtualHost:
    return VirtualHost(name=name, domains=["*"], routes=[route], include_request_attempt_count=True)


def _loss(domain: str, loser: Claim, winner: Claim) -> Finding:
    """A domain that a virtual host did not get because another has it (pilot.md C6)."""
    return Finding(
        fault=Fault.DUPLICATE_DOMAIN,
        key=f"{domain} {loser.name}",
        message=(
            f"Requests for {domain} do not go to {loser.host}: {winner.name} has that domain."
        ),
        subject=loser.source,
        winner=winner.source,
    )
