"""Documents into configuration objects: kind, metadata and typed specification."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from google.protobuf.json_format import MessageToDict

from mast.common.keys import config_key
from mast.common.kinds import BY_GROUP_KIND, KINDS, Kind
from mast.galley.core import metadata
from mast.galley.core.decode import Decoded, decode
from mast.galley.core.documents import Node, documents, from_json
from mast.galley.core.metadata import Metadata
from mast.galley.core.problem import (
    NOWHERE,
    Finding,
    Path,
    Position,
    Problem,
    Severity,
    about,
    located,
    path_text,
)
from mast.galley.core.scalars import shown
from mastapi.galley.v1 import config_pb2

DEFAULT_NAMESPACE = "default"
# Where the mesh's own settings live if their document names no namespace.
ROOT_NAMESPACE = "istio-system"

_TOP_LEVEL = ("apiVersion", "kind", "metadata", "spec", "status")
_BESIDE_FIELDS = frozenset({"apiVersion", "kind", "metadata", "status"})
_SECRET_VALUES = {"data": "base64", "stringData": "text"}
_EMPTY = Node({})
_MESH_KINDS = frozenset({"MeshConfig", "MeshNetworks"})
_CONFIG_MAP_KEYS = {"mesh": "MeshConfig", "meshNetworks": "MeshNetworks"}


@dataclass(frozen=True, slots=True)
class ConfigObject:
    """One object as a user wrote it, understood.

    ``positions`` says where its fields stand in ``source``; ``undecoded`` are fields that could
    not be understood and are missing in ``spec``.
    """

    kind: Kind
    meta: Metadata
    spec: Any
    source: str = ""
    position: Position = NOWHERE
    positions: Mapping[Path, Position] = field(default_factory=dict)
    undecoded: tuple[Path, ...] = ()

    @property
    def key(self) -> str:
        """Where it is stored."""
        return config_key(self.kind.collection, self.meta.namespace, self.meta.name)

    @property
    def about(self) -> tuple[str, str, str]:
        """What problems say they are about if they are about this object."""
        return about(self.kind.name, self.meta.namespace, self.meta.name)

    def problem(self, finding: Finding) -> Problem:
        """A finding as a problem of this object, at the nearest line known."""
        path = finding.path
        while path and path not in self.positions:
            path = path[:-1]
        return Problem(
            finding.rule,
            finding.message,
            path_text(finding.path),
            finding.severity,
            self.source,
            self.positions.get(path, self.position),
            self.kind.name,
            self.meta.namespace,
            self.meta.name,
        )


@dataclass(frozen=True, slots=True)
class Reading:
    """Objects of a text and problems of reading it."""

    objects: tuple[ConfigObject, ...] = ()
    problems: tuple[Problem, ...] = ()

    def __add__(self, other: Reading) -> Reading:
        return Reading(self.objects + other.objects, self.problems + other.problems)


@dataclass(frozen=True, slots=True)
class Defaults:
    """How to read what a document leaves open.

    ``skip_unknown``: a kind that is none of ours is a warning and left out, not an error.
    ``secrets``: there is a key to seal Secrets with; without it they are errors.
    """

    namespace: str = DEFAULT_NAMESPACE
    skip_unknown: bool = False
    secrets: bool = True


def read_text(text: str, source: str, defaults: Defaults) -> Reading:
    """Every object of a YAML or JSON text; lists of kind List are opened.

    An object with problems is among the objects if its kind and name are known.
    """
    nodes, problems = documents(text)
    reading = Reading((), tuple(located(problems, source)))
    for node in nodes:
        reading += _read_document(node, source, defaults)
    return reading


def read_object(message: config_pb2.Object, source: str, defaults: Defaults) -> Reading:
    """An object of the API."""
    meta: dict[str, Any] = {
        "name": message.metadata.name,
        "labels": dict(message.metadata.labels),
        "annotations": dict(message.metadata.annotations),
    }
    if message.metadata.namespace:
        meta["namespace"] = message.metadata.namespace
    if message.metadata.resource_version:
        meta["resourceVersion"] = message.metadata.resource_version
    group, _, _ = message.api_version.rpartition("/")
    kind = BY_GROUP_KIND.get((group, message.kind))
    spec = MessageToDict(message.spec)
    content = {
        **(spec if kind is not None and kind.flat else {"spec": spec}),
        "apiVersion": message.api_version,
        "kind": message.kind,
        "metadata": meta,
    }
    return _read_document(from_json(content), source, defaults)


def _read_document(node: Node, source: str, defaults: Defaults) -> Reading:
    if not isinstance(node.value, dict):
        problem = Problem(
            "not-an-object", f"{shown(node)} is not an object", position=node.position
        )
        return Reading((), tuple(located([problem], source)))
    kind = node.value.get("kind")
    if kind is not None and _is_list(node.value, kind):
        return _read_list(node.value, source, defaults)
    if kind is not None and kind.value == "ConfigMap" and _is_mesh_config_map(node.value):
        return _read_config_map(node.value, source, defaults)
    return _read_one(node, node.value, source, defaults)


def _is_list(content: Mapping[str, Node], kind: Node) -> bool:
    return "items" in content and isinstance(kind.value, str) and kind.value.endswith("List")


def _read_list(content: Mapping[str, Node], source: str, defaults: Defaults) -> Reading:
    items = content["items"]
    if not isinstance(items.value, list):
        message = f"{shown(items)} is not a list"
        problem = Problem("wrong-type", message, "items", position=items.position)
        return Reading((), tuple(located([problem], source)))
    reading = Reading()
    for item in items.value:
        reading += _read_document(item, source, defaults)
    return reading


def _is_mesh_config_map(content: Mapping[str, Node]) -> bool:
    """The ConfigMap ``istio`` that Istio keeps its mesh settings in (crds.txt)."""
    meta = content.get("metadata")
    data = content.get("data")
    if meta is None or not isinstance(meta.value, dict) or data is None:
        return False
    name = meta.value.get("name")
    return (
        name is not None
        and name.value == "istio"
        and isinstance(data.value, dict)
        and any(key in data.value for key in _CONFIG_MAP_KEYS)
    )


def _read_config_map(content: Mapping[str, Node], source: str, defaults: Defaults) -> Reading:
    """MeshConfig and MeshNetworks ``default`` from the YAML texts inside the ConfigMap."""
    found = Reading()
    data, meta = content["data"].value, content["metadata"].value
    namespace = meta.get("namespace") if isinstance(meta, dict) else None
    for key, kind in _CONFIG_MAP_KEYS.items():
        text = data.get(key) if isinstance(data, dict) else None
        if text is None or not isinstance(text.value, str):
            continue
        # The text of a block scalar begins on the line after its indicator.
        offset = text.position.line if text.text is None and text.position.line else 0
        nodes, problems = documents(text.value)
        found += Reading((), tuple(located((_moved(p, offset) for p in problems), source)))
        for node in nodes[:1]:
            spec = _shifted(node, offset)
            named: dict[str, Node] = {"name": Node("default")}
            if namespace is not None:
                named["namespace"] = namespace
            wrapped = {
                "apiVersion": Node("mesh.istio.io/v1alpha1"),
                "kind": Node(kind),
                "metadata": Node(named),
                "spec": spec,
            }
            found += _read_one(Node(wrapped, text.position), wrapped, source, defaults)
    return found


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


def _read_one(node: Node, content: Mapping[str, Node], source: str, defaults: Defaults) -> Reading:
    kind, complaint = _kind(content, defaults)
    name = content.get("metadata")
    if kind is None:
        at = node.keys.get("kind", node.position)
        problem = replace(complaint, source=source, position=at, name=_name_of(name))
        return Reading((), (problem,))
    positions: dict[Path, Position] = {(key,): place for key, place in node.keys.items()}
    findings = list(_top_level(content, kind))
    if kind.sealed and not defaults.secrets:
        message = "cannot be kept: Galley runs without --secrets-key-file, the key that seals it"
        findings.append(Finding(("kind",), "no-sealing-key", message))
    meta, meta_findings, meta_positions = metadata.read(name, kind.cluster_scoped)
    if not kind.cluster_scoped and not meta.namespace:
        fallback = ROOT_NAMESPACE if kind.name in _MESH_KINDS else defaults.namespace
        meta = replace(meta, namespace=fallback)
    decoded = _decoded(content, kind)
    positions |= meta_positions
    positions |= decoded.positions
    obj = ConfigObject(
        kind,
        meta,
        decoded.message,
        source,
        node.position,
        positions,
        tuple(f.path for f in decoded.findings if f.rule != "unknown-field"),
    )
    problems = [obj.problem(f) for f in (*findings, *meta_findings, *decoded.findings)]
    if complaint.rule:
        problems.append(obj.problem(Finding(("apiVersion",), complaint.rule, complaint.message)))
    return Reading((obj,) if meta.name else (), tuple(problems))


def _name_of(meta: Node | None) -> str:
    name = meta.value.get("name") if meta is not None and isinstance(meta.value, dict) else None
    return name.value if name is not None and isinstance(name.value, str) else ""


def _decoded(content: Mapping[str, Node], kind: Kind) -> Decoded:
    """The specification, which in some kinds is not under ``spec``; nothing secret in findings."""
    spec = content.get("spec", _EMPTY)
    if kind.flat:
        spec = Node({key: node for key, node in content.items() if key not in _BESIDE_FIELDS})
    decoded = decode(_EMPTY if spec.value is None else spec, kind.message, kind.root)
    if kind.sealed:
        decoded = replace(decoded, findings=tuple(map(_discreet, decoded.findings)))
    return decoded


def _discreet(finding: Finding) -> Finding:
    """A finding about a value of a Secret, without the value."""
    wanted = _SECRET_VALUES.get(str(finding.path[0])) if len(finding.path) > 1 else None
    return replace(finding, message=f"is not {wanted}") if wanted else finding


def _top_level(content: Mapping[str, Node], kind: Kind) -> Iterator[Finding]:
    """Only the five keys of a custom resource (A3.2); the fields of a flat kind are decoded."""
    for key in content if not kind.flat else ():
        if key not in _TOP_LEVEL:
            allowed = ", ".join(_TOP_LEVEL)
            yield Finding((key,), "unknown-field", f"unknown field {key!r}; allowed: {allowed}")
    if "metadata" not in content:
        yield Finding(("metadata",), "required", "metadata with a name is required")


_NONE = Problem("", "")


def _kind(content: Mapping[str, Node], defaults: Defaults) -> tuple[Kind | None, Problem]:
    """The kind, or why there is none; a version that is not ours is complained about as well."""
    api = content.get("apiVersion")
    name = content.get("kind")
    if api is None or not isinstance(api.value, str) or not api.value:
        return None, Problem(
            "required", "is required, as text such as networking.istio.io/v1", "apiVersion"
        )
    if name is None or not isinstance(name.value, str) or not name.value:
        return None, Problem("required", "is required, as text such as VirtualService", "kind")
    group, _, version = api.value.rpartition("/")
    kind = BY_GROUP_KIND.get((group, name.value))
    if kind is None:
        severity = Severity.WARNING if defaults.skip_unknown else Severity.ERROR
        message = f"unknown kind {name.value!r} of {api.value!r}{_meant(name.value)}"
        return None, Problem("unknown-kind", message, "kind", severity, kind=name.value)
    if version not in kind.versions:
        allowed = ", ".join(f"{group}/{v}" for v in kind.versions)
        message = f"{kind.name} has no version {version!r}; allowed: {allowed}"
        return kind, Problem("unknown-version", message)
    return kind, _NONE


def _meant(name: str) -> str:
    same: Sequence[Kind] = [kind for kind in KINDS if kind.name.lower() == name.lower()]
    if not same:
        return ""
    return "; did you mean " + " or ".join(f"{kind.name} of {kind.api_version}" for kind in same)
