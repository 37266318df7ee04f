"""Whatever decodes is judged without an exception, and judged the same when it comes back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.json_format import MessageToDict
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mast.common.kinds import KINDS, Kind
from mast.galley.core import rules
from mast.galley.core.judge import judge
from mast.galley.core.objects import Defaults, read_object, read_text
from mast.galley.core.resources import resource, shown, stored
from mast.galley.core.sealed import REDACTED, sealed
from mastapi.galley.v1 import config_pb2
from tests.support.credentials import SEALING_KEY

DEPTH = 5
WORDS = st.sampled_from(
    ["", "a", "a.com", "*", "*.b.com", "10.0.0.1", "10.0.0.0/8", "mesh", "ns/a", "unix:///a", ".",
     "default", "GET", "http", "HTTPS", "80", "{*}", "(", "a b", "::1", "%", "configmap://x/y"]
)  # fmt: skip
SCALARS: Mapping[int, st.SearchStrategy[Any]] = {
    FieldDescriptor.CPPTYPE_STRING: WORDS,
    FieldDescriptor.CPPTYPE_BOOL: st.booleans(),
    FieldDescriptor.CPPTYPE_INT32: st.sampled_from([-1, 0, 1, 80, 70_000]),
    FieldDescriptor.CPPTYPE_INT64: st.sampled_from([-1, 0, 1, 2**40]),
    FieldDescriptor.CPPTYPE_UINT32: st.sampled_from([0, 1, 80, 70_000]),
    FieldDescriptor.CPPTYPE_UINT64: st.sampled_from([0, 1, 65_537]),
    FieldDescriptor.CPPTYPE_DOUBLE: st.sampled_from([-1.0, 0.0, 0.00001, 50.0, 101.0]),
    FieldDescriptor.CPPTYPE_FLOAT: st.sampled_from([0.0, 1.5]),
}
SPECIAL: Mapping[str, st.SearchStrategy[Any]] = {
    "google.protobuf.Duration": st.sampled_from(["0s", "1s", "1.5s", "0.0005s", "-1s", "2h"]),
    "google.protobuf.Timestamp": st.just("2026-01-01T00:00:00Z"),
    "google.protobuf.Struct": st.dictionaries(
        WORDS.filter(bool), WORDS | st.integers(0, 3) | st.booleans() | st.none(), max_size=3
    ),
    "google.protobuf.Value": WORDS,
}


@st.composite
def messages(draw: st.DrawFn, descriptor: Descriptor, depth: int = DEPTH) -> Any:
    """The JSON of some message of a type: a few of its fields, one of each oneof."""
    if descriptor.full_name in SPECIAL:
        return draw(SPECIAL[descriptor.full_name])
    if descriptor.full_name.startswith("google.protobuf."):
        return draw(values(descriptor.fields_by_name["value"], 0))
    content: dict[str, Any] = {}
    taken: set[str] = set()
    fields = [f for f in descriptor.fields if depth or f.message_type is None]
    for field in draw(st.lists(st.sampled_from(fields), max_size=4)) if fields else []:
        oneof = field.containing_oneof
        if oneof is not None and oneof.name in taken:
            continue
        if oneof is not None:
            taken.add(oneof.name)
        content[field.json_name] = draw(of_field(field, depth))
    return content


def of_field(field: FieldDescriptor, depth: int) -> st.SearchStrategy[Any]:
    of = field.message_type
    if of is not None and of.GetOptions().map_entry:
        key = of.fields_by_name["key"]
        keys = values(key, 0).filter(lambda k: k != "").map(str)
        return st.dictionaries(keys, values(of.fields_by_name["value"], depth), max_size=3)
    if field.is_repeated:
        return st.lists(values(field, depth), max_size=3)
    return values(field, depth)


def values(field: FieldDescriptor, depth: int) -> st.SearchStrategy[Any]:
    if field.message_type is not None:
        return messages(field.message_type, max(0, depth - 1))
    if field.enum_type is not None:
        return st.sampled_from([value.name for value in field.enum_type.values])
    if field.type == FieldDescriptor.TYPE_BYTES:
        return st.just("aGk=")
    return SCALARS[field.cpp_type]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"{kind.group}/{kind.name}")
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_every_decodable_object_is_judged(kind: Kind, data: st.DataObject) -> None:
    spec = data.draw(messages(kind.message.DESCRIPTOR))
    message = config_pb2.Object(api_version=kind.api_version, kind=kind.name)
    message.metadata.name = "default"
    message.spec.update(spec)
    reading = read_object(message, "-", Defaults())
    (obj,) = reading.objects
    assert [p for p in reading.problems if p.rule != "one-of"] == []
    found = list(rules.check(obj))
    assert all(finding.path and finding.rule and finding.message for finding in found)
    kept = resource(sealed(obj, SEALING_KEY), 1, None)
    again = shown(stored(obj.key, kept.SerializeToString(), 1))
    if kind.sealed is not None:
        assert set(MessageToDict(again.spec)["data"].values()) <= {REDACTED}
        return
    # Stored and read again it is the same object with the same findings, but for lists that were
    # written empty: an object with one is never stored.
    back = read_object(again, "-", Defaults())
    assert back.problems == ()
    assert back.objects[0].spec == obj.spec
    kept = [finding for finding in found if finding.rule != "empty-list"]
    assert sorted(map(str, rules.check(back.objects[0]))) == sorted(map(str, kept))


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet="abkind: \n-[]{}'\"*&!|>#,apiVersion/v1.", max_size=120))
def test_no_text_raises(text: str) -> None:
    judge(read_text(text, "-", Defaults()))


@given(st.permutations(["a", "b", "c", "d"]))
def test_the_order_of_documents_does_not_matter(order: list[str]) -> None:
    text = "---\n".join(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\n"
        f"metadata: {{name: {name}}}\nspec: {{host: {'a.com' if name < 'c' else 'a b'}}}\n"
        for name in order
    )
    judged = judge(read_text(text, "-", Defaults()))
    assert sorted((p.name, p.rule) for p in judged.problems) == [("c", "host"), ("d", "host")]
