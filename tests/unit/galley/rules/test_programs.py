"""Expressions and programs that Envoy loads (pilot.md K5; Envoy's own limits)."""

from __future__ import annotations

import pytest

from mast.galley.core.rules.programs import expression, inline_expression, lua


@pytest.mark.parametrize(
    "text",
    [
        "response.code >= 500 || request.headers['x-one'] == 'a'",
        "has(request.headers.x) && request.path.startsWith('/a')",
        "request.path.matches('^/[a-z]+$')",
        "request.path.matches(request.host)",
        "connection.mtls ? source.address : 'none'",
        "filter_state['a'] == metadata.filter_metadata['b']['c']",
        "request.time - timestamp('2026-01-01T00:00:00Z') > duration('1s')",
        "response.code in [200, 201]",
    ],
)
def test_expressions_of_envoy(text: str) -> None:
    assert expression(text) is None
    assert inline_expression(text) is None


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        pytest.param("a b", "1:3: Syntax error", id="syntax"),
        pytest.param(" ", "is not a CEL expression", id="nothing"),
        pytest.param("nope == 1", "attributes: connection, destination", id="attribute"),
        pytest.param("request.host.lowerAscii()", "lowerAscii", id="function"),
        pytest.param("request.headers.exists(h, h == 'a')", "a list or map", id="comprehension"),
        pytest.param("{'a': [[1].map(x, x)]}", "a list or map", id="inner-comprehension"),
        pytest.param("string(response.code) == '200'", "converts to a string", id="string"),
        pytest.param("request.path.matches('(')", "not an RE2", id="regex"),
        pytest.param("request.path.matches('a{120}')", "allowed: 100", id="large-regex"),
        pytest.param("(" * 40 + "1" + ")" * 40, "recursion limit", id="depth"),
    ],
)
def test_expressions_that_envoy_refuses(text: str, complaint: str) -> None:
    assert complaint in (expression(text) or "")


@pytest.mark.parametrize("text", ["(response.code)%2", "1\n+ 1", "1\r+ 1"])
def test_expressions_that_would_end_their_format(text: str) -> None:
    assert expression(text) is None
    assert "line break or ')%'" in (inline_expression(text) or "")


@pytest.mark.parametrize(
    "code", ["", "function envoy_on_request(handle) end", "goto a; ::a:: x = 1", "-- é"]
)
def test_programs_of_luajit(code: str) -> None:
    assert lua(code) is None


@pytest.mark.parametrize(
    ("code", "complaint"),
    [
        pytest.param("x", "'=' expected", id="syntax"),
        pytest.param("local x <const> = 1", "unexpected symbol", id="newer-lua"),
        pytest.param("\x1bLJ", "bytecode", id="bytecode"),
    ],
)
def test_other_programs(code: str, complaint: str) -> None:
    assert complaint in (lua(code) or "")


def test_programs_are_not_run() -> None:
    assert lua("error('run')") is None
