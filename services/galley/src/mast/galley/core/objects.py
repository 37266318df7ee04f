"""Documents into configuration objects: kind, metadata and typed specification."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from google.protobuf.json_format import MessageToDict

from mast.common.credentials import KNOWN, ROOTS
from mast.common.keys import config_key
from mast.common.kinds import BY_GROUP_KIND, KINDS, Kind
from mast.galley.core import metadata
from mast.galley.core.decode import Decoded, decode
from mast.galley.core.documents import Document, Node, from_json, parsed
from mast.galley.core.earlier_versions import current
from mast.galley.core.mesh_config_map import embedded, is_mesh_config_map
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
_CREDENTIAL_KINDS = frozenset({"Secret", "ConfigMap"})
_EMPTY = Node({})
_MESH_KINDS = frozenset({"MeshConfig", "MeshNetworks"})
_ISTIO = "istio.io"
_OUR_GROUPS = frozenset(each.group for each in KINDS if each.group.endswith(_ISTIO))
_OUR_NAMES = frozenset(each.name for each in KINDS if each.group in _OUR_GROUPS)


@dataclass(frozen=True, slots=True)
class ConfigObject:
    """One object as a user wrote it, understood.

    ``positions`` says where its fields stand in ``source``; ``undecoded`` are fields that could
    not be understood and are missing in ``spec``. ``created`` is when it was made, if its source
    knows.
    """

    kind: Kind
    meta: Metadata
    spec: Any
    source: str = ""
    position: Position = NOWHERE
    positions: Mapping[Path, Position] = field(default_factory=dict)
    undecoded: tuple[Path, ...] = ()
    created: datetime | None = None

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
            self.position,
        )


@dataclass(frozen=True, slots=True)
class Reading:
    """Objects of a text and problems of reading it."""

    objects: tuple[ConfigObject, ...] = ()
    problems: tuple[Problem, ...] = ()

    def __add__(self, other: Reading) -> Reading:
        return Reading(self.objects + other.objects, self.problems + other.problems)

    @staticmethod
    def joined(parts: Iterable[Reading]) -> Reading:
        """All of them, in their order; takes as long as there are objects and problems."""
        objects: list[ConfigObject] = []
        problems: list[Problem] = []
        for part in parts:
            objects += part.objects
            problems += part.problems
        return Reading(tuple(objects), tuple(problems))


class Compat(StrEnum):
    """Whose rules hold: today's, or those of 1.4, which was stricter and had no warnings (B2)."""

    CURRENT = "current"
    ISTIO_1_4 = "1.4"


@dataclass(frozen=True, slots=True)
class Defaults:
    """How to read what a document leaves open.

    ``skip_unknown``: a kind that is none of ours is a warning and left out, not an error.
    ``skip_foreign``: so are kinds of other groups only, and Secrets and ConfigMaps that hold
    nothing for the mesh.
    ``secrets``: there is a key to seal Secrets with; without it they are errors.
    ``compat``: by whose rules objects are judged afterwards.
    """

    namespace: str = DEFAULT_NAMESPACE
    skip_unknown: bool = False
    skip_foreign: bool = False
    secrets: bool = True
    compat: Compat = Compat.CURRENT


SKIPPED = "unknown-kind"
"""The rule of documents that are left out, if that is a warning."""


def read_text(text: str, source: str, defaults: Defaults) -> Reading:
    """Every object of a YAML or JSON text; lists of kind List are opened.

    An object with problems is among the objects if its kind and name are known. What is wrong with
    the YAML of a document is told of the object in it.
    """
    return read_documents(parsed(text), source, defaults)


def read_documents(documents: Iterable[Document], source: str, defaults: Defaults) -> Reading:
    """As `read_text`, of a text that is parsed."""
    return Reading.joined(_read_parsed(each, source, defaults) for each in documents)


def _read_parsed(document: Document, source: str, defaults: Defaults) -> Reading:
    node, wrong = document.node, located(document.problems, source)
    if node is None:
        begin = wrong[0].position if wrong else NOWHERE
        return Reading((), tuple(_within(begin, each) for each in wrong))
    if wrong and not isinstance(node.value, dict):
        return Reading((), tuple(_within(node.position, each) for each in wrong))
    reading = _read_document(node, source, defaults)
    problems = (*(_attributed(each, reading.objects) for each in wrong), *reading.problems)
    return Reading(reading.objects, tuple(_within(node.position, each) for each in problems))


