"""What is configuration for a revision of the control plane (A2.4)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from mast.common.kinds import KINDS
from mast.galley.core.analysis.snapshot import Item

_REVISION: Final = "istio.io/rev"
_CONFIGURATION: Final = frozenset(str(kind) for kind in KINDS if kind.group)


def of_revision(items: Iterable[Item], revision: str) -> list[Item]:
    """Without configuration that is labelled for other revisions.

    Labels of namespaces and pods say who injects them, and keep nothing away.
    """
    return [
        item
        for item in items
        if item.kind not in _CONFIGURATION or item.labels.get(_REVISION, revision) == revision
    ]
