"""Which resource of a rejected response the client does not like: found by sending fewer at once.

A client rejects a response as a whole, or applies a part of it, and often does not say which
resource was bad (pilot.md B2). One bad resource must not keep the others from the client, and the
same bytes must not be sent again (B19). So what was rejected is tried in halves, until the offender
stands alone: it is not sent again until it has another version.
"""

from collections.abc import Iterable, Mapping

from mast.pilot.core.xds.experience import Refusal
from mast.pilot.core.xds.resources import CDS, LDS, Resource
from mast.pilot.core.xds.selection import Selection

PATIENCE = 16
"""After so many rejections in a row nothing is tried until something changes."""


class Trial:
    """What is known of the taste of one client for one type."""

    def __init__(self) -> None:
        self.refused: dict[str, Refusal] = {}
        self._limit: int | None = None
        self._in_a_row = 0
        self._tried: Selection | None = None
        self._rejected: set[str] = set()

    @property
    def running(self) -> bool:
        """Resources are sent in small groups, to find an offender."""
        return self._limit is not None

    @property
    def neutral(self) -> bool:
        """Nothing is known against any resource or response."""
        return not self.refused and not self._rejected and self._limit is None

    def warn(self, refusals: Mapping[str, Refusal]) -> None:
        """Others like this client rejected these resources (pilot.md N14)."""
        self.refused.update(refusals)

    def permitted(self, changed: tuple[Resource, ...], wanted: Selection) -> tuple[Resource, ...]:
        """Those of the changed resources that may be sent now.

        The result is `changed` itself if all may. An offender is forgiven as soon as it has another
        version.
        """
        if self.neutral:
            return changed
        if wanted is not self._tried:
            self._begin_with(wanted)
        if self._in_a_row >= PATIENCE:
            return ()
        agreeable = tuple(each for each in changed if each.name not in self.refused)
        if not agreeable:
            self._limit = None
        if self._limit is not None:
            agreeable = agreeable[: min(self._limit, max(1, len(agreeable) // 2))]
        return changed if len(agreeable) == len(changed) else agreeable

    def refuses(self, resource: Resource) -> bool:
        """The client, or one like it, rejected just that content."""
        refusal = self.refused.get(resource.name)
        return refusal is not None and refusal.version == resource.version

    def known_bad(self, version: str) -> bool:
        """A response of that content was rejected, and nothing has changed since."""
        return version in self._rejected

    def accepted(self) -> None:
        """The client liked a response: be bolder."""
        self._in_a_row = 0
        if self._limit is not None:
            self._limit *= 2
        elif not self.refused:
            self._rejected.clear()
            self._tried = None

    def rejected(
        self, suspects: tuple[Resource, ...], version: str, reason: str
    ) -> tuple[Resource, ...]:
        """The client rejected a response; those resources are returned that it may lack now.

        `suspects` are the resources in it that the client has not accepted in another response.
        """
        self._in_a_row += 1
        self._rejected.add(version)
        explained = any(self.refuses(each) for each in suspects)
        named = tuple(blamed(suspects, reason))
        offenders = suspects if len(suspects) == 1 else named
        why = reason or "rejected without a reason"
        self.refused.update((each.name, Refusal(each.version, why)) for each in offenders)
        if named and suspects[0].type_url in (CDS, LDS):
            return named
        if suspects and not offenders and not explained:
            self._limit = max(1, len(suspects) // 2)
        return suspects

    def _begin_with(self, wanted: Selection) -> None:
        """Something else is wanted than was tried: try again, and forgive what has changed."""
        if self._tried is not None:
            self._in_a_row = 0
            self._rejected.clear()
        self._tried = wanted
        for name, refusal in list(self.refused.items()):
            found = wanted.resources.get(name)
            if found is None or found.version != refusal.version:
                del self.refused[name]


def blamed(sent: Iterable[Resource], reason: str) -> Iterable[Resource]:
    """Resources that the reason names as bad.

    Envoy writes `Error adding/updating cluster(s) NAME: why, NAME: why` and has applied the others
    then; the same for listeners. Reasons for other types may name innocent resources.
    """
    if "Error adding/updating" not in reason:
        return ()
    return (
        each
        for each in sent
        if any(f"{before}{each.name}: " in reason for before in (" ", ", ", "\n"))
    )
