"""Services that are not the same in all clusters that have them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from mast.galley.core.analysis import kinds
from mast.galley.core.analysis.analysis import Analyzer
from mast.galley.core.analysis.snapshot import Item, Message, View
from mastapi.registry.v1 import registry_pb2

_DIFFERS = "IST0170"


def _inconsistent(view: View) -> Iterator[Message]:
    """Equal hosts are one service (pilot.md D8): callers go by what one of the clusters says."""
    by_host: dict[tuple[str, str], list[Item]] = defaultdict(list)
    for item in view.of(kinds.REGISTRY_SERVICE):
        if item.body.cluster:
            by_host[item.namespace, item.body.host].append(item)
    for items in by_host.values():
        ordered = sorted(items, key=lambda each: str(each.body.cluster))
        for what, told in (("types", _type), ("ports", _ports)):
            said = [(item.body.cluster, told(item.body)) for item in ordered]
            if len({text for _, text in said}) > 1:
                shown = "; ".join(f"{cluster}: {text}" for cluster, text in said)
                text = f"{what} of {ordered[0].body.host} differ by cluster: {shown}"
                yield Message(_DIFFERS, ordered[0], text)


def _type(service: registry_pb2.Service) -> str:
    if service.alias_of:
        return f"ExternalName {service.alias_of}"
    return "headless" if service.headless else "with an address"


def _ports(service: registry_pb2.Service) -> str:
    """Targets may differ: every endpoint tells its own."""
    ports = sorted((each.number, each.name, each.protocol) for each in service.ports)
    return ", ".join(f"{number} ({name} {protocol})" for number, name, protocol in ports) or "none"


ANALYZERS = (
    Analyzer(
        "multicluster.services",
        "Services are the same in all clusters.",
        frozenset({_DIFFERS}),
        frozenset({kinds.REGISTRY_SERVICE}),
        _inconsistent,
    ),
)
