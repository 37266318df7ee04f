"""VirtualServices that speak about one host: who of them is heard, and where."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

from mast.galley.core.analysis import kinds
from mast.galley.core.analysis.analysis import Analyzer
from mast.galley.core.analysis.analyzers.virtual_services import destinations
from mast.galley.core.analysis.mesh import MESH as SETTINGS
from mast.galley.core.analysis.services import ALL, exported, fqdn
from mast.galley.core.analysis.snapshot import Item, Message, View
from mast.galley.core.rules.virtual_service import MESH

_CONFLICT = "IST0109"
_NOT_AFFECTED = "IST0140"


def _for_sidecars(item: Item) -> bool:
    return not item.body.gateways or MESH in item.body.gateways


def _by_host(view: View) -> Mapping[str, list[tuple[Item, int]]]:
    """VirtualServices for sidecars, by host in full, with the number of the host."""
    found: dict[str, list[tuple[Item, int]]] = defaultdict(list)
    for item in view.of(kinds.VIRTUAL_SERVICE):
        if _for_sidecars(item):
            for number, host in enumerate(item.body.hosts):
                found[fqdn(host, item.namespace, view.domain)].append((item, number))
    return found


def _conflicts(view: View) -> Iterator[Message]:
    default = list(view.fact(SETTINGS).settings.default_virtual_service_export_to)
    for host, claims in _by_host(view).items():
        seen = [exported(item.body.export_to, item.namespace, default) for item, _ in claims]
        for index, (item, number) in enumerate(claims):
            others = {
                f"{other.namespace}/{other.name}"
                for place, (other, _) in enumerate(claims)
                if place != index and _meet(seen[index], seen[place])
            }
            if others:
                shown = ", ".join(sorted(others))
                text = f"host {host!r} is claimed for sidecars by VirtualServices {shown} as well"
                yield Message(_CONFLICT, item, text, ("spec", "hosts", number))


def _meet(one: frozenset[str], other: frozenset[str]) -> bool:
    """Whether a namespace sees both."""
    return ALL in one or ALL in other or bool(one & other)


def _ineffective(view: View) -> Iterator[Message]:
    """Rules for sidecars choose a subset of a host that a gateway's rules send requests to."""
    entering = list(_entering(view))
    for host, claims in _by_host(view).items():
        for item, _ in claims:
            chosen = [
                (path, each.subset)
                for path, each in destinations(item.body)
                if each.subset and fqdn(each.host, item.namespace, view.domain) == host
            ]
            for name, gateway, wanted in entering:
                if chosen and wanted == host and gateway not in item.body.gateways:
                    path, subset = chosen[0]
                    text = (
                        f"subset {subset!r} of {host} has no effect on requests through gateway "
                        f"{gateway!r}: VirtualService {name} names no subset"
                    )
                    yield Message(_NOT_AFFECTED, item, text, (*path, "subset"))


def _entering(view: View) -> Iterator[tuple[str, str, str]]:
    """VirtualService, gateway and host of requests that gateways send on without a subset."""
    for item in view.of(kinds.VIRTUAL_SERVICE):
        gateways = [each for each in item.body.gateways if each != MESH]
        hosts = {
            fqdn(each.host, item.namespace, view.domain)
            for _, each in destinations(item.body)
            if not each.subset
        }
        for gateway in gateways:
            for host in sorted(hosts):
                yield f"{item.namespace}/{item.name}", gateway, host


ANALYZERS = (
    Analyzer(
        "virtualservice.conflicts",
        "One VirtualService at most speaks for a host to the sidecars of a namespace.",
        frozenset({_CONFLICT}),
        frozenset({kinds.VIRTUAL_SERVICE, kinds.MESH_CONFIG}),
        _conflicts,
    ),
    Analyzer(
        "virtualservice.ingress",
        "Subsets that are chosen for sidecars are chosen for gateways as well.",
        frozenset({_NOT_AFFECTED}),
        frozenset({kinds.VIRTUAL_SERVICE}),
        _ineffective,
    ),
)
