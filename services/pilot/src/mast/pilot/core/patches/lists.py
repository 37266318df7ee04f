"""Changes of a list: where a patch puts its value, and what it takes out (pilot.md K1, K2)."""

from collections.abc import Callable, Sequence
from typing import Any, Final

from istio.networking.v1alpha3.envoy_filter_pb2 import EnvoyFilter
from mast.pilot.core.patches.patch import Patch

Wanted = Callable[[Any], bool]
"""Whether an item of the list is the one that a patch names."""

_AUTHENTICATION: Final = frozenset({"envoy.filters.http.jwt_authn"})
_AUTHORIZATION: Final = _AUTHENTICATION | {
    f"envoy.filters.{kind}.{name}" for kind in ("http", "network") for name in ("ext_authz", "rbac")
}
_STATISTICS: Final = frozenset(
    {"istio.stats", "envoy.filters.http.grpc_stats", "envoy.filters.http.router"}
)


def edit(items: Any, patch: Patch, wanted: Wanted | None) -> bool:
    """Apply an operation that is no merge; whether something changed.

    `wanted` tells the items the patch names; None if it names none. Without a name INSERT_BEFORE
    puts first, INSERT_AFTER last, REPLACE and REMOVE do nothing; with one that nobody has nothing
    happens at all.
    """
    kind = EnvoyFilter.Patch
    found = [index for index, each in enumerate(items) if wanted is not None and wanted(each)]
    if patch.operation == kind.REMOVE:
        for index in reversed(found):
            del items[index]
        return bool(found)
    if patch.operation == kind.REPLACE:
        if found:
            items[found[0]].CopyFrom(patch.value)
        return bool(found)
    place = _place(items, patch, found, named=wanted is not None)
    if place is None:
        return False
    items.insert(place, patch.value)
    return True


def retain(items: Any, keeps: Sequence[bool]) -> None:
    """Take the items out that are not to be kept."""
    for index in range(len(keeps) - 1, -1, -1):
        if not keeps[index]:
            del items[index]


def _place(items: Sequence[Any], patch: Patch, found: Sequence[int], *, named: bool) -> int | None:
    """Index at which the value goes into the list, None for nowhere."""
    kind = EnvoyFilter.Patch
    if patch.operation == kind.ADD:
        return _class_place(items, patch.filter_class)
    if patch.operation == kind.INSERT_FIRST:
        return 0
    if patch.operation not in (kind.INSERT_BEFORE, kind.INSERT_AFTER):
        return None
    after = patch.operation == kind.INSERT_AFTER
    if not named:
        return len(items) if after else 0
    return found[0] + after if found else None


def _class_place(items: Sequence[Any], filter_class: int) -> int:
    """Behind the filters that authenticate or authorise, or before statistics; else the end."""
    kind = EnvoyFilter.Patch
    if filter_class == kind.UNSPECIFIED:
        return len(items)
    names = [each.name for each in items]
    if filter_class == kind.STATS:
        places = (index for index, name in enumerate(names) if name in _STATISTICS)
        return next(places, max(len(names) - 1, 0))
    before = _AUTHENTICATION if filter_class == kind.AUTHN else _AUTHORIZATION
    return max((index + 1 for index, name in enumerate(names) if name in before), default=0)
