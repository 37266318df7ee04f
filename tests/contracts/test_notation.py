"""The table notation is read as described, and anything else is refused."""

from __future__ import annotations

import pytest

from tests.contracts.notation import Definition, Field, Former, Rpc, Value, parse

FILE = "package istio.demo.v1    (file demo/v1/demo.proto)\n"


def block(text: str) -> Definition:
    [definition] = parse(FILE + text).tables[0].definitions
    return definition


def test_tables_keep_the_order_of_the_file() -> None:
    text = (
        f"# comment\n== latest ==\n\n{FILE}message A\n\n== 1.4 ==\n\n{FILE}message A\nmessage B\n"
    )
    tables = parse(text).tables
    assert [(t.package, t.file) for t in tables] == [("istio.demo.v1", "demo/v1/demo.proto")] * 2
    assert [[d.name for d in t.definitions] for t in tables] == [["A"], ["A", "B"]]


@pytest.mark.parametrize(
    ("line", "field"),
    [
        pytest.param("1 host: string", Field(1, "host", "string"), id="singular"),
        pytest.param("2 ports: repeated Port", Field(2, "ports", "Port", "repeated"), id="list"),
        pytest.param("3 n: optional uint32", Field(3, "n", "uint32", "optional"), id="optional"),
        pytest.param("4 m: map<string,a.B>", Field(4, "m", "map<string,a.B>"), id="map"),
        pytest.param(
            "5 old: bool [required] [deprecated] [since 3.1]",
            Field(5, "old", "bool", tags=frozenset({"required", "deprecated"})),
            id="tags-without-releases",
        ),
    ],
)
def test_field(line: str, field: Field) -> None:
    assert block(f"message A\n  {line}\n").fields == [field]


def test_oneof_members_end_at_the_brace() -> None:
    text = "message A.B\n  oneof kind {\n    1 x: A\n    2 y: string\n  }\n  3 z: bool\n"
    assert [(f.name, f.oneof) for f in block(text).fields] == [
        ("x", "kind"),
        ("y", "kind"),
        ("z", ""),
    ]


def test_reservations() -> None:
    definition = block("message A\n  reserved 5, 7-9\n  reserved names a, b_c\n")
    assert definition.reserved == {5, 7, 8, 9}
    assert definition.reserved_names == {"a", "b_c"}


def test_enum() -> None:
    definition = block("enum A.Mode [since 3.0]\n  0 NONE\n  1000 OLD [deprecated]\n")
    assert definition.values == [Value(0, "NONE"), Value(1000, "OLD", frozenset({"deprecated"}))]


def test_rpc() -> None:
    text = (
        "service S\n  rpc M(stream a.In) returns (stream Out)  path=/p.S/M  {POST /v3/m body=*}\n"
    )
    expected = Rpc("M", "a.In", "Out", client_streams=True, server_streams=True, path="/p.S/M")
    assert block(text).rpcs == [expected]


def test_extension_and_file_option() -> None:
    text = (
        'file option template_name = "quota"\nextend google.protobuf.FileOptions\n  7 n: string\n'
    )
    [table] = parse(FILE + text).tables
    assert table.options == {"template_name": "quota"}
    [extend] = table.definitions
    assert (extend.kind, extend.name) == ("extend", "google.protobuf.FileOptions")
    assert extend.fields == [Field(7, "n", "string")]


def test_former_fields_name_their_releases() -> None:
    text = (
        "was message A   GONE (was in 1.0-1.4)\n"
        "was   1 x: repeated B   (1.0-1.2; now y: B)\n"
        "was enum A.Mode\n"
        "was   2 SLOW   (1.0)\n"
        "was message Renamed   (now named A)\n"
        "was   1 without_releases: string\n"
    )
    assert parse(text).former == [
        Former("message", "A", Field(1, "x", "B", "repeated"), "1.0-1.2"),
        Former("enum", "A.Mode", Value(2, "SLOW"), "1.0"),
    ]


@pytest.mark.parametrize("line", ["diff p A: 1 x: string", "note of use", "table a  b", "a\tb"])
def test_remarks_define_nothing(line: str) -> None:
    assert block(f"message A\n{line}\n  1 x: string\n").fields == [Field(1, "x", "string")]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        pytest.param("  1 x: string\n", "not in the notation", id="outside-any-block"),
        pytest.param("message A\n  x: string\n", "not a field", id="field-without-number"),
        pytest.param("enum A\n  NONE\n", "not an enum value", id="value-without-number"),
        pytest.param("service S\n  rpc M(A)\n", "not an rpc", id="rpc-without-response"),
        pytest.param("mesage A\n", "not in the notation", id="misspelt"),
    ],
)
def test_anything_else_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        parse(FILE + text)
