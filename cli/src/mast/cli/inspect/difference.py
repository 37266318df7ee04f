"""What a proxy has against what Pilot means it to have, resource by resource.

Compared is what things mean: lists without an order are sorted, defaults that Envoy adds to
endpoints are filled in on both sides.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import yaml
from envoy.config.core.v3.health_check_pb2 import HealthStatus
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from google.protobuf.message import Message

from mast.cli.envoy.plain import plain
from mast.cli.inspect.dump import Dump
from mast.cli.inspect.tables import address_text

KINDS: Final = ("clusters", "listeners", "routes", "endpoints", "extensions")


@dataclass(frozen=True)
class Difference:
    """A resource that is not the same: empty texts mean that one side does not have it."""

    kind: str
    name: str
    intended: str
    actual: str

    @property
    def lines(self) -> Sequence[str]:
        """The difference as `diff -u` shows it, without line ends."""
        return list(
            difflib.unified_diff(
                self.intended.splitlines(),
                self.actual.splitlines(),
                f"pilot {self.kind}/{self.name}",
                f"envoy {self.kind}/{self.name}",
                lineterm="",
            )
        )


def differences(intended: Dump, actual: Dump) -> Mapping[str, Sequence[Difference]]:
    """Resources that differ, by kind; what Envoy has from its bootstrap does not count."""
    return {kind: tuple(_of_kind(kind, intended, actual)) for kind in KINDS}


def _of_kind(kind: str, intended: Dump, actual: Dump) -> list[Difference]:
    wanted: Mapping[str, Message] = getattr(intended, kind)
    has: Mapping[str, Message] = getattr(actual, kind)
    told = {name: each for name, each in has.items() if f"{kind}/{name}" in actual.dynamic}
    if kind == "endpoints":
        # Envoy lists those of clusters that are not told theirs as well.
        told = {name: each for name, each in told.items() if name in _discovered(actual)}
    found = []
    for name in sorted(wanted.keys() | told.keys()):
        texts = [_text(side.get(name)) for side in (wanted, told)]
        if texts[0] != texts[1]:
            found.append(Difference(kind, name, *texts))
    return found


def _discovered(dump: Dump) -> set[str]:
    """What clusters ask EDS for."""
    return {
        each.eds_cluster_config.service_name or name
        for name, each in dump.clusters.items()
        if each.HasField("eds_cluster_config")
    }


def _text(message: Message | None) -> str:
    if message is None:
        return ""
    content: Any = (
        _endpoints(message) if isinstance(message, ClusterLoadAssignment) else plain(message)
    )
    return str(yaml.safe_dump(content, sort_keys=True, width=1000))


def _endpoints(assignment: ClusterLoadAssignment) -> dict[str, Any]:
    """Endpoints by address, with what Envoy takes for granted."""
    found = {}
    for locality in assignment.endpoints:
        place = locality.locality
        for each in locality.lb_endpoints:
            health = each.health_status or HealthStatus.HEALTHY
            found[address_text(each.endpoint.address)] = {
                "locality": "/".join((place.region, place.zone, place.sub_zone)).rstrip("/"),
                "priority": locality.priority,
                "weight": each.load_balancing_weight.value or 1,
                "localityWeight": locality.load_balancing_weight.value or 1,
                "health": HealthStatus.Name(health),
                "metadata": plain(each.metadata),
            }
    return {"clusterName": assignment.cluster_name, "endpoints": found}
