"""Statuses of Gateway API objects: what Pilot says, beside what other controllers say.

Rules are those of Gateway API, "status"; section numbers those of galley-and-kubernetes.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from mast.common.kinds import KINDS

Condition = Mapping[str, Any]
Status = Mapping[str, Any]

GROUP: Final = "gateway.networking.k8s.io"
CONTROLLER: Final = "istio.io/gateway-controller"
"""Whose entries in statuses are ours."""

KINDS_WITH_STATUS: Final = frozenset(
    str(kind) for kind in KINDS if kind.group == GROUP and kind.name != "ReferenceGrant"
)

# Of conditions beside those of others: the types that are ours to set, and to take away.
_OURS: Final = frozenset(
    {"Accepted", "Programmed", "ResolvedRefs", "Conflicted", "PartiallyInvalid"}
)
# Lists of entries that several controllers share, what names an entry, and how many there may be.
_SHARED: Final = {"parents": ("parentRef", 32), "ancestors": ("ancestorRef", 16)}


def said(found: Status, wanted: Status | None, now: str) -> Mapping[str, Any] | None:
    """The merge patch that makes a status say what is wanted, None if it does.

    ``wanted`` has no times; ``now`` is that of conditions whose status is another one than before.
    It is None if there is nothing to say: then our entries go from lists of several controllers.
    """
    change: dict[str, Any] = {}
    for name in _SHARED:
        _note(change, found, name, _shared(found, wanted or {}, name, now))
    if wanted is None:
        return change or None
    if "conditions" in wanted:
        _note(change, found, "conditions", _conditions(found, wanted, now))
    if "listeners" in wanted:
        _note(change, found, "listeners", list(_listeners(found, wanted, now)))
    if "addresses" in wanted:
        _note(change, found, "addresses", list(wanted["addresses"]))
    return change or None


def newest_generation(wanted: Status) -> int:
    """The generation of the object that a status is about, 0 if it does not say."""
    groups = [wanted, *(entry for name in _SHARED for entry in wanted.get(name, ()))]
    conditions = (each for group in groups for each in group.get("conditions", ()))
    return max((int(each.get("observedGeneration", 0)) for each in conditions), default=0)


def _note(change: dict[str, Any], found: Status, name: str, value: Sequence[Any]) -> None:
    if not _covers(found.get(name) or [], value):
        change[name] = value


def _covers(found: Any, wanted: Any) -> bool:
    """Whether all that is wanted is there; an API server fills in what was left out."""
    if isinstance(wanted, Mapping) and isinstance(found, Mapping):
        return all(key in found and _covers(found[key], each) for key, each in wanted.items())
    if isinstance(wanted, list) and isinstance(found, list):
        pairs = zip(found, wanted, strict=False)
        return len(found) == len(wanted) and all(_covers(*pair) for pair in pairs)
    return bool(found == wanted)


def _shared(found: Status, wanted: Status, name: str, now: str) -> Sequence[Any]:
    """Others' entries as they are; ours in the places they have, new ones at the end."""
    reference, most = _SHARED[name]
    missing = list(wanted.get(name, ()))
    entries = []
    for entry in _listed(found, name):
        if entry.get("controllerName") != CONTROLLER:
            entries.append(entry)
            continue
        held = entry.get(reference)
        same = next((each for each in missing if _covers(held, each[reference])), None)
        if same is not None:
            missing.remove(same)
            entries.append(_entry(entry, same, now))
    return [*entries, *(_entry({}, each, now) for each in missing)][:most]


def _entry(found: Status, wanted: Status, now: str) -> Mapping[str, Any]:
    return {**wanted, "conditions": list(_timed(found, wanted, now))}


def _listeners(found: Status, wanted: Status, now: str) -> Iterator[Mapping[str, Any]]:
    before = {str(each.get("name")): each for each in _listed(found, "listeners")}
    for each in wanted["listeners"]:
        known = before.get(each["name"], {})
        yield {**each, "conditions": _conditions(known, each, now)}


def _conditions(found: Status, wanted: Status, now: str) -> Sequence[Condition]:
    """Ours, after those of types that are not ours."""
    types = {each["type"] for each in wanted["conditions"]} | _OURS
    others = (each for each in _listed(found, "conditions") if str(each.get("type")) not in types)
    return [*others, *_timed(found, wanted, now)]


def _timed(found: Status, wanted: Status, now: str) -> Iterable[Condition]:
    """Conditions with the time since when their status is what it is."""
    before = {str(each.get("type")): each for each in _listed(found, "conditions")}
    for each in wanted["conditions"]:
        known = before.get(each["type"], {})
        since = known.get("lastTransitionTime") if known.get("status") == each["status"] else None
        yield {**each, "lastTransitionTime": since or now}


def _listed(found: Status, name: str) -> Sequence[Mapping[str, Any]]:
    """The entries of a list; where there is no schema, anybody may have written anything."""
    value = found.get(name)
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []
