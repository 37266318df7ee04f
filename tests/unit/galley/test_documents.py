"""Trees from YAML and JSON: values, positions, limits and errors."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mast.galley.core.documents import (
    BROKEN_LIMIT,
    DEPTH_LIMIT,
    DOCUMENT_LIMIT,
    NODE_LIMIT,
    TEXT_LIMIT_BYTES,
    Node,
    documents,
    from_json,
    parsed,
    utf8,
)
from mast.galley.core.problem import Position


def plain(node: Node) -> Any:
    if isinstance(node.value, dict):
        return {key: plain(item) for key, item in node.value.items()}
    if isinstance(node.value, list):
        return [plain(item) for item in node.value]
    return node.value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param("true", True, id="boolean"),
        pytest.param("yes", "yes", id="yes-is-text"),
        pytest.param("ON", "ON", id="on-is-text"),
        pytest.param("no", "no", id="no-is-text"),
        pytest.param("~", None, id="null"),
        pytest.param("010", 10, id="leading-zero-is-decimal"),
        pytest.param("0x1f", 31, id="hexadecimal"),
        pytest.param("0o17", 15, id="octal"),
        pytest.param("-7", -7, id="negative"),
        pytest.param("1.50", 1.5, id="float"),
        pytest.param("1e3", 1000.0, id="exponent"),
        pytest.param(".inf", float("inf"), id="infinity"),
        pytest.param("1.2.3", "1.2.3", id="version"),
        pytest.param("2026-01-01", "2026-01-01", id="date-is-text"),
        pytest.param("1_000", "1_000", id="underscore-is-text"),
        pytest.param("12:30", "12:30", id="sexagesimal-is-text"),
        pytest.param("9" * 50, 1e50, id="endless-integer"),
        pytest.param("'5'", "5", id="quoted"),
        pytest.param("!!str 5", "5", id="tagged"),
        pytest.param("=", "=", id="equals"),
    ],
)
def test_scalar(text: str, value: Any) -> None:
    nodes, problems = documents(f"a: {text}")
    assert problems == []
    assert plain(nodes[0]) == {"a": value}
    assert type(plain(nodes[0])["a"]) is type(value)


def test_everything_knows_where_it_stands() -> None:
    (node,), _ = documents("# note\na:\n  - b: 1\n    c: [x, y]\n")
    assert isinstance(node.value, dict)
    assert node.keys["a"] == Position(2, 1)
    items = node.value["a"].value
    assert isinstance(items, list)
    assert items[0].position == Position(3, 5)
    assert items[0].keys["c"] == Position(4, 5)
    assert isinstance(items[0].value, dict)
    assert items[0].value["b"].position == Position(3, 8)


def test_documents_are_separate_and_empty_ones_left_out() -> None:
    nodes, problems = documents("---\na: 1\n---\n---\n# nothing\n---\nb: 2\n")
    assert [plain(node) for node in nodes] == [{"a": 1}, {"b": 2}]
    assert problems == []


def test_keys_are_text_whatever_they_look_like() -> None:
    (node,), problems = documents("{80: a, true: b, 1.0: c}")
    assert plain(node) == {"80": "a", "true": "b", "1.0": "c"}
    assert problems == []


def test_aliases_and_merges_are_followed() -> None:
    text = "base: &b {x: 1, y: 2}\nuse: *b\nmerged: {<<: *b, y: 3}\nboth: {<<: [*b, {z: 4}]}\n"
    (node,), problems = documents(text)
    assert problems == []
    assert plain(node)["use"] == {"x": 1, "y": 2}
    assert plain(node)["merged"] == {"x": 1, "y": 3}
    assert plain(node)["both"] == {"x": 1, "y": 2, "z": 4}


def test_json_is_read_as_well() -> None:
    content = {"a": [1, 2.5, None, True, 'x\n"y" \\ é'], "b": {}}
    (node,), problems = documents(json.dumps(content, indent="\t"))
    assert problems == []
    assert plain(node) == content


@pytest.mark.parametrize(
    ("text", "rule", "position"),
    [
        pytest.param("a: 1\nb: [", "malformed-yaml", Position(3, 1), id="unclosed"),
        pytest.param("a: 1\n b: 2", "malformed-yaml", Position(2, 3), id="indentation"),
        pytest.param("a: \t- b", "malformed-yaml", Position(1, 5), id="tab"),
        pytest.param("a: 1\nb: 2\na: 3", "duplicate-key", Position(3, 1), id="key-twice"),
        pytest.param("a: *x", "malformed-yaml", Position(1, 4), id="unknown-alias"),
        pytest.param("a: !!python/object:os.system x", "yaml-tag", Position(1, 4), id="tag"),
        pytest.param("? [a]\n: b", "yaml-key", Position(1, 3), id="list-as-key"),
        pytest.param("~: b", "yaml-key", Position(1, 1), id="null-as-key"),
        pytest.param("a: {<<: 5}", "yaml-merge", Position(1, 9), id="merge-of-nothing"),
        pytest.param("a: \x01", "malformed-yaml", Position(1, 4), id="control-character"),
        pytest.param("a: 1\nb: x\0y", "malformed-yaml", Position(2, 5), id="zero"),
        pytest.param(utf8(b"a: 1\nb: \xc3("), "not-utf-8", Position(2, 4), id="not-utf-8"),
        pytest.param("[" * (DEPTH_LIMIT + 1), "too-deep", Position(1, DEPTH_LIMIT + 1),
                     id="too-deep"),
        pytest.param("&a [*a]", "malformed-yaml", Position(1, 5), id="alias-of-itself"),
    ],
)  # fmt: skip
def test_error(text: str, rule: str, position: Position | None) -> None:
    _, problems = documents(text)
    assert [problem.rule for problem in problems] == [rule]
    if position is not None:
        assert problems[0].position == position
    assert problems[0].message


@pytest.mark.parametrize(
    ("broken", "line"),
    [
        pytest.param("b: [\n", 4, id="unclosed"),
        pytest.param("b: 1\n c: 2\n", 4, id="indentation"),
        pytest.param("b: 'x\n", 4, id="quote"),
        pytest.param("b: *x\nc: 1\n", 3, id="alias"),
        pytest.param("[" * (DEPTH_LIMIT + 1) + "\n", 3, id="deep"),
        pytest.param("%YAML\n", 3, id="directive"),
    ],
)
def test_a_broken_document_hides_no_other(broken: str, line: int) -> None:
    found = parsed(f"a: 1\n---\n{broken}---\nc: 3\n--- # more\nd: 4\n")
    assert [plain(each.node) for each in found if each.node] == [{"a": 1}, {"c": 3}, {"d": 4}]
    ((problem,),) = [each.problems for each in found if each.problems]
    assert problem.position.line == line
    node = next(each.node for each in found if each.node and "d" in plain(each.node))
    assert node.position == Position(3 + broken.count("\n") + 3, 1)


def test_what_is_no_text_is_told_of_its_document() -> None:
    found = parsed(utf8(b"a: 1\n---\nb: \xff\xfe\n---\nc: 3\n---\n# \0\nd: 4\n"))
    assert [plain(each.node) for each in found if each.node][::2] == [{"a": 1}, {"c": 3}]
    assert [[(p.rule, p.position.line) for p in each.problems] for each in found] == [
        [],
        [("not-utf-8", 3)],
        [],
        [("malformed-yaml", 7)],
    ]
    assert found[1].problems[0].message == "byte 0xff is not UTF-8"


def test_who_gives_nothing_but_broken_documents_is_not_read_to_the_end() -> None:
    found = parsed("---\n[\n" * (BROKEN_LIMIT + 5) + "---\na: 1\n")
    assert [each.node for each in found] == [None] * (BROKEN_LIMIT + 1)
    assert found[-1].problems[-1].rule == "too-many"
    assert found[-1].problems[-1].position == Position(2 * BROKEN_LIMIT + 1, 1)


def test_a_key_given_twice_keeps_its_first_value() -> None:
    (node,), _ = documents("a: 1\na: {b: 2}\nc: 3")
    assert plain(node) == {"a": 1, "c": 3}


def test_aliases_of_aliases_cannot_fill_the_memory() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    _, problems = documents("\n".join(lines))
    assert [problem.rule for problem in problems] == ["too-large"]
    assert str(NODE_LIMIT) in problems[0].message


def test_too_long_a_text_is_not_even_parsed() -> None:
    nodes, problems = documents("#" * (TEXT_LIMIT_BYTES + 1))
    assert nodes == []
    assert [problem.rule for problem in problems] == ["too-large"]


def test_too_many_documents_are_not_read_to_the_end() -> None:
    found = parsed("--- 1\n" * (DOCUMENT_LIMIT + 1) + "---\na: 1\n")
    assert len(found) == DOCUMENT_LIMIT + 1
    (problem,) = found[-1].problems
    assert (problem.rule, problem.position) == ("too-large", Position(DOCUMENT_LIMIT + 1, 1))


def test_too_many_lines_are_not_even_parsed() -> None:
    nodes, problems = documents("a: 1" + "\n" * (NODE_LIMIT + 1))
    assert nodes == []
    assert [problem.rule for problem in problems] == ["too-large"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=20,
)


@given(JSON)
def test_decoded_json_becomes_the_same_tree(value: Any) -> None:
    assert plain(from_json(value)) == value


@given(st.text(max_size=200))
def test_no_text_raises(text: str) -> None:
    documents(text)


@given(st.text(alphabet="ab:-[]{}&*!|>'\"#,? \n\t<%@`", max_size=80))
def test_no_punctuation_raises(text: str) -> None:
    documents(text)
