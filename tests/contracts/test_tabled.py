"""How several releases of one definition become one demand."""

from __future__ import annotations

import pytest

from tests.contracts.facts import Facts, FieldFact
from tests.contracts.notation import parse
from tests.contracts.tabled import camel, tabled

FILE = "package p    (file p.proto)\n"


def facts(*texts: str) -> Facts:
    return tabled(parse(text) for text in texts)


def field(of: Facts, key: str) -> FieldFact:
    fact = of[f"field {key}"]
    assert isinstance(fact, FieldFact)
    return fact


@pytest.mark.parametrize(
    ("line", "presence", "packed"),
    [
        pytest.param("1 x: string", False, False, id="scalar"),
        pytest.param("1 x: optional uint32", True, False, id="optional-scalar"),
        pytest.param("1 x: A", True, False, id="message"),
        pytest.param("1 x: google.protobuf.Any", True, False, id="message-of-another-file"),
        pytest.param("1 x: Mode", False, False, id="enum"),
        pytest.param("1 x: repeated Mode", False, True, id="enums-are-packed"),
        pytest.param("1 x: repeated uint32", False, True, id="numbers-are-packed"),
        pytest.param("1 x: repeated bytes", False, False, id="bytes-are-not"),
        pytest.param("1 x: repeated A", False, False, id="messages-are-not"),
        pytest.param("1 x: map<string,A>", False, False, id="map"),
    ],
)
def test_presence_and_packing_follow_the_type(line: str, presence: bool, packed: bool) -> None:
    fact = field(facts(f"{FILE}message A\n  {line}\nenum Mode\n  0 NONE\n"), "p.A.1")
    assert (fact.presence, fact.packed) == (presence, packed)


def test_members_of_a_oneof_have_presence() -> None:
    text = f"{FILE}message A\n  oneof kind {{\n    1 x: string\n  }}\n"
    assert field(facts(text), "p.A.1").presence


def test_types_are_absolute_also_across_files() -> None:
    other = (
        "package q    (file q.proto)\nmessage B\n  1 own: B\n  2 far: p.A\n  3 m: map<string,B>\n"
    )
    merged = facts(f"{FILE}message A\n", other)
    assert [field(merged, f"q.B.{n}").type for n in (1, 2, 3)] == ["q.B", "p.A", "map<string,q.B>"]


@pytest.mark.parametrize(
    ("name", "json"),
    [
        ("subset", "subset"),
        ("export_to", "exportTo"),
        ("http2_max", "http2Max"),
        ("targetRefs",) * 2,
    ],
)
def test_json_name(name: str, json: str) -> None:
    assert camel(name) == json


OLDER = (
    f"{FILE}message A\n  1 x: string\n  reserved 3, 4\n  reserved names z\n\n"
    f"== 1.4 ==\n\n{FILE}message A\n  1 y: int32\n  2 w: bool\n  3 z: string\nmessage B\n  1 a: A\n"
)


def test_the_newest_table_wins() -> None:
    assert field(facts(OLDER), "p.A.1").name == "x"


def test_an_older_field_with_a_free_number_is_kept_deprecated() -> None:
    merged = facts(OLDER)
    assert field(merged, "p.A.2").deprecated
    assert not field(merged, "p.A.1").deprecated


def test_a_kept_field_lifts_its_reservations_only() -> None:
    reserved = {key for key in facts(OLDER) if key.startswith("reserved")}
    assert reserved == {"reserved p.A.4"}


def test_a_message_of_an_older_table_alone_is_demanded_as_it_was() -> None:
    merged = facts(OLDER)
    assert "message p.B" in merged
    assert not field(merged, "p.B.1").deprecated


FORMER = (
    f"{FILE}message A\n  1 x: string\n  reserved 2\n"
    "was message A\n"
    "was   1 old: string   (1.0-1.4; now x: string)\n"
    "was   2 kept: A.Gone   (1.0-1.4; now reserved)\n"
    "was   3 dropped: string   (1.0-1.3; now absent)\n"
    "was message A.Gone   GONE (was in 1.0-1.4)\n"
    "was   1 mode: A.Gone.Mode   (1.0-1.4)\n"
    "was enum A.Gone.Mode   GONE\n"
    "was   0 OFF   (1.0-1.4)\n"
    "was message Unknown   GONE (was in 1.4)\n"
    "was   1 x: string   (1.4)\n"
)


def test_former_fields_of_1_4_are_kept_and_earlier_ones_are_not() -> None:
    merged = facts(FORMER)
    assert field(merged, "p.A.1").name == "x"
    assert field(merged, "p.A.2").deprecated
    assert "field p.A.3" not in merged
    assert "reserved p.A.2" not in merged


def test_former_messages_and_enums_are_kept_as_they_were() -> None:
    merged = facts(FORMER)
    assert not field(merged, "p.A.Gone.1").deprecated
    assert field(merged, "p.A.Gone.1").type == "p.A.Gone.Mode"
    assert not field(merged, "p.A.Gone.1").presence
    assert merged["value p.A.Gone.Mode.0"] == "OFF"
    assert not any("Unknown" in key for key in merged)
