"""What consumers are given: collections of resources, and immutable snapshots of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from istio.mcp.v1alpha1 import resource_pb2
from mast.common.kinds import KINDS
from mast.galley.core.resources import Stored, Unreadable, stored

SYNTHETIC = "istio/networking/v1alpha3/synthetic/serviceentries"
"""Services of the registry, if they are to be told (mcp.txt)."""

EMPTY = "k8s/core/v1/services"
"""A collection of Galley 1.4 that holds nothing here: services are in the registry. A sink that
asks for it is answered, because some wait for every answer."""

COLLECTIONS = frozenset([*(kind.collection for kind in KINDS if not kind.sealed), SYNTHETIC, EMPTY])
"""What may be asked for: everything but Secrets."""


@dataclass(frozen=True)
class Collection:
    """Resources by name, which have the revision of the store as their version.

    ``version`` is the revision at which the collection changed last; "0" if it never did.
    """

    version: str = "0"
    resources: Mapping[str, resource_pb2.Resource] = field(default_factory=dict)


NOTHING = Collection()


@dataclass(frozen=True)
class Snapshot:
    """All collections at one moment; those without resources may be missing."""

    collections: Mapping[str, Collection]

    def collection(self, name: str) -> Collection:
        """A collection, empty if it holds nothing."""
        return self.collections.get(name, NOTHING)

    def having(self, name: str, found: Collection) -> Snapshot:
        """The same with one collection in place of what it had."""
        return Snapshot(MappingProxyType({**self.collections, name: found}))


class Catalog:
    """Follows the store's changes; ``snapshot`` shares what did not change with the one before."""

    def __init__(self) -> None:
        self._resources: dict[str, dict[str, resource_pb2.Resource]] = {}
        self._made: dict[str, Collection] = {}

    def apply(
        self, changes: Iterable[tuple[str, bytes | None, int]], revision: int
    ) -> list[Unreadable]:
        """Take in changes (key, value or None, revision) up to a revision.

        What cannot be read is returned; the last good one stays.
        """
        problems = []
        touched = set()
        for key, value, written_at in changes:
            try:
                item = stored(key, value or b"", written_at)
            except Unreadable as error:
                problems.append(error)
                continue
            if item.key.collection not in COLLECTIONS:
                continue
            touched.add(item.key.collection)
            name = f"{item.key.namespace}/{item.key.name}".removeprefix("/")
            resources = self._resources.setdefault(item.key.collection, {})
            if value is None:
                resources.pop(name, None)
            else:
                resources[name] = _served(item, name)
        for collection in touched:
            found = dict(sorted(self._resources[collection].items()))
            self._made[collection] = Collection(str(revision), MappingProxyType(found))
        return problems

    def snapshot(self) -> Snapshot:
        """Everything taken in so far."""
        return Snapshot(MappingProxyType(dict(self._made)))


def _served(item: Stored, name: str) -> resource_pb2.Resource:
    """A resource as consumers get it: its version changes with its labels, too."""
    found = resource_pb2.Resource()
    found.CopyFrom(item.resource)
    found.metadata.name = name
    found.metadata.version = str(item.revision)
    return found
