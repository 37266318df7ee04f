"""Items for an analysis: out of texts as users write them, and out of what is stored."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from mast.galley.core import nodes, rules
from mast.galley.core.analysis import kinds, plain
from mast.galley.core.analysis.snapshot import Item
from mast.galley.core.decode import decode
from mast.galley.core.documents import Document, Node, parsed
from mast.galley.core.earlier_versions import current
from mast.galley.core.objects import (
    ConfigObject,
    Defaults,
    Reading,
    read_json,
    read_node,
    read_object,
)
from mast.galley.core.problem import NOWHERE, Path, Position, Problem, Severity, located
from mastapi.galley.v1 import config_pb2
from mastapi.kubernetes.v1 import credentials_pb2
from mastapi.registry.v1 import registry_pb2

_CLUSTER_SCOPED = frozenset({kinds.CRD, kinds.MUTATING_WEBHOOKS, kinds.VALIDATING_WEBHOOKS})
_REGISTRY: Mapping[str, type[Message]] = {
    kinds.REGISTRY_SERVICE: registry_pb2.Service,
    kinds.REGISTRY_WORKLOAD: registry_pb2.Workload,
}
_UNKNOWN = "unknown-kind"
# What analyzers read of statuses.
_STATUS = frozenset({"conditions", "listeners", "parents", "ancestors"})


@dataclass(frozen=True)
class Content:
    """What texts hold.

    ``problems`` are of what could not be read at all. ``skipped`` are documents of kinds that no
    analyzer looks at.
    """

    items: tuple[Item, ...] = ()
    problems: tuple[Problem, ...] = ()
    skipped: tuple[Problem, ...] = ()

    @staticmethod
    def joined(parts: Iterable[Content]) -> Content:
        """All of them, in their order."""
        items: list[Item] = []
        problems: list[Problem] = []
        skipped: list[Problem] = []
        for part in parts:
            items += part.items
            problems += part.problems
            skipped += part.skipped
        return Content(tuple(items), tuple(problems), tuple(skipped))


def read(sources: Iterable[config_pb2.Source], namespace: str) -> Content:
    """The objects of texts, lists opened; ``namespace`` is that of objects that name none.

    Of an object that is given twice the later one counts, and says that it is not the first.
    """
    content = Content.joined(
        _parsed(document, source.name, namespace)
        for source in sources
        for document in parsed(source.text)
    )
    return replace(content, items=tuple(_last(content.items)))


def stored(message: config_pb2.Object) -> Iterator[Item]:
    """An object as Galley shows it; of a Secret there is no more than the names of its values."""
    if message.kind == kinds.SECRET and message.api_version == "v1":
        data = dict.fromkeys(MessageToDict(message.spec).get("data", {}), b"")
        secret = credentials_pb2.Secret(type=message.spec.fields["type"].string_value, data=data)
        meta = message.metadata
        yield Item(
            kinds.SECRET,
            meta.namespace,
            meta.name,
            dict(meta.labels),
            dict(meta.annotations),
            secret,
        )
        return
    yield from configured(read_object(message, "", Defaults()))


def configured(reading: Reading) -> Iterator[Item]:
    """Objects that were read as configuration."""
    for obj in reading.objects:
        yield _item(obj, reading, {})


def observed(found: Mapping[str, Any]) -> Iterator[Item]:
    """An object as an API server has it, without what changes by itself and no analyzer reads.

    It is of bounded depth. Nothing comes of one of a kind that no analyzer looks at.
    """
    group = str(found.get("apiVersion")).rpartition("/")[0]
    kind = f"{group}/{found.get('kind')}".removeprefix("/")
    known = ("name", "namespace", "labels", "annotations")
    metadata = {name: found["metadata"][name] for name in known if name in found["metadata"]}
    content = {name: value for name, value in found.items() if name != "status"}
    content["metadata"] = metadata
    status = {n: v for n, v in plain.mapping(found, "status").items() if n in _STATUS}
    if kind in kinds.KUBERNETES:
        labels, annotations = (plain.texts(metadata, each) for each in ("labels", "annotations"))
        namespace, name = plain.text(metadata, "namespace"), plain.text(metadata, "name")
        yield Item(kind, namespace, name, labels, annotations, content, status)
    elif kind in kinds.STORED:
        reading = read_json(content, "", Defaults(plain.text(metadata, "namespace")))
        for obj in reading.objects:
            yield _item(obj, reading, status)


def registered(message: registry_pb2.Service | registry_pb2.Workload) -> Item:
    """A service or workload that a platform reported."""
    if isinstance(message, registry_pb2.Service):
        kind, name = kinds.REGISTRY_SERVICE, message.name or message.host
    else:
        kind, name = kinds.REGISTRY_WORKLOAD, message.name
    labels, annotations = dict(message.labels), dict(message.annotations)
    return Item(kind, message.namespace, name, labels, annotations, message)


def merged(older: Iterable[Item], newer: Iterable[Item]) -> list[Item]:
    """Both; an object that is among both is the newer one."""
    found = {_key(item): item for item in older}
    found.update({_key(item): item for item in newer})
    return list(found.values())


def _key(item: Item) -> tuple[str, str, str, str]:
    """What names an object; each cluster has its own of what platforms reported."""
    reported = item.kind in _REGISTRY
    return item.kind, item.namespace, item.name, item.body.cluster if reported else ""


def _parsed(document: Document, source: str, namespace: str) -> Content:
    """The objects of a document; what is wrong with its YAML is told of the only one in it."""
    wrong = tuple(located(document.problems, source))
    if document.node is None:
        return Content(problems=wrong)
    found = Content.joined(_object(n, source, namespace) for n in nodes.opened(document.node))
    if wrong and len(found.items) == 1 and found.items[0].kind in kinds.STORED:
        item = found.items[0]
        return replace(found, items=(replace(item, problems=(*item.problems, *wrong)),))
    return replace(found, problems=(*found.problems, *wrong))


def _object(node: Node, source: str, namespace: str) -> Content:
    node = current(node)
    content = node.value if isinstance(node.value, dict) else {}
    kind = _kind(content)
    if kind in kinds.KUBERNETES:
        return _foreign(kind, node, content, source, namespace)
    reading = read_node(node, source, Defaults(namespace, skip_unknown=_is_foreign(kind)))
    status = nodes.plain(content["status"]) if "status" in content else {}
    about = {obj.about for obj in reading.objects}
    lost = [problem for problem in reading.problems if problem.about not in about]
    return Content(
        tuple(_item(obj, reading, status) for obj in reading.objects),
        tuple(problem for problem in lost if problem.severity is Severity.ERROR),
        tuple(problem for problem in lost if problem.rule == _UNKNOWN and _is_foreign(kind)),
    )


def _kind(content: Mapping[str, Node]) -> str:
    api, kind = (content.get(key, Node(None)).value for key in ("apiVersion", "kind"))
    if not isinstance(api, str) or not isinstance(kind, str):
        return ""
    return f"{api.rpartition('/')[0]}/{kind}".removeprefix("/")


def _is_foreign(kind: str) -> bool:
    """Whether it is a kind of somebody else: none of Istio's groups."""
    group = kind.rpartition("/")[0]
    return bool(kind) and not f".{group}".endswith(".istio.io")


