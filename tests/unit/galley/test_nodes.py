"""Trees of documents: content, objects, places."""

from __future__ import annotations

import pytest

from mast.galley.core.documents import Node, documents
from mast.galley.core.nodes import opened, place, plain
from mast.galley.core.problem import Path


def tree(text: str) -> Node:
    ((node,), _) = documents(text)
    return node


@pytest.mark.parametrize(
    ("text", "content"),
    [
        pytest.param("a: {b: [1, c]}", [{"a": {"b": [1, "c"]}}], id="object"),
        pytest.param("{kind: List, items: [{a: 1}, {kind: XList, items: [5]}]}", [{"a": 1}, 5],
                     id="lists"),
        pytest.param("{kind: List, items: 5}", [{"kind": "List", "items": 5}], id="no-list"),
        pytest.param("{kind: Menu, items: []}", [{"kind": "Menu", "items": []}], id="items"),
        pytest.param("[1]", [[1]], id="sequence"),
    ],
)  # fmt: skip
def test_opened(text: str, content: list[object]) -> None:
    assert [plain(each) for each in opened(tree(text))] == content


@pytest.mark.parametrize(
    ("path", "line"),
    [
        pytest.param((), 1, id="all"),
        pytest.param(("a",), 1, id="key"),
        pytest.param(("a", "b", 1), 4, id="item"),
        pytest.param(("a", "b", 7), 2, id="no-item"),
        pytest.param(("a", "c"), 1, id="no-key"),
        pytest.param(("a", "b", 0, "x"), 3, id="in-a-scalar"),
    ],
)
def test_place(path: Path, line: int) -> None:
    assert place(tree("a:\n  b:\n  - 1\n  - 2\n"), path).line == line
