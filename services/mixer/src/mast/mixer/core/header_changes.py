"""Header operations of a verdict in the order in which Envoy can do them (mixer_proxy.md K1)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mast.mixer.core.engine import HeaderOperation, Operation

_FIXED = frozenset({"host"})


@dataclass(frozen=True, slots=True)
class HeaderChanges:
    """What is left of a list of operations: first sets, then appends, then removals."""

    set: tuple[tuple[str, str], ...] = ()
    append: tuple[tuple[str, str], ...] = ()
    remove: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.set or self.append or self.remove)


def collapsed(operations: Iterable[HeaderOperation], *, joined: bool) -> HeaderChanges:
    """One outcome per header of operations that follow one another (K1).

    ``joined`` values that are appended share one header, parted by commas; otherwise each is one.
    Pseudo-headers and Host cannot be removed.
    """
    fresh: dict[str, bool] = {}
    values: dict[str, list[str]] = {}
    for each in operations:
        name = each.name.lower()
        kept = values.setdefault(name, [])
        if each.operation is Operation.APPEND:
            fresh.setdefault(name, False)
            kept.append(each.value)
        else:
            fresh[name] = True
            kept[:] = [] if each.operation is Operation.REMOVE else [each.value]
    sets: list[tuple[str, str]] = []
    appends: list[tuple[str, str]] = []
    for name, kept in values.items():
        parts = [",".join(kept)] if joined and kept else kept
        if fresh[name] and parts:
            sets.append((name, parts[0]))
            parts = parts[1:]
        appends.extend((name, part) for part in parts)
    removals = tuple(
        name
        for name, kept in values.items()
        if not kept and not name.startswith(":") and name not in _FIXED
    )
    return HeaderChanges(tuple(sets), tuple(appends), removals)
