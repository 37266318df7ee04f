"""Identities under all names that the mesh has had (Istio MeshConfig, "trustDomainAliases")."""

from collections.abc import Iterator, Sequence
from typing import Final

from mast.pilot.core.model.mesh import DOMAIN
from mast.pilot.core.security.authorization.values import ANY

_PARTS: Final = 5
"""Of `TRUST_DOMAIN/ns/NAMESPACE/sa/ACCOUNT`."""


def expanded(patterns: Sequence[str], domains: Sequence[str]) -> Sequence[str]:
    """The patterns of identities, those of the mesh once for each of its trust domains.

    `domains` are the trust domain and its aliases; `cluster.local` stands for the trust domain,
    whatever it is. Identities of other meshes, and patterns without a trust domain, stay as they
    are.
    """
    return list(dict.fromkeys(each for one in patterns for each in _expanded(one, domains)))


def _expanded(pattern: str, domains: Sequence[str]) -> Iterator[str]:
    domain, slash, rest = pattern.partition("/")
    if pattern.count("/") != _PARTS - 1 or domain == ANY:
        yield pattern
    elif domain == DOMAIN or any(_ends_as(each, domain) for each in domains):
        for each in domains:
            yield pattern if _ends_as(each, domain) else each + slash + rest
    else:
        yield pattern


def _ends_as(domain: str, pattern: str) -> bool:
    """Whether a trust domain is that of a pattern, which may begin with `*`."""
    if pattern.startswith(ANY):
        return domain.endswith(pattern[1:])
    return domain == pattern
