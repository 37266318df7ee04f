"""Ordinary objects of every kind, as users write them, and the same with single odd values.

The files in `samples/` are what must never be refused.
"""

from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import yaml
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from mast.common.kinds import BY_GROUP_KIND, Kind
from mast.galley.core.decode import WRAPPERS
from tests.property.hostile.fields import KEYS, pool_of
from tests.property.hostile.numbers import DURATIONS, FRACTIONS, HUGE_COUNTS
from tests.property.hostile.pools import Pool
from tests.property.hostile.texts import HEADER_VALUES, TEXTS
from tests.support.accepted import Candidate

Draw = Callable[[SearchStrategy[Any]], Any]
Place = tuple[str | int, ...]

_FILES = Path(__file__).parent / "samples"
_CHANGES = 3
_FREE_FORM = frozenset({"google.protobuf.Struct", "google.protobuf.Value"})
_FREE_FORM_POOLS: Mapping[type, Pool] = {
    str: TEXTS,
    bool: Pool((True, False)),
    int: HUGE_COUNTS,
    float: FRACTIONS,
}


def ordinary() -> Iterator[Candidate]:
    """Every object of the files."""
    for path in sorted(_FILES.glob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            group, _, _ = document["apiVersion"].rpartition("/")
            kind, metadata = BY_GROUP_KIND[group, document["kind"]], document["metadata"]
            namespace = metadata.get("namespace", "")
            yield Candidate(kind, namespace, metadata["name"], document["spec"])


@st.composite
def changed(draw: Draw, of: frozenset[Kind]) -> Candidate:
    """An ordinary object in which up to three values are replaced or left out."""
    found: _Ordinary = draw(_objects(of))
    spec = deepcopy(found.candidate.spec)
    for change in draw(found.changes):
        change.apply(spec)
    return replace(found.candidate, spec=spec)


@dataclass(frozen=True)
class _Change:
    """A field that gets another value; a key of a map another name; a place that goes away."""

    place: Place
    value: Any = None
    key: str | None = None

    def apply(self, spec: Mapping[str, Any]) -> None:
        """Change the specification, unless an earlier change took the place away."""
        *above, last = self.place
        holder: Any = spec
        try:
            for step in above:
                holder = holder[step]
            if self.key is not None:
                holder[self.key] = holder.pop(last)
            elif self.value is None:
                del holder[last]
            else:
                holder[last] = deepcopy(self.value)
        except (KeyError, IndexError, TypeError):
            return


@dataclass(frozen=True)
class _Ordinary:
    candidate: Candidate
    changes: SearchStrategy[list[_Change]]


@dataclass(frozen=True)
class _Item:
    """A value of a field, one of several if it is a list or a map; `of` is the value's own type."""

    place: Place
    value: Any
    field: FieldDescriptor
    of: FieldDescriptor

    @property
    def is_map(self) -> bool:
        return self.field is not self.of


@cache
def _objects(of: frozenset[Kind]) -> SearchStrategy[_Ordinary]:
    return st.sampled_from(
        [
            _Ordinary(each, st.lists(_change(each), max_size=_CHANGES))
            for each in ordinary()
            if each.kind in of
        ]
    )


def _change(candidate: Candidate) -> SearchStrategy[_Change]:
    """Any one change; each place is as likely as any other."""
    ways: list[SearchStrategy[_Change]] = []
    descriptor: Any = candidate.kind.message.DESCRIPTOR
    for item in _items(descriptor, candidate.spec, ()):
        if not _is_open(candidate, item.place):
            continue
        if (pool := _pool(item)) is not None:
            ways.append(_odd(pool).map(partial(_Change, item.place)))
        if item.is_map and item.field.name in KEYS:
            names = _odd(KEYS[item.field.name])
            ways.append(names.map(partial(_Change, item.place, None)))
        ways += _free_form_changes(item)
    places = [place for place, _ in _parts(candidate.spec, ()) if _is_open(candidate, place)]
    return st.one_of(*ways, st.sampled_from(places).map(_Change))


def _is_open(candidate: Candidate, place: Place) -> bool:
    """Not within a patch of Envoy's own configuration: only Envoy knows all rules about that."""
    return candidate.kind.name != "EnvoyFilter" or "patch" not in place


def _free_form_changes(item: _Item) -> Iterator[SearchStrategy[_Change]]:
    of = item.of.message_type
    if of is not None and of.full_name in _FREE_FORM:
        for place, value in _parts(item.value, item.place):
            if (pool := _FREE_FORM_POOLS.get(type(value))) is not None:
                yield _odd(pool).map(partial(_Change, place))


def _odd(pool: Pool) -> SearchStrategy[Any]:
    return st.sampled_from(pool.odd or pool.ordinary)


def _items(descriptor: Descriptor, message: Any, at: Place) -> Iterator[_Item]:
    """Every value within a message."""
    if not isinstance(message, Mapping):
        return
    for field in descriptor.fields:
        if field.json_name not in message:
            continue
        of, content = field, message[field.json_name]
        here = (*at, field.json_name)
        items = {here: content}
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            of = field.message_type.fields_by_name["value"]
            items = {(*here, key): value for key, value in content.items()}
        elif field.is_repeated:
            items = {(*here, index): value for index, value in enumerate(content)}
        for place, value in items.items():
            yield _Item(place, value, field, of)
            if of.message_type is not None:
                yield from _items(of.message_type, value, place)


def _pool(item: _Item) -> Pool | None:
    """What to draw for a value, None if it has parts."""
    of = item.of
    if of.message_type is None:
        if of.enum_type is not None:
            return Pool(tuple(each.name for each in of.enum_type.values))
        if item.is_map and of.cpp_type == FieldDescriptor.CPPTYPE_STRING:
            return HEADER_VALUES
        return pool_of(of)
    if of.message_type.full_name == "google.protobuf.Duration":
        return DURATIONS
    if of.message_type.full_name in WRAPPERS:
        return pool_of(of.message_type.fields_by_name["value"])
    return None


def _parts(content: Any, at: Place) -> Iterator[tuple[Place, Any]]:
    """Everything within JSON."""
    items: Any = ()
    if isinstance(content, Mapping):
        items = content.items()
    elif isinstance(content, list):
        items = enumerate(content)
    for key, value in items:
        yield (*at, key), value
        yield from _parts(value, (*at, key))
