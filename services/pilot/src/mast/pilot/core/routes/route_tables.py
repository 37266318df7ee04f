"""Route configurations as bytes: a change makes those virtual hosts anew that it concerns.

A route configuration names every service of a port, and Envoy is sent all of it whenever one of
them changes. So all but the copying of ready bytes should cost what the change costs: domains are
given out again only if claims changed, and each virtual host is serialised once.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import chain
from operator import itemgetter
from typing import Final, NamedTuple

from envoy.config.route.v3.route_components_pb2 import VirtualHost
from envoy.config.route.v3.route_pb2 import RouteConfiguration

from mast.pilot.core.model.finding import Finding
from mast.pilot.core.routes.virtual_hosts import Candidate, Claim, allotted
from mast.pilot.core.wire import field_header, text_field
from mast.pilot.core.xds.resources import content_version

_VIRTUAL_HOSTS: Final = RouteConfiguration.VIRTUAL_HOSTS_FIELD_NUMBER
_DOMAINS: Final = VirtualHost.DOMAINS_FIELD_NUMBER


class Entry(NamedTuple):
    """A virtual host as a field of a route configuration, in two parts, and its hash.

    `head` begins the field and has the domains, `content` is what callers of all namespaces share.
    """

    head: bytes
    content: bytes
    hash: bytes


_PARTS: Final = itemgetter(0, 1)
_HASH: Final = itemgetter(2)


@dataclass(frozen=True, eq=False)
class RouteTable:
    """Virtual hosts by their claims, sorted by name, and the domains that were contested."""

    candidates: Mapping[Hashable, Candidate]
    domains: Mapping[Claim, tuple[str, ...]]
    entries: Mapping[Claim, Entry]
    losses: Sequence[Finding]


EMPTY: Final = RouteTable({}, {}, {}, ())


def table(candidates: Mapping[Hashable, Candidate], before: RouteTable = EMPTY) -> RouteTable:
    """The virtual hosts of candidates, which have any keys; `before` is an earlier table."""
    changed = [key for key, each in candidates.items() if before.candidates.get(key) is not each]
    if before.candidates.keys() == candidates.keys() and all(
        before.candidates[key].claim == candidates[key].claim for key in changed
    ):
        domains, losses = before.domains, before.losses
        entries = dict(before.entries)
        for each in (candidates[key] for key in changed):
            if each.claim in entries:
                entries[each.claim] = entry(each, domains[each.claim])
    else:
        by_claim = {each.claim: each for each in candidates.values()}
        earlier = {each.claim: each for each in before.candidates.values()}
        domains, losses = allotted(by_claim)
        entries = {
            claim: before.entries[claim]
            if earlier.get(claim) is by_claim[claim] and before.domains.get(claim) == given
            else entry(by_claim[claim], given)
            for claim, given in domains.items()
        }
    return RouteTable(candidates, domains, entries, losses)


def entry(candidate: Candidate, domains: Iterable[str]) -> Entry:
    """A virtual host that got these domains. Fields of a message may follow in any order."""
    return _entry(b"".join(text_field(_DOMAINS, each) for each in domains), candidate.content)


def entry_of(message: VirtualHost) -> Entry:
    """A virtual host that is complete."""
    return _entry(b"", message.SerializeToString(deterministic=True))


def _entry(domains: bytes, content: bytes) -> Entry:
    head = field_header(_VIRTUAL_HOSTS, len(domains) + len(content)) + domains
    return Entry(head, content, blake2b(domains + content, digest_size=16).digest())


@dataclass(frozen=True)
class Routes:
    """A route configuration: its name, its own settings, its virtual hosts in order."""

    name: str
    settings: RouteConfiguration
    entries: Sequence[Entry]

    @property
    def parts(self) -> Sequence[bytes]:
        """The serialised message in parts."""
        return [self._own, *chain.from_iterable(map(_PARTS, self.entries))]

    @property
    def version(self) -> str:
        """Hash of the content."""
        return content_version(self._own + b"".join(map(_HASH, self.entries)))

    @property
    def _own(self) -> bytes:
        name = RouteConfiguration(name=self.name).SerializeToString()
        return name + self.settings.SerializeToString(deterministic=True)

    def message(self) -> RouteConfiguration:
        """The message itself."""
        return RouteConfiguration.FromString(b"".join(self.parts))
