"""Files as the store would hold them, and everything that is wrong with them.

Configuration is read and judged by Galley's own rules. Documents of other kinds have readers of
their own in ``READERS``; those of a Kubernetes cluster are converted together (``cluster``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import chain

from google.protobuf.timestamp_pb2 import Timestamp

from istio.mesh.v1alpha1.config_pb2 import MeshConfig
from istio.mesh.v1alpha1.network_pb2 import MeshNetworks
from mast.cli.offline import cluster, registry_objects
from mast.cli.offline.documents import Ages, Document, Found, Reader, Registered
from mast.common.kinds import KINDS
from mast.common.sealing import KEY_BYTES
from mast.galley.core.decode import decode
from mast.galley.core.discovery.settings import Settings
from mast.galley.core.documents import Node
from mast.galley.core.documents import documents as documents_of
from mast.galley.core.earlier_versions import current
from mast.galley.core.judge import judge
from mast.galley.core.metadata import Metadata
from mast.galley.core.nodes import opened
from mast.galley.core.objects import (
    ROOT_NAMESPACE,
    SKIPPED,
    ConfigObject,
    Defaults,
    Reading,
    read_text,
)
from mast.galley.core.problem import Finding, Position, Problem, Severity, errors, located
from mast.galley.core.resources import resource
from mast.galley.core.sealed import sealed
from mastapi.galley.v1 import config_pb2

READERS: Mapping[tuple[str, str], Reader] = registry_objects.READERS
"""Who reads documents that are no configuration, by apiVersion and kind.

The place for further platforms: what a reader finds is put into the store's keys like anything
else, so that everything behind it stays as it is.
"""

SEALING_KEY = bytes(KEY_BYTES)
"""What seals Secrets in a store that is nowhere but in memory."""

_OLDEST = datetime(2020, 1, 1, tzinfo=UTC)
_TICK = timedelta(microseconds=1)
_MESH_CONFIG = "MeshConfig"
_NETWORKS = "MeshNetworks"


@dataclass(frozen=True)
class Entry:
    """A key of the store and the bytes under it."""

    key: str
    value: bytes | None


@dataclass(frozen=True)
class Options:
    """How to read: namespace of objects that name none, unknown kinds, Galley's judgement."""

    namespace: str = "default"
    ignore_unknown: bool = False
    validate: bool = True


@dataclass(frozen=True)
class FileMesh:
    """The content of files: store entries, and where the objects under their keys were written.

    Secrets are sealed with ``SEALING_KEY``. Nothing but ``problems`` counts if there is an error
    among these.
    """

    entries: tuple[Entry, ...] = ()
    objects: Mapping[str, ConfigObject] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()

    @property
    def errors(self) -> Sequence[Problem]:
        """Problems for which nothing is rendered."""
        return errors(self.problems)

    @property
    def warnings(self) -> Sequence[Problem]:
        """Problems that do not matter that much."""
        return [each for each in self.problems if each.severity is Severity.WARNING]


def read(
    sources: Iterable[config_pb2.Source],
    options: Options,
    mesh_config: config_pb2.Source | None = None,
) -> FileMesh:
    """Everything in texts; ``mesh_config`` replaces any MeshConfig among them.

    Objects are as old as their ``metadata.creationTimestamp`` says; those without one are younger
    than all that have one, in the order of their documents.
    """
    sources = list(sources)
    reading, others = _read_all(sources, options)
    settings = mesh_settings(mesh_config) if mesh_config else Reading()
    if settings.objects:
        reading = replace(
            reading, objects=tuple(o for o in reading.objects if o.kind.name != _MESH_CONFIG)
        )
    reading += settings
    problems = judge(reading).problems if options.validate else reading.problems
    documents = list(_walk(sources))
    ages, complaints = _ages(documents)
    platform = cluster.registered(documents, ages, options.namespace, _settings(reading))
    entries = [_entry(obj, ages) for obj in reading.objects if not errors(problems)]
    for document, found in others:
        created = ages.get(document.place, _OLDEST)
        entries += (_registered(each, created) for each in found.registered)
    entries += (_registered(each, _OLDEST) for each in platform.registered)
    return FileMesh(
        tuple(entries),
        {obj.key: obj for obj in reading.objects if not errors(problems)},
        (
            *problems,
            *complaints,
            *(p for _, found in others for p in found.problems),
            *platform.problems,
        ),
    )


