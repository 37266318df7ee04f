"""ServiceEntries that speak about one host."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from mast.galley.core.analysis import kinds
from mast.galley.core.analysis.analysis import Analyzer
from mast.galley.core.analysis.mesh import MESH
from mast.galley.core.analysis.services import ALL, exported
from mast.galley.core.analysis.snapshot import Item, Message, View

_CONFLICT = "IST0177"


def _protocols(view: View) -> Iterator[Message]:
    default = list(view.fact(MESH).settings.default_service_export_to)
    claims: dict[tuple[str, int], list[tuple[Item, int, str]]] = defaultdict(list)
    for item in view.of(kinds.SERVICE_ENTRY):
        for host in item.body.hosts:
            for index, port in enumerate(item.body.ports):
                protocol = port.protocol.upper() or "TCP"
                claims[host.lower(), port.number].append((item, index, protocol))
    for (host, number), found in claims.items():
        if len({protocol for _, _, protocol in found}) == 1:
            continue
        for item, index, protocol in found:
            own = exported(item.body.export_to, item.namespace, default)
            others = sorted(
                f"{other.namespace}/{other.name} ({its})"
                for other, _, its in found
                if its != protocol
                and _meet(own, exported(other.body.export_to, other.namespace, default))
            )
            if others:
                text = (
                    f"port {number} of {host!r} is {protocol} here, and something else in "
                    f"{', '.join(others)}"
                )
                yield Message(_CONFLICT, item, text, ("spec", "ports", index, "protocol"))


def _meet(one: frozenset[str], other: frozenset[str]) -> bool:
    return ALL in one or ALL in other or bool(one & other)


ANALYZERS = (
    Analyzer(
        "serviceentry.protocols",
        "ServiceEntries agree on the protocol of a host's port.",
        frozenset({_CONFLICT}),
        frozenset({kinds.SERVICE_ENTRY, kinds.MESH_CONFIG}),
        _protocols,
    ),
)
