"""What each service may touch in the shared state: one user and one role of etcd for each.

The table is docs/security.md's; a test tries every user on every prefix of the key schema.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from mast.common import keys

ADMINISTRATOR: Final = "root"
"""The user that etcd itself wants before it asks for users at all; no service runs as it."""


@dataclass(frozen=True, slots=True)
class Role:
    """Prefixes relative to the root of the store: what may only be read, and what written too."""

    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()

    def may_read(self, key: str) -> bool:
        """Whether the holder of the role may read a key."""
        return key.startswith((*self.reads, *self.writes))

    def may_write(self, key: str) -> bool:
        """Whether the holder of the role may write or delete a key."""
        return key.startswith(self.writes)


ROLES: Final[Mapping[str, Role]] = MappingProxyType(
    {
        "galley": Role(
            writes=(
                keys.CONFIG,
                keys.SECRETS,
                keys.HISTORY,
                keys.REGISTRY_SERVICES,
                keys.REGISTRY_ENDPOINTS,
                keys.REGISTRY_WORKLOADS,
                keys.REGISTRY_CLUSTERS,
                keys.STATUS_CLUSTERS,
                f"{keys.STATUS_TRUST}galley-",
                f"{keys.LEADER}galley-",
                f"{keys.LEADER}istio-",
            ),
            reads=(keys.TRUST, keys.STATUS_CONFIG, keys.STATUS_GATEWAYS, keys.STATUS_MIXER),
        ),
        "pilot": Role(
            reads=(keys.CONFIG, keys.SECRETS, keys.REGISTRY, keys.TRUST),
            writes=(
                keys.REGISTRY_WORKLOADS,
                keys.STATUS_PROXIES,
                keys.STATUS_CONFIG,
                keys.STATUS_GATEWAYS,
                f"{keys.STATUS_TRUST}pilot",
                keys.JWKS,
                f"{keys.LEADER}pilot-",
            ),
        ),
        "mixer": Role(
            reads=(keys.CONFIG, keys.REGISTRY_WORKLOADS, keys.TRUST),
            writes=(keys.QUOTA, keys.FLOWS, keys.STATUS_MIXER, f"{keys.STATUS_TRUST}mixer-"),
        ),
        "citadel": Role(
            reads=(keys.CONFIG, keys.STATUS_TRUST),
            writes=(keys.CA, keys.TRUST, f"{keys.LEADER}citadel-"),
        ),
        # What a backup holds, and nothing to write: a restore is the administrator's.
        "backup": Role(
            reads=(keys.CONFIG, keys.SECRETS, keys.HISTORY, keys.TRUST, keys.JWKS, keys.CA)
        ),
        "mastctl": Role(
            reads=(
                keys.CONFIG,
                keys.SECRETS,
                keys.REGISTRY,
                keys.TRUST,
                keys.JWKS,
                keys.STATUS_CLUSTERS,
            )
        ),
    }
)
"""By user. Secrets and the CA's keys are sealed besides: who reads them has no key to open them,
except Galley and Pilot for Secrets, Citadel for the CA."""


@dataclass(frozen=True, slots=True)
class Grant:
    """A range of full keys, ``end`` excluded; an empty ``end`` stands for the key ``start``."""

    start: bytes
    end: bytes
    write: bool


def grants(role: Role, root: str = "/mast") -> Iterator[Grant]:
    """The permissions of a role in etcd; every user may ask for the root, to see if it answers."""
    yield Grant(f"{root}/".encode(), b"", write=False)
    for prefixes, write in ((role.reads, False), (role.writes, True)):
        for prefix in prefixes:
            start = f"{root}/{prefix}".encode()
            yield Grant(start, start[:-1] + bytes([start[-1] + 1]), write=write)