def _read_all(
    sources: Iterable[config_pb2.Source], options: Options
) -> tuple[Reading, list[tuple[Document, Found]]]:
    defaults = Defaults(options.namespace, skip_unknown=options.ignore_unknown, skip_foreign=True)
    reading = Reading()
    for source in sources:
        reading += read_text(source.text, source.name, defaults)
    others = [
        (document, READERS[document.type](document, options.namespace))
        for document in _walk(sources)
        if document.type in READERS
    ]
    known = {
        (document.source, document.kind_position)
        for document in _walk(sources)
        if document.type in READERS or cluster.is_of_cluster(document)
    }
    problems = tuple(
        each
        for each in reading.problems
        if each.rule != SKIPPED or (each.source, each.position) not in known
    )
    return replace(reading, problems=problems), others


def _walk(sources: Iterable[config_pb2.Source]) -> Iterator[Document]:
    """Every object of the texts in order; lists are opened."""
    for source in sources:
        found, _ = documents_of(source.text)
        for node in map(current, chain.from_iterable(map(opened, found))):
            if isinstance(node.value, dict):
                yield Document(source.name, node, node.value)


def _ages(found: Iterable[Document]) -> tuple[Ages, list[Problem]]:
    """When each document was created, by its place."""
    ages: dict[tuple[str, Position], datetime] = {}
    undated: list[Document] = []
    problems: list[Problem] = []
    for document in found:
        created = document.metadata("creationTimestamp")
        if created is None or created.value is None:
            undated.append(document)
            continue
        stamp = Timestamp()
        try:
            stamp.FromJsonString(str(created.value))
        except ValueError as error:
            message = f"{created.value!r} is not an RFC 3339 time: {error}"
            path = "metadata.creationTimestamp"
            problem = Problem("wrong-type", message, path, position=created.position)
            problems += located([problem], document.source)
        else:
            ages[document.place] = stamp.ToDatetime(tzinfo=UTC)
    begin = max([_OLDEST, *ages.values()])
    for number, document in enumerate(undated, 1):
        ages[document.place] = begin + number * _TICK
    return ages, problems


def _entry(obj: ConfigObject, ages: Ages) -> Entry:
    created = ages.get((obj.source, obj.position), _OLDEST)
    stored = resource(sealed(obj, SEALING_KEY), 1, created)
    return Entry(obj.key, stored.SerializeToString(deterministic=True))


def _registered(found: Registered, created: datetime) -> Entry:
    return Entry(found.key, found.stored(created).SerializeToString(deterministic=True))


def _settings(reading: Reading) -> Settings:
    """What the mesh's own settings say about the cluster."""
    specs = {each.kind.name: each.spec for each in reversed(reading.objects)}
    made = Settings(
        mesh=specs.get(_MESH_CONFIG, MeshConfig()), networks=specs.get(_NETWORKS, MeshNetworks())
    )
    root = made.mesh.root_namespace
    return replace(made, system_namespace=root) if root else made


def mesh_settings(source: config_pb2.Source) -> Reading:
    """Settings as Istio users keep them.

    A MeshConfig object, Istio's ConfigMap, the plain fields, or a document that has them under
    ``meshConfig`` (Helm values) or ``spec.meshConfig`` (IstioOperator).
    """
    nodes, problems = documents_of(source.text)
    content = nodes[0].value if nodes else None
    if not isinstance(content, dict):
        if not problems:
            problems.append(Problem("not-an-object", "mesh settings are an object with fields"))
        return Reading((), tuple(located(problems, source.name)))
    if (spec := _nested(nodes[0])) is None:
        found = read_text(source.text, source.name, Defaults(ROOT_NAMESPACE))
        others = (each for each in found.objects if each.kind.name != _MESH_CONFIG)
        wrong_kind = Finding(
            ("kind",), "wrong-kind", "mesh settings are a MeshConfig, nothing else"
        )
        return found + Reading((), tuple(each.problem(wrong_kind) for each in others))
    kind = next(each for each in KINDS if each.name == _MESH_CONFIG)
    decoded = decode(spec, kind.message, ("spec",))
    obj = ConfigObject(
        kind,
        Metadata("default", ROOT_NAMESPACE),
        decoded.message,
        source.name,
        spec.position,
        decoded.positions,
        tuple(each.path for each in decoded.findings if each.rule != "unknown-field"),
    )
    wrong = tuple(obj.problem(each) for each in decoded.findings)
    return Reading((obj,), (*located(problems, source.name), *wrong))


def _nested(node: Node) -> Node | None:
    """The node that holds the plain fields, None if the document is an object of its own."""
    content = node.value if isinstance(node.value, dict) else {}
    if "meshConfig" in content:
        return content["meshConfig"]
    spec = content.get("spec")
    if spec is not None and isinstance(spec.value, dict) and "meshConfig" in spec.value:
        return spec.value["meshConfig"]
    return None if "kind" in content else node
