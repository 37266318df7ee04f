"""Networks whose endpoints come from registries that nobody knows."""

from __future__ import annotations

from collections.abc import Iterator

from mast.galley.core.analysis import kinds
from mast.galley.core.analysis.analysis import Analyzer
from mast.galley.core.analysis.snapshot import Message, View
from mast.galley.core.rules.credentials import secret_values

_UNKNOWN = "IST0126"
_LABEL = "istio/multiCluster"
_OWN = "Kubernetes"


def _registries(view: View) -> Iterator[Message]:
    known = {_OWN}
    for item in view.of(kinds.SECRET):
        if item.labels.get(_LABEL) == "true":
            known |= secret_values(item.body).keys()
    for kind in (kinds.REGISTRY_SERVICE, kinds.REGISTRY_WORKLOAD):
        known |= {item.body.cluster for item in view.of(kind)} - {""}
    for item in view.of(kinds.MESH_NETWORKS):
        for name, network in sorted(item.body.networks.items()):
            for index, each in enumerate(network.endpoints):
                if each.from_registry and each.from_registry not in known:
                    shown = ", ".join(sorted(known))
                    text = f"network {name!r} names registry {each.from_registry!r}; known: {shown}"
                    path = ("spec", "networks", name, "endpoints", index, "fromRegistry")
                    yield Message(_UNKNOWN, item, text, path)


ANALYZERS = (
    Analyzer(
        "network.registries",
        "Registries of networks are known.",
        frozenset({_UNKNOWN}),
        frozenset(
            {
                kinds.MESH_NETWORKS,
                kinds.SECRET,
                kinds.REGISTRY_SERVICE,
                kinds.REGISTRY_WORKLOAD,
            }
        ),
        _registries,
    ),
)
