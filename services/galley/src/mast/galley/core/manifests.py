"""Kubernetes' own documents judged: structure, and what is hardly meant so."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

from mast.common.kinds import BY_GROUP_KIND
from mast.galley.core.decode import FINDINGS_LIMIT
from mast.galley.core.discovery import manifests
from mast.galley.core.discovery.objects import ObjectName
from mast.galley.core.discovery.reading import identity
from mast.galley.core.documents import Document, Node
from mast.galley.core.earlier_versions import current
from mast.galley.core.nodes import opened, place, plain
from mast.galley.core.problem import Finding, Position, Problem, Severity, path_text

_CLUSTER_SCOPED = frozenset({"Node"})


@dataclass(frozen=True, slots=True)
class Manifest:
    """A document that a cluster takes and Mast reads, and what is wrong with it."""

    source: str
    position: Position
    kind: str
    name: ObjectName
    problems: tuple[Problem, ...] = ()


class Manifests:
    """Judges the documents of one request; the same object given twice is an error."""

    def __init__(self, namespace: str, *, warnings: bool = True) -> None:
        self._namespace = namespace
        self._warnings = warnings
        self._first: dict[tuple[str, ObjectName], tuple[str, Position]] = {}

    def judged(self, documents: Iterable[Document], source: str) -> Iterator[Manifest]:
        """The manifests among documents, lists opened; all else is left out."""
        found = (opened(document.node) for document in documents if document.node is not None)
        for node in map(current, chain.from_iterable(found)):
            content = _manifest(node)
            if content is not None:
                yield self._judged(node, content, source)

    def _judged(self, node: Node, content: dict[str, Any], source: str) -> Manifest:
        kind = content["kind"]
        metadata = content.get("metadata")
        if isinstance(metadata, dict) and kind not in _CLUSTER_SCOPED:
            metadata["namespace"] = metadata.get("namespace") or self._namespace
        name = identity(content)
        found = [*self._given_twice(kind, name, node, source), *manifests.check(content)]
        told = Severity if self._warnings else (Severity.ERROR,)
        findings = chain.from_iterable(_first_of(found, severity) for severity in told)
        problems = [
            Problem(
                each.rule,
                each.message,
                path_text(each.path),
                each.severity,
                source,
                place(node, each.path),
                kind,
                name.namespace,
                name.name,
                node.position,
            )
            for each in findings
        ]
        return Manifest(source, node.position, kind, name, tuple(problems))

    def _given_twice(
        self, kind: str, name: ObjectName, node: Node, source: str
    ) -> Iterator[Finding]:
        here = source, node.position
        first = self._first.setdefault((kind, name), here)
        if first != here and name.name:
            message = f"the object is given twice; first at {first[0]}:{first[1].line}"
            yield Finding(("metadata", "name"), "duplicate-object", message)


def _first_of(findings: Iterable[Finding], severity: Severity) -> Iterator[Finding]:
    """Of very many findings the first ones."""
    return islice((each for each in findings if each.severity is severity), FINDINGS_LIMIT)


def _manifest(node: Node) -> dict[str, Any] | None:
    """The content of a manifest that no rule is about; None for all other documents."""
    content = plain(node)
    if not isinstance(content, dict):
        return None
    version, kind = content.get("apiVersion"), content.get("kind")
    if not isinstance(version, str) or not isinstance(kind, str):
        return None
    group = version.rpartition("/")[0]
    known = manifests.is_manifest(version, kind) and (group, kind) not in BY_GROUP_KIND
    return content if known else None
