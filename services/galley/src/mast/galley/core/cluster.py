"""Configuration as an API server holds it: what the mesh takes of it (A2, "Kubernetes").

Section numbers are those of galley-and-kubernetes.md.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

from google.protobuf.message import DecodeError

from istio.mcp.v1alpha1 import resource_pb2
from istio.mesh.v1alpha1.config_pb2 import MeshConfig
from mast.common.keys import config_key, parse_config_key
from mast.common.kinds import (
    BY_COLLECTION,
    BY_GROUP_KIND,
    GENERATION_ANNOTATION,
    Kind,
    unpack,
)
from mast.common.kubernetes.objects import Object, Resource, labels_of, name_of, namespace_of
from mast.galley.core.admission.validation import complaint
from mast.galley.core.discovery.settings import CLUSTER, Settings
from mast.galley.core.judge import judge
from mast.galley.core.objects import SKIPPED, ConfigObject, Defaults, read_json
from mast.galley.core.problem import Problem, Severity, errors
from mast.galley.core.references import CONFIG_MAP, Reference, References, may_refer, references
from mast.galley.core.tree import SOURCE_ANNOTATION

SOURCE: Final = "kubernetes"
"""The name of this source, the owner of what it stored; see ``source_of``."""

REVISION_LABEL: Final = "istio.io/rev"
DEFAULT_REVISION: Final = "default"

# The ConfigMap of the mesh's settings, and which kind each of its keys is.
MESH_MAP: Final = "istio"
_MESH_KINDS: Final = {"mesh": "MeshConfig", "meshNetworks": "MeshNetworks"}
_MESH_GROUP: Final = "mesh.istio.io"
_MESH_CONFIG: Final = BY_GROUP_KIND[_MESH_GROUP, "MeshConfig"]

# Where an object stands in the API: resource with its group, namespace, name.
Place = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Cell:
    """What one object of the API comes to.

    ``keys`` are those of the store that it speaks for, ``objects`` what of it is valid, by key.
    Where it speaks but is not valid, what was stored before stays. ``scope`` is the namespace whose
    labels decide whether the mesh sees it, "" if it is seen in any case.
    """

    scope: str
    keys: tuple[str, ...]
    objects: Mapping[str, ConfigObject]
    problems: tuple[Problem, ...]


def source_of(cluster: str) -> str:
    """The source that a cluster is: several may share a store, and each owns what it stored."""
    return SOURCE if cluster == CLUSTER else f"{SOURCE}:{cluster}"


def cell(
    found: Object,
    defaults: Defaults,
    revision: str = DEFAULT_REVISION,
    source: str = SOURCE,
) -> Cell | None:
    """An object of the API, read and judged as one that is applied would be.

    None for what is none of this mesh's business: an object of another revision (A2.4), or one
    that holds nothing for a mesh.
    """
    if labels_of(found).get(REVISION_LABEL, revision) != revision:
        return None
    if wrong := complaint(found):
        return _unreadable(found, wrong, source)
    lenient = replace(defaults, namespace=namespace_of(found), skip_foreign=True)
    judged = judge(read_json(_content(found), source, lenient), lenient.compat)
    problems = tuple(problem for problem in judged.problems if problem.rule != SKIPPED)
    keys = {obj.key: None for obj in judged.objects} | dict.fromkeys(_mesh_keys(found))
    if not keys and not problems:
        return None
    wrongly = {problem.about for problem in errors(problems)}
    marks = _marks(found, source)
    made = _made(found)
    valid = {obj.key: _ours(obj, marks, made) for obj in judged.objects if obj.about not in wrongly}
    return Cell(_scope(found), tuple(keys), valid, problems)


def _content(found: Object) -> dict[str, Any]:
    """The object without what the API server adds, which nobody who wrote it can mend."""
    known = ("name", "namespace", "labels", "annotations")
    metadata = {key: found["metadata"][key] for key in known if found["metadata"].get(key)}
    return {**{k: v for k, v in found.items() if k != "status"}, "metadata": metadata}


def _unreadable(found: Object, message: str, source: str) -> Cell:
    """It speaks for its key, so that the last good object stays."""
    group = str(found.get("apiVersion", "")).rpartition("/")[0]
    name = str(found.get("kind", ""))
    namespace = namespace_of(found)
    problem = Problem(
        "too-large", message, source=source, kind=name, namespace=namespace, name=name_of(found)
    )
    kind = BY_GROUP_KIND.get((group, name))
    own = () if kind is None else (config_key(kind.collection, namespace, name_of(found)),)
    return Cell(_scope(found), (*own, *_mesh_keys(found)), {}, (problem,))


def _mesh_keys(found: Object) -> Iterator[str]:
    """Keys that the mesh's ConfigMap speaks for, even if its texts cannot be read."""
    data = found.get("data")
    if not _is_mesh_map(found) or not isinstance(data, dict):
        return
    for name, kind in _MESH_KINDS.items():
        if name in data:
            collection = BY_GROUP_KIND[_MESH_GROUP, kind].collection
            yield config_key(collection, namespace_of(found), "default")


