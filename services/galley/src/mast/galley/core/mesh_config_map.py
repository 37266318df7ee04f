"""The ConfigMap ``istio`` that Istio keeps its mesh settings in, as documents (crds.txt)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from mast.galley.core.documents import Document, Node, parsed
from mast.galley.core.problem import Position, Problem

_KEYS = {"mesh": "MeshConfig", "meshNetworks": "MeshNetworks"}


def is_mesh_config_map(content: Mapping[str, Node]) -> bool:
    """Whether a ConfigMap is the one of this name and has such settings."""
    meta = content.get("metadata")
    data = content.get("data")
    if meta is None or not isinstance(meta.value, dict) or data is None:
        return False
    name = meta.value.get("name")
    return (
        name is not None
        and name.value == "istio"
        and isinstance(data.value, dict)
        and any(key in data.value for key in _KEYS)
    )


def embedded(content: Mapping[str, Node]) -> Iterator[Document]:
    """MeshConfig and MeshNetworks ``default`` from the YAML texts inside the ConfigMap."""
    data, meta = content["data"].value, content["metadata"].value
    namespace = meta.get("namespace") if isinstance(meta, dict) else None
    for key, kind in _KEYS.items():
        text = data.get(key) if isinstance(data, dict) else None
        if text is None or not isinstance(text.value, str):
            continue
        # The text of a block scalar begins on the line after its indicator.
        offset = text.position.line if text.text is None and text.position.line else 0
        inner = parsed(text.value)
        problems = tuple(_moved(each, offset) for part in inner for each in part.problems)
        settings = next((part.node for part in inner if part.node is not None), None)
        if settings is None:
            yield Document(None, problems)
            continue
        named: dict[str, Node] = {"name": Node("default")}
        if namespace is not None:
            named["namespace"] = namespace
        wrapped = {
            "apiVersion": Node("mesh.istio.io/v1alpha1"),
            "kind": Node(kind),
            "metadata": Node(named),
            "spec": _shifted(settings, offset),
        }
        yield Document(Node(wrapped, text.position), problems)


def _moved(problem: Problem, lines: int) -> Problem:
    position = Position(problem.position.line + lines, problem.position.column)
    return replace(problem, position=position if problem.position.line else problem.position)


def _shifted(node: Node, lines: int) -> Node:
    """The tree, some lines further down."""

    def moved(position: Position) -> Position:
        return Position(position.line + lines, position.column)

    value = node.value
    if isinstance(value, list):
        value = [_shifted(item, lines) for item in value]
    elif isinstance(value, dict):
        value = {key: _shifted(item, lines) for key, item in value.items()}
    keys = {key: moved(position) for key, position in node.keys.items()}
    return Node(value, moved(node.position), node.text, keys)
