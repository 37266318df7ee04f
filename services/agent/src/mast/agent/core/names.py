"""Names of the mesh: which addresses a host has, by all the names it can be asked for (B8)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address

from istio.networking.nds.v1.nds_pb2 import NameTable

KUBERNETES = "Kubernetes"

Address = IPv4Address | IPv6Address
Addresses = tuple[Address, ...]


@dataclass(frozen=True)
class Answer:
    """What is known of a host. ``alias`` is set if it was found by the search domain: the name
    that the asked one is a CNAME of.
    """

    addresses: Addresses
    alias: str = ""

    def family(self, version: int) -> Addresses:
        """Its IPv4 (4) or IPv6 (6) addresses, none if it has only others."""
        return tuple(each for each in self.addresses if each.version == version)


@dataclass(frozen=True)
class Names:
    """A lookup table; all names lower case, without the final dot."""

    hosts: Mapping[str, Addresses] = field(default_factory=dict)
    search: str = ""

    def lookup(self, name: str) -> Answer | None:
        """What the mesh knows of a host, None if it does not know it (B8.2).

        A name of its own wins over the same name with the resolver's first search domain behind
        it, that over wildcards; of these the longest suffix wins.
        """
        host = name.lower().rstrip(".")
        if host in self.hosts:
            return Answer(self.hosts[host])
        short = self._without_search(host)
        if short in self.hosts:
            return Answer(self.hosts[short], alias=short)
        for suffix in _suffixes(host):
            if (found := self.hosts.get(f"*.{self._without_search(suffix)}")) and short:
                return Answer(found, alias=short)
            if found := self.hosts.get(f"*.{suffix}"):
                return Answer(found)
        return None

    def _without_search(self, host: str) -> str:
        """The host without the search domain; empty if it does not end with it."""
        tail = f".{self.search}"
        return host.removesuffix(tail) if self.search and host.endswith(tail) else ""


def names(table: NameTable, *, namespace: str, domain: str, search: Sequence[str]) -> Names:
    """The lookup table of a proxy in ``namespace`` with the DNS domain ``domain``.

    Where two hosts claim one name, Kubernetes wins over others and a host over a short form
    (citadel-and-agent.md B8.4). Entries without a usable address are unknown.
    """
    cluster_domain = domain.removeprefix(f"{namespace}.")
    hosts: dict[str, Addresses] = {}
    for from_kubernetes in (False, True):
        full: dict[str, Addresses] = {}
        for host, entry in sorted(table.table.items()):
            addresses = _addresses(entry.ips)
            if not addresses or (entry.registry == KUBERNETES) != from_kubernetes:
                continue
            full[host.lower().rstrip(".")] = addresses
            for short in _short_forms(host.lower(), entry, namespace, cluster_domain):
                hosts[short] = addresses
        hosts |= full
    return Names(hosts, search[0].lower().rstrip(".") if search else "")


def _short_forms(
    host: str, entry: NameTable.NameInfo, namespace: str, cluster_domain: str
) -> Iterator[str]:
    """How Kubernetes shortens a service's name: NAME.NS, NAME.NS.svc, NAME in its namespace.

    The same for hosts of this form from other registries: a mesh without Kubernetes has them too.
    """
    yield from (each.lower() for each in entry.alt_hosts)
    if not entry.shortname or not entry.namespace or not host.endswith(f".{cluster_domain}"):
        return
    short = f"{entry.shortname}.{entry.namespace}".lower()
    yield short
    yield f"{short}.{cluster_domain.partition('.')[0]}"
    if entry.namespace == namespace:
        yield entry.shortname.lower()


def _addresses(texts: Iterable[str]) -> Addresses:
    found = []
    for text in texts:
        try:
            found.append(ip_address(text))
        except ValueError:
            continue
    return tuple(found)


def _suffixes(host: str) -> Iterator[str]:
    """What remains of the host when labels are taken off its front, longest first."""
    while "." in host:
        host = host.partition(".")[2]
        yield host