def _is_mesh_map(found: Object) -> bool:
    return found.get("kind") == "ConfigMap" and name_of(found) == MESH_MAP


def _scope(found: Object) -> str:
    """Without the settings of the mesh nobody knows which namespaces it sees."""
    return "" if _is_mesh_map(found) else namespace_of(found)


def _made(found: Object) -> datetime | None:
    """When it was made: of objects in conflict the oldest one wins."""
    try:
        return datetime.fromisoformat(str(found["metadata"].get("creationTimestamp")))
    except ValueError:
        return None


def _marks(found: Object, source: str) -> Mapping[str, str]:
    """Whose it is, and which generation: a status says of which it speaks."""
    generation = found["metadata"].get("generation")
    marks = {GENERATION_ANNOTATION: str(generation)} if generation else {}
    return {SOURCE_ANNOTATION: source, **marks}


def _ours(obj: ConfigObject, marks: Mapping[str, str], made: datetime | None) -> ConfigObject:
    """The object marked as this source's; it insists on no stored version."""
    annotations = {**obj.meta.annotations, **marks}
    meta = replace(obj.meta, annotations=annotations, resource_version="")
    return replace(obj, meta=meta, created=made)


def served(definition: Object, kind: Kind) -> Resource | None:
    """How objects of a kind are asked for, by its CustomResourceDefinition.

    None while it is not established, or serves no version that we know (A2.3). The first of the
    kind's own versions wins: the API server converts.
    """
    spec = definition.get("spec") or {}
    conditions = (definition.get("status") or {}).get("conditions") or ()
    if not any(c.get("type") == "Established" and c.get("status") == "True" for c in conditions):
        return None
    offered = {str(v.get("name")) for v in spec.get("versions") or () if v.get("served")}
    scope = "Cluster" if kind.cluster_scoped else "Namespaced"
    version = next((version for version in kind.versions if version in offered), None)
    if version is None or spec.get("scope") != scope:
        return None
    return Resource(kind.group, version, kind.plural, kind.name, not kind.cluster_scoped)


def defined(definition: Object) -> Kind | None:
    """The kind that a CustomResourceDefinition defines, if it is one of ours."""
    spec = definition.get("spec") or {}
    names = spec.get("names") or {}
    kind = BY_GROUP_KIND.get((str(spec.get("group")), str(names.get("kind"))))
    return kind if kind is not None and kind.plural == names.get("plural") else None


@dataclass
class Cluster:
    """Everything that was told of a cluster, by where it stands and by the keys it speaks for.

    ``objects`` counts what is valid of it, whether the mesh sees it or not, ``mistakes`` errors.
    Of credentials it has a use for those with ``references``; ``awaited`` are keys that stay as
    they are until it was told of them.
    """

    source: str = SOURCE
    cells: dict[Place, Cell] = field(default_factory=dict)
    namespaces: dict[str, Mapping[str, str]] = field(default_factory=dict)
    settings: Settings = field(default_factory=Settings)
    objects: int = 0
    mistakes: int = 0
    references: References = field(default_factory=References)
    awaited: set[str] = field(default_factory=set)
    _speakers: dict[str, Place] = field(default_factory=dict)
    _scopes: dict[str, dict[Place, None]] = field(default_factory=lambda: defaultdict(dict))

    def put(self, place: Place, found: Cell | None) -> set[str]:
        """Take what an object comes to now (None: nothing); the keys that may be another now."""
        before = self.cells.pop(place, None)
        concerned = set[str]()
        if before is not None:
            concerned.update(before.keys)
            self._count(before, -1)
            self._scopes[before.scope].pop(place, None)
            gone = [key for key in before.keys if self._speakers.get(key) == place]
            for key in gone:
                del self._speakers[key]
            self.references.withdraw(gone)
        if found is not None:
            concerned.update(found.keys)
            self._count(found, 1)
            self.cells[place] = found
            self._scopes[found.scope][place] = None
            self._speakers.update(dict.fromkeys(found.keys, place))
            self.references.offer(found.keys)
        return concerned

    def label(self, namespace: str, labels: Mapping[str, str] | None) -> set[str]:
        """Take the labels of a namespace (None: it is gone); the keys that may be another now."""
        seen = self._sees(namespace)
        if labels is None:
            self.namespaces.pop(namespace, None)
        else:
            self.namespaces[namespace] = labels
        return self._keys_of([namespace]) if self._sees(namespace) != seen else set()

    def configure(self, mesh: MeshConfig) -> set[str]:
        """Take the mesh's settings; the keys that may be another now."""
        if mesh.discovery_selectors == self.settings.mesh.discovery_selectors:
            return set()
        scopes = list(self._scopes)
        seen = {scope for scope in scopes if self._sees(scope)}
        self.settings = Settings(mesh=mesh)
        return self._keys_of(scope for scope in scopes if self._sees(scope) != (scope in seen))

    def speaks(self, key: str) -> bool:
        """Whether an object that the mesh sees and can use speaks for a key, valid or not."""
        place = self._speakers.get(key)
        if place is None:
            return key in self.awaited
        return self._sees(self.cells[place].scope) and self.references.wants(key)

    def wanted(self, key: str) -> ConfigObject | None:
        """What is to be stored under a key; None if nothing, or nothing that is valid."""
        place = self._speakers.get(key)
        if place is None or not self.speaks(key):
            return None
        return self.cells[place].objects.get(key)

    @property
    def keys(self) -> Iterable[str]:
        """Every key that something speaks for, whether the mesh sees it or not."""
        return self._speakers.keys()

    def _count(self, found: Cell, sign: int) -> None:
        self.objects += sign * len(found.objects)
        self.mistakes += sign * len(errors(found.problems))

    def _sees(self, scope: str) -> bool:
        return not scope or self.settings.sees(self.namespaces.get(scope, {}))

    def _keys_of(self, scopes: Iterable[str]) -> set[str]:
        places = (place for scope in scopes for place in self._scopes.get(scope, ()))
        return {key for place in places for key in self.cells[place].keys}


