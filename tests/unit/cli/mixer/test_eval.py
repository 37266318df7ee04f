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


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{", "line 1: not JSON"),
        ("[]", 'line 1: want an object with "expr"'),
        ('{"expr": "a", "types": {}}', "unknown field 'types'"),
        ('{"expr": "a", "manifest": {"a": "INT"}}', "manifest: a: type 'INT'; allowed: STRING"),
        ('{"expr": "a", "manifest": []}', None),
        ('{"expr": "a", "manifest": [1]}', "manifest: .* is no object"),
        ('{"expr": "a", "attributes": {"a": 1}}', "attributes: a: 1: want"),
        ('{"expr": "a", "dialect": "JS"}', "dialect: 'JS'; allowed: "),
    ],
)
def test_lines_that_are_no_cases(line: str, complaint: str | None) -> None:
    if complaint is None:
        assert run(lines=line)[0] == 0
        return
    with pytest.raises(CommandError, match=complaint) as caught:
        run(lines=line)
    assert caught.value.status == 2


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