def _item(obj: ConfigObject, reading: Reading, status: Any) -> Item:
    """An object of a kind that Mast stores.

    Kubernetes judges the kinds of its core group, and there are many for other purposes.
    """
    problems: tuple[Problem, ...] = ()
    if obj.kind.group:
        said = (problem for problem in reading.problems if problem.about == obj.about)
        problems = (*said, *(obj.problem(finding) for finding in rules.check(obj)))
    return Item(
        str(obj.kind),
        obj.meta.namespace,
        obj.meta.name,
        obj.meta.labels,
        obj.meta.annotations,
        obj.spec,
        plain.mapping(status),
        obj.source,
        obj.position,
        obj.positions,
        problems,
    )


def _foreign(
    kind: str, node: Node, content: Mapping[str, Node], source: str, namespace: str
) -> Content:
    """An object of Kubernetes or of the registry."""
    body = nodes.plain(node)
    positions: dict[Path, Position] = {}
    _places(node, (), positions)
    item = Item(
        kind,
        "" if kind in _CLUSTER_SCOPED else plain.text(body, "metadata", "namespace") or namespace,
        plain.text(body, "metadata", "name"),
        plain.texts(body, "metadata", "labels"),
        plain.texts(body, "metadata", "annotations"),
        body,
        plain.mapping(body, "status"),
        source,
        node.position,
        positions,
    )
    if kind in _REGISTRY:
        return _registry(item, content, _REGISTRY[kind])
    if not item.name:
        problem = Problem(
            "required", "a name is required", "metadata.name", position=node.position, kind=kind
        )
        return Content(problems=tuple(located([problem], source)))
    return Content((item,))


def _registry(item: Item, content: Mapping[str, Node], of: type[Message]) -> Content:
    decoded = decode(content.get("spec", Node({})), of, ("spec",))
    made = registered(decoded.message)
    found = replace(
        made,
        namespace=made.namespace or item.namespace,
        source=item.source,
        position=item.position,
        positions=item.positions,
    )
    problems = (
        Problem(
            finding.rule,
            finding.message,
            source=item.source,
            position=decoded.positions.get(finding.path, item.position),
            kind=item.kind,
            name=found.name,
        )
        for finding in decoded.findings
    )
    return Content((found,), tuple(problems))


def _places(node: Node, at: Path, into: dict[Path, Position]) -> None:
    """Where the fields of a document stand."""
    if isinstance(node.value, dict):
        for key, item in node.value.items():
            into[(*at, key)] = node.keys.get(key, item.position)
            _places(item, (*at, key), into)
    elif isinstance(node.value, list):
        for index, item in enumerate(node.value):
            into[(*at, index)] = item.position
            _places(item, (*at, index), into)


def _last(items: Iterable[Item]) -> Iterator[Item]:
    found: dict[tuple[str, str, str, str], Item] = {}
    for item in items:
        before = found.get(_key(item))
        found[_key(item)] = item if before is None else _again(item, before)
    yield from found.values()


def _again(item: Item, before: Item) -> Item:
    kind = item.kind.rpartition("/")[2]
    where = f"{before.source}:{before.position.line}"
    message = f"the object is given twice, and this one counts; first at {where}"
    problem = Problem(
        "duplicate-object",
        message,
        severity=Severity.WARNING,
        source=item.source,
        position=item.position if item.position != NOWHERE else before.position,
        kind=kind,
        namespace=item.namespace,
        name=item.name,
    )
    return replace(item, problems=(*item.problems, problem))
