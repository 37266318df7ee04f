"""Virtual hosts of outbound route configurations: their domains, and who gets a contested one."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

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


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A virtual host before it is known which of its domains it gets.

    `own` domains are forms of the full name, `other` ones shorter names and addresses. `age`
    decides between claims. `source` is the object whose host it is.
    """

    host: str
    port: int
    own: Sequence[str]
    other: Sequence[str] = ()
    routes: Sequence[Route]
    age: Age
    source: ObjectName | None = None
    additions: Additions = NOTHING


def virtual_hosts(
    candidates: Iterable[Candidate],
) -> tuple[list[VirtualHost], list[Finding]]:
    """The virtual hosts, sorted by name, and the domains that were contested (pilot.md C6).

    Envoy accepts a domain once, in whatever case. A host that is somebody's full name is his;
    other domains go to the oldest. Who gets no domain at all is left out.
    """
    ordered = sorted(candidates, key=lambda each: (each.age, each.host, each.port))
    owners: dict[str, tuple[Candidate, str]] = {}
    for each in ordered:
        for domain in each.own:
            owners.setdefault(domain.lower(), (each, domain))
    for each in ordered:
        for domain in each.other:
            owners.setdefault(domain.lower(), (each, domain))
    made, losses = [], []
    for each in ordered:
        name = names.virtual_host(each.host, each.port)
        domains: list[str] = []
        for domain in dict.fromkeys((*each.own, *each.other)):
            owner, spelled = owners[domain.lower()]
            if owner is not each:
                losses.append(_loss(name, domain, each, owner))
            elif spelled == domain:
                domains.append(domain)
        if domains:
            made.append(_virtual_host(name, domains, each))
    return sorted(made, key=lambda each: each.name), losses


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


def _loss(name: str, domain: str, loser: Candidate, winner: Candidate) -> Finding:
    """A domain that a virtual host did not get because another has it (pilot.md C6)."""
    return Finding(
        fault=Fault.DUPLICATE_DOMAIN,
        key=f"{domain} {name}",
        message=(
            f"Requests for {domain} do not go to {loser.host}:"
            f" {names.virtual_host(winner.host, winner.port)} has that domain."
        ),
        subject=loser.source,
        winner=winner.source,
    )


def _virtual_host(name: str, domains: Sequence[str], candidate: Candidate) -> VirtualHost:
    result = VirtualHost(
        name=name,
        domains=domains,
        routes=candidate.routes,
        include_request_attempt_count=True,
    )
    candidate.additions.apply(result)
    candidate.additions.apply_metadata(result)
    return result