def _within(begin: Position, problem: Problem) -> Problem:
    """The problem as one of the document that begins there, unless it is known to be another's."""
    return problem if problem.document != NOWHERE else replace(problem, document=begin)


def _attributed(problem: Problem, objects: Sequence[ConfigObject]) -> Problem:
    """A problem of a text as one of the object in which it stands."""
    if not objects:
        return problem
    place = (problem.position.line, problem.position.column)
    after = bisect_right(objects, place, key=lambda o: (o.position.line, o.position.column))
    owner = objects[max(after - 1, 0)]
    return replace(
        problem,
        kind=owner.kind.name,
        namespace=owner.meta.namespace,
        name=owner.meta.name,
        document=owner.position,
    )


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


def read_json(content: Mapping[str, Any], source: str, defaults: Defaults) -> Reading:
    """An object as an API server has it, in decoded JSON of bounded depth."""
    return _read_document(from_json(content), source, defaults)


def read_node(node: Node, source: str, defaults: Defaults) -> Reading:
    """The objects of one document, as `read_text` reads them out of a text."""
    return _read_document(node, source, defaults)


def _read_document(node: Node, source: str, defaults: Defaults) -> Reading:
    node = current(node)
    if not isinstance(node.value, dict):
        problem = Problem(
            "not-an-object", f"{shown(node)} is not an object", position=node.position
        )
        return Reading((), tuple(located([problem], source)))
    kind = node.value.get("kind")
    if kind is not None and _is_list(node.value, kind):
        return _read_list(node.value, source, defaults)
    if kind is not None and kind.value == "ConfigMap" and is_mesh_config_map(node.value):
        inner = embedded(node.value)
        return Reading.joined(_read_parsed(each, source, defaults) for each in inner)
    return _read_one(node, node.value, source, defaults)


def _is_list(content: Mapping[str, Node], kind: Node) -> bool:
    return "items" in content and isinstance(kind.value, str) and kind.value.endswith("List")


def _read_list(content: Mapping[str, Node], source: str, defaults: Defaults) -> Reading:
    items = content["items"]
    if not isinstance(items.value, list):
        message = f"{shown(items)} is not a list"
        problem = Problem("wrong-type", message, "items", position=items.position)
        return Reading((), tuple(located([problem], source)))
    return Reading.joined(_read_document(item, source, defaults) for item in items.value)


def _read_one(node: Node, content: Mapping[str, Node], source: str, defaults: Defaults) -> Reading:
    kind, complaint = _kind(content, defaults)
    name = content.get("metadata")
    if kind is None:
        at = node.keys.get("kind", node.position)
        problem = replace(
            complaint,
            source=source,
            position=at,
            name=_text_of(name, "name"),
            namespace=_text_of(name, "namespace"),
            document=node.position,
        )
        return Reading((), (problem,))
    if defaults.skip_foreign and _is_foreign(content, kind):
        message = "nothing in it has a name that the mesh knows"
        problem = Problem(
            SKIPPED,
            message,
            severity=Severity.WARNING,
            source=source,
            position=node.keys.get("kind", node.position),
            kind=kind.name,
            name=_text_of(name, "name"),
            namespace=_text_of(name, "namespace"),
            document=node.position,
        )
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


def _text_of(node: Node | None, key: str) -> str:
    """A value of a mapping, empty if it is not there or no text."""
    value = node.value.get(key) if node is not None and isinstance(node.value, dict) else None
    return value.value if value is not None and isinstance(value.value, str) else ""


def _is_foreign(content: Mapping[str, Node], kind: Kind) -> bool:
    """A Secret or ConfigMap of an application: nothing in it has a name that the mesh knows."""
    if kind.group or kind.name not in _CREDENTIAL_KINDS:
        return False
    wanted = frozenset(ROOTS) if kind.name == "ConfigMap" else KNOWN
    held = (content.get(key) for key in ("data", "stringData", "binaryData"))
    names = {name for each in held if each and isinstance(each.value, dict) for name in each.value}
    return not names & wanted


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
        meant = group in _OUR_GROUPS or (group.endswith(_ISTIO) and name.value in _OUR_NAMES)
        skipped = defaults.skip_unknown or (defaults.skip_foreign and not meant)
        severity = Severity.WARNING if skipped else Severity.ERROR
        message = f"unknown kind {name.value!r} of {api.value!r}{_meant(name.value)}"
        return None, Problem(SKIPPED, message, "kind", severity, kind=name.value)
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
