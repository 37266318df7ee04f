"""Two manifests, object by object."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mast.cli.install.manifests import Difference, Object, differences, identity, ordered
from mast.cli.install.release import key_of


def compared(before: Iterable[Object], after: Iterable[Object]) -> Iterator[str]:
    """How one manifest became another, in lines; none if they are the same."""
    old = {key_of(each): each for each in before}
    new = {key_of(each): each for each in after}
    for found in ordered([*old.values(), *(new[key] for key in new.keys() - old.keys())]):
        key = key_of(found)
        if key not in new:
            yield f"- {identity(found)}"
        elif key not in old:
            yield f"+ {identity(found)}"
        elif fields := [*differences(new[key], old[key]), *removed(old[key], new[key])]:
            yield f"~ {identity(found)}"
            yield from (f"    {each}" for each in fields)


def removed(old: Object, new: Object) -> Iterator[Difference]:
    """Fields of ``old`` that ``new`` does not have."""
    for each in differences(old, new):
        if each.found is None:
            yield Difference(each.path, None, each.wanted)