@dataclass(frozen=True, slots=True)
class Step:
    """What makes some keys of the store agree with a cluster."""

    objects: tuple[ConfigObject, ...]
    deletions: tuple[str, ...]
    problems: tuple[Problem, ...]


def step(
    cluster: Cluster,
    keys: Iterable[str],
    owner: Callable[[str], str | None],
    later: Container[str] = (),
) -> Step:
    """What is to be done for these keys; ``owner`` of a key is None if nothing is stored there.

    What another source owns is left alone and told, unless it is one that comes ``later``; what no
    source owns is taken over. Deleted is only what this source stored and nothing speaks for any
    more.
    """
    objects: list[ConfigObject] = []
    deletions: list[str] = []
    problems: list[Problem] = []
    for key in sorted(keys):
        held = owner(key)
        found = cluster.wanted(key)
        if held and held != cluster.source and not (found is not None and held in later):
            if found is not None:
                problems.append(_foreign(found, held, cluster.source))
        elif found is not None:
            objects.append(found)
        elif held == cluster.source and not cluster.speaks(key):
            deletions.append(key)
    return Step(tuple(objects), tuple(deletions), tuple(problems))


def _foreign(obj: ConfigObject, owner: str, source: str) -> Problem:
    return Problem(
        "owned",
        f"ignored: the object belongs to the source {owner!r}",
        source=source,
        severity=Severity.WARNING,
        kind=obj.kind.name,
        namespace=obj.meta.namespace,
        name=obj.meta.name,
    )


def mesh_map(revision: str) -> str:
    """The name of the ConfigMap that has the mesh's settings."""
    return MESH_MAP if revision == DEFAULT_REVISION else f"{MESH_MAP}-{revision}"


def mesh_key(namespace: str) -> str:
    """The key of the mesh's settings in its root namespace."""
    return config_key(_MESH_CONFIG.collection, namespace, "default")


def map_key(namespace: str, name: str) -> str:
    """The key of a ConfigMap."""
    return config_key(CONFIG_MAP.collection, namespace, name)


def mesh_settings(own: ConfigObject | None, stored: bytes) -> MeshConfig:
    """The mesh's settings: the cluster's own, else those of a stored resource, else defaults."""
    found = MeshConfig()
    if own is not None:
        found.CopyFrom(own.spec)
    elif (content := _resource(stored)).HasField("body"):
        content.body.Unpack(found)
    return found


def owner_of(value: bytes) -> str:
    """The source that stored an object; "" if none did, or if it cannot be read."""
    return str(_resource(value).metadata.annotations.get(SOURCE_ANNOTATION, ""))


def stored_references(key: str, value: bytes) -> frozenset[Reference]:
    """The credentials that a stored object refers to; none if it cannot be read."""
    parsed = parse_config_key(key)
    kind = BY_COLLECTION.get(parsed.collection)
    if kind is None or not may_refer(kind):
        return frozenset()
    try:
        return references(kind, parsed.namespace, unpack(kind, _resource(value).body))
    except ValueError:
        return frozenset()


def _resource(value: bytes) -> resource_pb2.Resource:
    try:
        return resource_pb2.Resource.FromString(value)
    except DecodeError:
        return resource_pb2.Resource()
