"""mastctl mixer eval: outcomes, and what was looked up (mixer.md A7, E9, E12 to E14)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from mast.cli.errors import CommandError
from mast.cli.main import app


def run(*arguments: str, lines: str | None = None) -> tuple[int, list[dict[str, Any]]]:
    ended = CliRunner().invoke(app, ["mixer", "eval", *arguments], input=lines)
    if isinstance(ended.exception, CommandError):
        raise ended.exception
    return ended.exit_code, [json.loads(line) for line in ended.stdout.splitlines()]


CASES = [
    (
        {
            "expr": 'a | m["k"] | "none"',
            "manifest": {"a": "STRING", "m": "STRING_MAP"},
            "attributes": {"m": {"t": "string_map", "v": {"k": "v"}}},
        },
        {
            "outcome": "value",
            "type": "STRING",
            "value": {"t": "string", "v": "v"},
            "referenced": ["-a", "m[k]"],
        },
    ),
    (
        {
            "expr": 'm["k"]',
            "manifest": {"m": "STRING_MAP"},
            "attributes": {"m": {"t": "string_map", "v": {}}},
        },
        {
            "outcome": "value",
            "type": "STRING",
            "value": {"t": "string", "v": ""},
            "referenced": ["-m[k]"],
        },
    ),
    (
        {
            "expr": "a == 2 || b",
            "manifest": {"a": "INT64", "b": "BOOL"},
            "attributes": {"a": {"t": "int64", "v": "2"}},
        },
        {
            "outcome": "value",
            "type": "BOOL",
            "value": {"t": "bool", "v": True},
            "referenced": ["a"],
        },
    ),
    (
        {"expr": "a", "manifest": {"a": "DURATION"}, "dialect": "CEXL"},
        {
            "outcome": "eval_error",
            "type": "DURATION",
            "error": "lookup failed: 'a'",
            "referenced": ["-a"],
        },
    ),
    (
        {
            "expr": "pick(m.k, a) + 'x'",
            "manifest": {"a": "STRING", "m": "STRING_MAP"},
            "dialect": "CEL",
        },
        {
            "outcome": "value",
            "type": "STRING",
            "value": {"t": "string", "v": "x"},
            "referenced": ["-m", "-a"],
        },
    ),
    (
        {"expr": "b"},
        {"outcome": "compile_error", "error": "unknown attribute b", "referenced": []},
    ),
]


def test_lines() -> None:
    lines = "\n".join(json.dumps(case) for case, _ in CASES)
    assert run(lines=lines + "\n\n") == (0, [expected for _, expected in CASES])


GOOD = '{"expr": "1"}'
ONE = {"outcome": "value", "type": "INT64", "value": {"t": "int64", "v": 1}, "referenced": []}


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{", "not JSON: "),
        ("[" * 100_000, "not JSON: "),
        ("9" * 5_000, "not JSON: "),
        (b'{"expr": "\xff"}', "not JSON: "),
        ("[]", 'want an object with "expr", a string'),
        ('{"expr": 1}', 'want an object with "expr", a string'),
        (
            '{"expr": "a", "types": {}}',
            "unknown field 'types'; allowed: expr, manifest, attributes",
        ),
        ('{"expr": "a", "manifest": {"a": "INT"}}', "manifest: a: type 'INT'; allowed: STRING, "),
        ('{"expr": "a", "manifest": {"a": []}}', "manifest: a: type []; allowed: STRING, "),
        ('{"expr": "a", "manifest": [1]}', "manifest: [1] is no object"),
        ('{"expr": "a", "attributes": {"a": 1}}', "attributes: a: 1: want"),
        ('{"expr": "a", "attributes": {"a": {"t": []}}}', "attributes: a: {'t': []}: want"),
        ('{"expr": "a", "attributes": {"a": {"t": "duration", "v": 1}}}', "needs 'ns'"),
        ('{"expr": "a", "dialect": "JS"}', "dialect: 'JS'; allowed: CEXL, CEL, COMPAT"),
        ('{"expr": "a", "dialect": {}}', "dialect: {}; allowed: CEXL, CEL, COMPAT"),
    ],
)
def test_a_line_that_is_no_case_is_told_in_its_place(line: str | bytes, complaint: str) -> None:
    raw = line if isinstance(line, bytes) else line.encode()
    ended = CliRunner().invoke(
        app, ["mixer", "eval"], input=b"\n".join((GOOD.encode(), raw, b"", GOOD.encode()))
    )
    before, told, after = (json.loads(each) for each in ended.stdout.splitlines())
    assert (before, after) == (ONE, ONE)
    assert (told["outcome"], told["referenced"]) == ("compile_error", [])
    assert complaint in told["error"]
    assert isinstance(ended.exception, CommandError)
    assert (str(ended.exception), ended.exception.status) == (
        "what describes no case: line 2 of standard input",
        2,
    )


@pytest.mark.parametrize("manifest", ["{}", "[]", "null"])
def test_what_is_empty_may_be_of_any_kind(manifest: str) -> None:
    assert run(lines=f'{{"expr": "1", "manifest": {manifest}}}') == (0, [ONE])


@pytest.mark.parametrize("dialect", ["CEXL", "CEL", "COMPAT"])
@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("STRING", {"t": "string", "v": 'é " \n'}),
        ("DNS_NAME", {"t": "string", "v": "example.com"}),
        ("URI", {"t": "string", "v": "http://x/"}),
        ("EMAIL_ADDRESS", {"t": "string", "v": "a@b"}),
        ("INT64", {"t": "int64", "v": -(2**63)}),
        ("DOUBLE", {"t": "double", "v": 1.5}),
        ("DOUBLE", {"t": "double", "v": "NaN"}),
        ("DOUBLE", {"t": "double", "v": "-Infinity"}),
        ("BOOL", {"t": "bool", "v": False}),
        ("TIMESTAMP", {"t": "timestamp", "v": "2020-01-31T10:00:00.123456789Z"}),
        ("TIMESTAMP", {"t": "timestamp", "v": "0001-01-01T00:00:00Z"}),
        ("DURATION", {"t": "duration", "ns": -1_500_000_001}),
        ("IP_ADDRESS", {"t": "bytes", "hex": "0a000001"}),
        ("IP_ADDRESS", {"t": "bytes", "hex": "20010db8000000000000000000000001"}),
        ("STRING_MAP", {"t": "string_map", "v": {"k": "v", "": ""}}),
    ],
)
def test_values_of_every_type_come_back_as_they_were(
    kind: str, value: dict[str, Any], dialect: str
) -> None:
    case = {"expr": "a", "manifest": {"a": kind}, "attributes": {"a": value}, "dialect": dialect}
    status, (found,) = run(lines=json.dumps(case))
    assert (status, found["outcome"], found["type"], found["value"]) == (0, "value", kind, value)
    assert found["referenced"] == (["a[k]", "a[]"] if kind == "STRING_MAP" else ["a"])


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ('ip("10.0.0.1")', {"t": "bytes", "hex": "0a000001"}),
        ('"1h30m"', {"t": "duration", "ns": 5_400_000_000_000}),
        ('timestamp("2020-01-31T11:00:00.5+01:00")',
         {"t": "timestamp", "v": "2020-01-31T10:00:00.5Z"}),
        ('uri("http://x")', {"t": "string", "v": "http://x"}),
        ("1.0", {"t": "double", "v": 1.0}),
        ("emptyStringMap()", {"t": "string_map", "v": {}}),
    ],
)  # fmt: skip
def test_values_that_expressions_make(expression: str, value: dict[str, Any]) -> None:
    status, (found,) = run(expression)
    assert (status, found["value"]) == (0, value)


def test_halves_of_characters_are_replaced() -> None:
    line = r"""{"expr": "size(a) + size(\"\ud800\")", "manifest": {"a": "STRING"},
        "attributes": {"a": {"t": "string", "v": "\udfff"}}}""".replace("\n", "")
    assert run(lines=line)[1][0]["value"] == {"t": "int64", "v": 6}


def test_an_expression_and_options() -> None:
    arguments = ("mine == 3 && request.path == `/x`", "-s", "request.path=/x", "-i", "mine=3")
    status, (found,) = run(*arguments)
    assert (status, found["value"]["v"]) == (0, True)


def test_types_of_options() -> None:
    status, (found,) = run("mine | 5", "--manifest", "mine=INT64")
    assert (status, found["value"]["v"], found["referenced"]) == (0, 5, ["-mine"])


@pytest.mark.parametrize("expression", ["request.path", "request.path ==", "nobody"])
def test_what_has_no_value_fails(expression: str) -> None:
    assert run(expression)[0] == 1


def test_options_without_an_expression() -> None:
    with pytest.raises(CommandError, match="need an expression"):
        run("-s", "a=b")
