"""Which other CAs the mesh settings want trusted, and for which trust domains (A8.3, A8.4)."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from cryptography import x509

from istio.mesh.v1alpha1.config_pb2 import MeshConfig
from mast.citadel.core.spiffe_bundle import certificate_authorities

Roots = frozenset[x509.Certificate]


@dataclass(frozen=True)
class Wanted:
    """Roots by trust domain that are given, and trust domains of those that are to be fetched.

    ``problems`` are entries that cannot be used; the others count all the same.
    """

    given: Mapping[str, Roots] = field(default_factory=dict)
    fetched: Mapping[str, frozenset[str]] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    def anchors(self, url: str) -> Roots:
        """Roots that may vouch for the server at a URL, beside the machine's own."""
        domains = self.fetched.get(url, frozenset())
        return frozenset(root for each in domains for root in self.given.get(each, ()))


def wanted(config: MeshConfig | None, own_domain: str) -> Wanted:
    """What ``caCertificates`` says; without trust domains an entry is for our own (A8.3).

    Entries for signers of the Kubernetes certificate API are not for the mesh as a whole.
    """
    given: defaultdict[str, set[x509.Certificate]] = defaultdict(set)
    fetched: defaultdict[str, set[str]] = defaultdict(set)
    problems = []
    for index, entry in enumerate(config.ca_certificates if config is not None else ()):
        domains = set(entry.trust_domains) or {own_domain}
        if entry.spiffe_bundle_url:
            fetched[entry.spiffe_bundle_url] |= domains
            continue
        try:
            roots = certificate_authorities(entry.pem.encode())
        except ValueError as error:
            problems.append(f"caCertificates[{index}].pem: {error}")
            continue
        for domain in domains:
            given[domain].update(roots)
    return Wanted(
        {domain: frozenset(roots) for domain, roots in given.items()},
        {url: frozenset(domains) for url, domains in fetched.items()},
        tuple(problems),
    )


def others(want: Wanted, known: Mapping[str, Iterable[x509.Certificate]]) -> Mapping[str, Roots]:
    """Roots by trust domain, with those that were fetched last from each URL."""
    found: defaultdict[str, set[x509.Certificate]] = defaultdict(set)
    for domain, roots in want.given.items():
        found[domain] |= roots
    for url, domains in want.fetched.items():
        for domain in domains:
            found[domain].update(known.get(url, ()))
    return {domain: frozenset(roots) for domain, roots in found.items() if roots}
