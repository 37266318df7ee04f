"""Configuration objects as resources, for control planes that take theirs from here (B27)."""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Any

from istio.mcp.v1alpha1 import resource_pb2 as mcp
from mast.common import kinds
from mast.pilot.core.model.index import Index
from mast.pilot.core.model.model import Config
from mast.pilot.core.scope.memo import Memo, Reads
from mast.pilot.core.scope.scope import Scope
from mast.pilot.core.world.originals import Originals
from mast.pilot.core.xds.resources import EMPTY, MCP, Collection, Resource, collection


@dataclass(frozen=True)
class ConfigView:
    """Objects named `NAMESPACE/NAME`, by type GROUP/VERSION/KIND; see `resources.View`.

    All versions of a kind have the same content.
    """

    index: Index
    results: Memo
    originals: Originals

    @property
    def key(self) -> Hashable:
        """The same for everybody."""
        return "configuration"

    @property
    def generation(self) -> int:
        """Number of the index."""
        return self.index.generation

    def family(self, type_url: str) -> None:
        """Names are looked up each time."""
        del type_url

    def renewed(self, type_url: str, since: int) -> None:
        """Unknown."""
        del type_url, since

    def collection(self, type_url: str) -> Collection:
        """All objects of a kind; `EMPTY` for one that is unknown."""
        group, _, rest = type_url.partition("/")
        version, _, name = rest.partition("/")
        kind = kinds.BY_GROUP_KIND.get((group, name))
        if kind is None or version not in kind.versions:
            return EMPTY
        key = ("objects", kind.collection)
        return self.results.get(
            key, self.index.generation, None, lambda reads: self._of_kind(kind, reads)
        )

    def named(self, type_url: str, name: str) -> Resource | None:
        """The object `NAMESPACE/NAME`, None if there is none."""
        return self.collection(type_url).resources.get(name)

    def _of_kind(self, kind: kinds.Kind, reads: Reads) -> Collection:
        """Those of each namespace are kept apart: a change costs what its namespace holds."""
        reads.note(kind.collection)
        found: list[Resource] = []
        for collected, namespace in sorted(self.index.configs):
            if collected == kind.collection:
                scope = Scope(self.index, self.results, reads, namespace)
                found += scope.cached(("objects", kind.collection), self._in_namespace(kind))
        return collection(found)

    def _in_namespace(self, kind: kinds.Kind) -> Any:
        def build(scope: Scope) -> Iterable[Resource]:
            found = scope.configs(kind.collection, scope.namespace)
            return tuple(map(self._resource, found))

        return build

    def _resource(self, config: Config[Any]) -> Resource:
        name = f"{config.meta.namespace}/{config.meta.name}".removeprefix("/")
        return self.originals.resource(name, MCP, _message(name, config))


def _message(name: str, config: Config[Any]) -> mcp.Resource:
    meta = config.meta
    made = mcp.Resource()
    made.metadata.name = name
    made.metadata.version = meta.version
    made.metadata.create_time.FromNanoseconds(meta.created)
    made.metadata.labels.update(meta.labels)
    made.metadata.annotations.update(meta.annotations)
    made.body.Pack(config.spec, deterministic=True)
    return made
