"""What proxies of one class taught: a resource that one of them rejects is kept from new ones.

A proxy that starts should not have to find out once more that a listener is bad (pilot.md N14). It
gets the version that proxies of its class took last, if there is one. Classes are kept apart: what
a strange proxy rejects harms nobody else. Nothing is held against a version that any proxy of the
class took.
"""

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from mast.pilot.core.xds.recent import Recent
from mast.pilot.core.xds.resources import CDS, LDS, Resource

TYPES: Final = frozenset({CDS, LDS})
"""Types without whose first response a proxy does not become ready."""

_LOCAL: Final = ("address already in use", "cannot bind", "permission denied")
"""Reasons that lie in the machine of one proxy."""


@dataclass(frozen=True)
class Refusal:
    """A version of a resource that a client rejected, and why; `by_another`: it has not seen it."""

    version: str
    reason: str
    by_another: bool = False


@dataclass
class Experience:
    """Of one class: resources by type and name that were taken last, and refusals."""

    taken: dict[tuple[str, str], Resource] = field(default_factory=dict)
    refused: dict[tuple[str, str], Refusal] = field(default_factory=dict)

    def take(self, resources: Iterable[Resource]) -> None:
        """A client accepted these."""
        for each in resources:
            key = (each.type_url, each.name)
            self.taken[key] = each
            refusal = self.refused.get(key)
            if refusal is not None and refusal.version == each.version:
                del self.refused[key]

    def refuse(self, type_url: str, refusals: Mapping[str, Refusal]) -> None:
        """A client rejected these by name."""
        for name, refusal in refusals.items():
            taken = self.taken.get((type_url, name))
            elsewhere = refusal.by_another or any(each in refusal.reason.lower() for each in _LOCAL)
            if not elsewhere and (taken is None or taken.version != refusal.version):
                self.refused[type_url, name] = refusal

    def substitutes(
        self,
        changed: Iterable[Resource],
        refused: Mapping[str, Refusal],
        held: Mapping[str, str],
    ) -> tuple[Resource, ...]:
        """What was taken last of those changed resources that another client refused.

        Without those that a client with the versions `held` has already.
        """
        found = (
            self.taken.get((each.type_url, each.name))
            for each in changed
            if each.name in refused and refused[each.name].by_another
        )
        return tuple(each for each in found if each and held.get(each.name) != each.version)

    def warning(self, type_url: str) -> Mapping[str, Refusal]:
        """What a new client should not be sent, by name."""
        return {
            name: replace(refusal, by_another=True)
            for (kind, name), refusal in self.refused.items()
            if kind == type_url
        }


class Experiences:
    """Experience by class, as long as a client of the class is connected."""

    def __init__(self) -> None:
        self._recent = Recent()
        self._credited: dict[int, object] = {}

    def age(self) -> None:
        """Forget classes of which there was no client since the last call but one."""
        self._recent.age()
        self._credited.clear()

    def of(self, key: Hashable) -> Experience:
        """That of the class whose views have this key."""
        return self._recent.get(("class", key), None, Experience)

    def credit(self, key: Hashable, response: object, resources: Iterable[Resource]) -> None:
        """A client of the class accepted a response; many are sent the same one."""
        if self._credited.get(id(response)) == (key, response):
            return
        self._credited[id(response)] = (key, response)
        self.of(key).take(resources)
