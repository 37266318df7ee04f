"""Hypothesis strategies for objects at the edge of what users may write.

Half of them are ordinary with a few changes (`usage`). Of the others every field of every kind is
drawn by its place in the API: most values are ordinary and meet each other, some are what Envoy is
known to dislike. Few of these are valid as they are drawn; see `tests.support.accepted`.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from mast.common import kinds
from mast.common.kinds import Kind
from mast.pilot.core.model import collection_names
from tests.property.hostile import addresses, usage
from tests.property.hostile.fields import BROAD, KEYS, MUST, pool_of
from tests.property.hostile.numbers import DURATIONS
from tests.property.hostile.pools import Pool
from tests.property.hostile.texts import HEADER_VALUES
from tests.support.accepted import Candidate

Draw = Callable[[SearchStrategy[Any]], Any]

_DEPTH = 8
_MORE = 3
_ITEMS = 3
_JSON = st.sampled_from(({}, {"a": 1}, {"a": {"b": ["é", None, True]}}, {"": ""}))

KINDS = tuple(
    each
    for each in kinds.KINDS
    if each.collection in vars(collection_names).values() and each.root == ("spec",)
)
"""All that Pilot knows; what has no specification (Secret, ConfigMap) is no configuration."""

_MESH = frozenset({"MeshConfig", "MeshNetworks"})
_OFTEN = {
    "VirtualService": 8,
    "DestinationRule": 8,
    "ServiceEntry": 6,
    "Sidecar": 4,
    "Gateway": 4,
    "MeshConfig": 3,
    "HTTPRoute": 3,
}
"""How much more often than others kinds are drawn that much depends on."""


def candidates(of: Sequence[Kind] = KINDS) -> SearchStrategy[Candidate]:
    """Objects of some kinds: ordinary ones with odd values, and those of any fields at all."""
    return usage.changed(frozenset(of)) | _anything(tuple(of))


@st.composite
def _anything(draw: Draw, of: tuple[Kind, ...]) -> Candidate:
    kind = draw(_kind(of))
    spec = draw(_message(kind.message.DESCRIPTOR, _DEPTH))
    if kind.name in _MESH:
        return Candidate(kind, "istio-system", "default", spec)
    return Candidate(
        kind,
        "" if kind.cluster_scoped else draw(_NAMESPACES),
        "default" if kind.cluster_scoped else draw(addresses.NAMES.strategy()),
        spec,
        dict(draw(addresses.LABELS.strategy())),
    )


_NAMESPACES = Pool(("shop", "web"), ("istio-system",)).strategy()


@cache
def _kind(of: tuple[Kind, ...]) -> SearchStrategy[Kind]:
    return st.sampled_from([each for each in of for _ in range(_OFTEN.get(each.name, 1))])


@cache
def _message(descriptor: Descriptor, depth: int) -> SearchStrategy[Any]:
    """The JSON of some message of a type: what it must have, and a few more fields."""
    if descriptor.full_name == "google.protobuf.Duration":
        return DURATIONS.strategy()
    if descriptor.full_name in {"google.protobuf.Struct", "google.protobuf.Value"}:
        return _JSON
    if descriptor.full_name == "google.protobuf.Timestamp":
        return st.just("2026-01-01T00:00:00Z")
    if descriptor.full_name.startswith("google.protobuf."):
        return _value(descriptor.fields_by_name["value"], 0)
    return _fields_of(descriptor, depth)


def _fields_of(descriptor: Descriptor, depth: int) -> SearchStrategy[Any]:
    known = {each.name: each for each in descriptor.fields if depth or each.message_type is None}
    if not known:
        return st.just({})
    ways = st.sampled_from([each.split() for each in MUST.get(descriptor.name, ("",))])
    more = st.lists(st.sampled_from(sorted(known)), max_size=BROAD.get(descriptor.name, _MORE))

    @st.composite
    def content(draw: Draw) -> dict[str, Any]:
        result: dict[str, Any] = {}
        taken: set[str] = set()
        for name in dict.fromkeys([*draw(ways), *draw(more)]):
            if (field := known.get(name)) is None:
                continue
            oneof = field.containing_oneof
            if oneof is not None and oneof.name in taken:
                continue
            if oneof is not None:
                taken.add(oneof.name)
            result[field.json_name] = draw(_field(field, depth))
        return result

    return content()


@cache
def _field(field: FieldDescriptor, depth: int) -> SearchStrategy[Any]:
    of = field.message_type
    if of is not None and of.GetOptions().map_entry:
        return _map(field, of.fields_by_name["value"], depth)
    if field.is_repeated:
        return st.lists(_value(field, depth), min_size=1, max_size=_ITEMS)
    return _value(field, depth)


def _map(field: FieldDescriptor, value: FieldDescriptor, depth: int) -> SearchStrategy[Any]:
    keys = KEYS[field.name].strategy() if field.name in KEYS else st.sampled_from(("a", "b"))
    if value.message_type is None and value.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        if "label" in field.name or field.name == "selector":
            return addresses.LABELS.strategy().map(dict)
        return st.dictionaries(keys, HEADER_VALUES.strategy(), min_size=1, max_size=_ITEMS)
    return st.dictionaries(keys, _value(value, depth), min_size=1, max_size=_ITEMS)


def _value(field: FieldDescriptor, depth: int) -> SearchStrategy[Any]:
    if field.message_type is not None:
        return _message(field.message_type, max(0, depth - 1))
    if field.enum_type is not None:
        return st.sampled_from([each.name for each in field.enum_type.values])
    return pool_of(field).strategy()
