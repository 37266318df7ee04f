"""The mesh at one revision: immutable; gives every proxy the view of its class."""

from dataclasses import dataclass, field

from mast.pilot.core.extensions import Extensions
from mast.pilot.core.index import Index
from mast.pilot.core.memo import Memo, Reads
from mast.pilot.core.scope import Scope


@dataclass(frozen=True)
class MeshSnapshot:
    """An index, and the results that it shares with the snapshots before and after.

    `revision` is that of the store up to which changes are in it. Views are generated lazily, on
    the thread of the world.
    """

    revision: int
    index: Index
    results: Memo = field(repr=False)
    extensions: Extensions = field(repr=False)

    def scope(self, namespace: str, reads: Reads | None = None) -> Scope:
        """What the namespace sees without regard to Sidecars."""
        return Scope(self.index, self.results, reads or Reads(), namespace)
