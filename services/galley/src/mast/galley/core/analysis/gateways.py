"""Istio's Gateways by the names that VirtualServices have for them."""

from __future__ import annotations

from collections.abc import Mapping

from mast.galley.core.analysis import kinds
from mast.galley.core.analysis.snapshot import Fact, Item, View


class Gateways:
    """All of them, by namespace and name."""

    def __init__(self, found: Mapping[tuple[str, str], Item]) -> None:
        self._found = found

    def named(self, name: str, namespace: str) -> Item | None:
        """What ``[namespace/]name`` means to an object of a namespace.

        ``name.namespace.svc.cluster.local``, the form of 1.0, is understood as well.
        """
        where, slash, short = name.rpartition("/")
        if slash:
            return self._found.get((where, short))
        if "." in name:
            parts = name.split(".")
            return self._found.get((parts[1], parts[0]))
        return self._found.get((namespace, name))


def _gateways(view: View) -> Gateways:
    return Gateways({(item.namespace, item.name): item for item in view.of(kinds.GATEWAY)})


GATEWAYS = Fact(frozenset({kinds.GATEWAY}), _gateways)
