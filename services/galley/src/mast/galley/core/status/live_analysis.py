"""What is analyzed of a running cluster, and what of the results goes into statuses (A8).

Section numbers are those of galley-and-kubernetes.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from mast.common.kinds import BY_GROUP_KIND
from mast.common.kubernetes.objects import Object, labels_of
from mast.galley.core.admission.validation import complaint
from mast.galley.core.analysis import kinds
from mast.galley.core.analysis.analysis import Analyzer, Results, analyse
from mast.galley.core.analysis.reading import observed
from mast.galley.core.analysis.snapshot import Item, Message, Snapshot
from mast.galley.core.cluster import DEFAULT_REVISION, MESH_MAP, REVISION_LABEL, mesh_map
from mast.galley.core.discovery.settings import Settings
from mast.galley.core.status.analysis_messages import Messages, validation_messages

Key = tuple[str, str, str]
"""Kind (``group/Kind``), namespace and name of an object."""


@dataclass(frozen=True, slots=True)
class Told:
    """What an object's status is to tell of the generation that was looked at."""

    generation: int
    messages: Messages


Statuses = Mapping[Key, Told]


def has_messages(kind: str) -> bool:
    """Whether objects of a kind are told of in their statuses: Istio's own kinds."""
    return kind.rpartition("/")[0].endswith("istio.io")


def items_of(found: Object, namespace: str, revision: str = DEFAULT_REVISION) -> tuple[Item, ...]:
    """An object of the API for an analysis.

    Nothing for those of another revision (A2.4), and for what is larger than anybody judges.
    ``namespace`` is that of the mesh, whose settings may have a name of their own.
    """
    if labels_of(found).get(REVISION_LABEL, revision) != revision and _has_revision(found):
        return ()
    if complaint(found):
        return ()
    meta = found["metadata"]
    settings = (namespace, mesh_map(revision))
    if found.get("kind") == "ConfigMap" and (meta.get("namespace"), meta["name"]) == settings:
        found = {**found, "metadata": {**meta, "name": MESH_MAP}}
    return tuple(observed(found))


def _has_revision(found: Object) -> bool:
    """Labels of namespaces and webhooks choose revisions, they do not belong to one."""
    group = str(found.get("apiVersion", "")).rpartition("/")[0]
    return (group, str(found.get("kind", ""))) in BY_GROUP_KIND and bool(group)


@dataclass
class LiveAnalysis:
    """Everything that is looked at, kept by one writer, and what was said about it last.

    ``elsewhere`` is what does not come from the cluster, by its key in the store; an object of
    the cluster replaces its namesake.
    """

    analyzers: Iterable[Analyzer]
    domain: str
    objects: dict[Key, tuple[Item, ...]] = field(default_factory=dict)
    elsewhere: dict[str, tuple[Item, ...]] = field(default_factory=dict)
    generations: dict[Key, int] = field(default_factory=dict)
    results: Results | None = None

    def put(self, key: Key, items: tuple[Item, ...], generation: int | None) -> bool:
        """An object as it is now, ``generation`` None if it is gone; whether that matters."""
        before = self.objects.pop(key, ()), self.generations.pop(key, None)
        if generation is not None:
            self.objects[key] = items
            self.generations[key] = generation
        return before != (items, generation)

    def put_elsewhere(self, key: str, items: tuple[Item, ...]) -> bool:
        """Something of the store as it is now, nothing if it is gone; whether that matters."""
        before = self.elsewhere.pop(key, ())
        if items:
            self.elsewhere[key] = items
        return before != items

    def snapshot(self) -> Snapshot:
        """Everything that the mesh sees, at this moment (MeshConfig, "discoverySelectors")."""
        own = [item for items in list(self.objects.values()) for item in items]
        named = {(item.kind, item.namespace, item.name) for item in own}
        others = (item for items in list(self.elsewhere.values()) for item in items)
        found = [*own, *(o for o in others if (o.kind, o.namespace, o.name) not in named)]
        mesh = next((item.body for item in found if item.kind == kinds.MESH_CONFIG), None)
        settings = Settings() if mesh is None else Settings(mesh=mesh)
        unseen = {
            item.name
            for item in found
            if item.kind == kinds.NAMESPACE and not settings.sees(item.labels)
        }
        return Snapshot((i for i in found if i.place not in unseen), self.domain)

    def analysed(self, snapshot: Snapshot, superseded: Callable[[], bool]) -> Results:
        """What is said about a snapshot. Raises Superseded."""
        return analyse(self.analyzers, snapshot, self.results, superseded)


def statuses(messages: Iterable[Message], generations: Mapping[Key, int]) -> Statuses:
    """What each object that can be told of is to tell; ``generations`` are those looked at."""
    about: dict[Key, list[Message]] = {key: [] for key in generations if has_messages(key[0])}
    for message in messages:
        item = message.item
        if item is not None and (item.kind, item.namespace, item.name) in about:
            about[item.kind, item.namespace, item.name].append(message)
    return {key: Told(generations[key], validation_messages(found)) for key, found in about.items()}
