"""The hosts that the mesh knows, who may see them, and their ports."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from mast.galley.core.analysis import kinds, plain
from mast.galley.core.analysis.mesh import MESH
from mast.galley.core.analysis.snapshot import Fact, Item, View
from mast.galley.core.problem import Path
from mast.galley.core.rules.values import covers
from mastapi.registry.v1 import registry_pb2

KINDS = frozenset({kinds.SERVICE, kinds.REGISTRY_SERVICE, kinds.SERVICE_ENTRY, kinds.MESH_CONFIG})
EXPORT_TO = "networking.istio.io/exportTo"
ALL = "*"


@dataclass(frozen=True, slots=True)
class Port:
    """A port of a service; ``target`` is a number or the name of a container's port."""

    number: int
    name: str = ""
    protocol: str = "TCP"
    application: str = ""
    target: int | str = 0
    at: Path = ()


@dataclass(frozen=True, eq=False)
class Service:
    """A host with its ports.

    ``export_to`` are the namespaces that see it, own one resolved. ``endpoints`` are the labels of
    those that are written down, None if workloads are selected; ``selector`` may be empty.
    """

    host: str
    namespace: str
    item: Item
    ports: tuple[Port, ...] = ()
    selector: Mapping[str, str] = field(default_factory=dict)
    export_to: frozenset[str] = frozenset({ALL})
    endpoints: tuple[Mapping[str, str], ...] | None = None

    def seen_from(self, namespace: str) -> bool:
        """Whether it is exported to a namespace."""
        return ALL in self.export_to or namespace in self.export_to


class Services:
    """All of them, by host."""

    def __init__(self, found: Sequence[Service]) -> None:
        self.all = found
        self._by_host: dict[str, list[Service]] = defaultdict(list)
        self._wildcards: list[Service] = []
        for service in found:
            self._by_host[service.host.lower()].append(service)
            if service.host.startswith("*"):
                self._wildcards.append(service)

    def named(self, host: str, namespace: str) -> list[Service]:
        """Those a client of a namespace reaches by a full name; a wildcard stands for many."""
        exact = self._by_host.get(host.lower(), [])
        wild = [each for each in self._wildcards if covers(each.host, host)]
        return [each for each in (*exact, *wild) if each.seen_from(namespace)]

    def within(self, wildcard: str, namespace: str) -> list[Service]:
        """Those that a wildcard stands for, or that stand for it."""
        return [
            each
            for each in self.all
            if (covers(wildcard, each.host) or covers(each.host, wildcard))
            and each.seen_from(namespace)
        ]


def fqdn(host: str, namespace: str, domain: str) -> str:
    """A host as rules name it, in full: a name without dots is of the rule's own namespace."""
    if "." in host or host.startswith("*"):
        return host.lower()
    return f"{host}.{namespace}.svc.{domain}".lower()


def exported(entries: Sequence[str], own: str, default: Sequence[str] = ()) -> frozenset[str]:
    """Namespaces that something is exported to: `.` is the own one, nothing the default, or all."""
    given = entries or default or (ALL,)
    return frozenset(own if entry == "." else entry for entry in given)


def _services(view: View) -> Services:
    default = list(view.fact(MESH).settings.default_service_export_to)
    found = [*_kubernetes(view, default), *_registry(view, default), *_entries(view, default)]
    return Services(found)


def _kubernetes(view: View, default: Sequence[str]) -> Iterator[Service]:
    for item in view.of(kinds.SERVICE):
        host = fqdn(item.name, item.namespace, view.domain)
        entries = [each.strip() for each in item.annotations.get(EXPORT_TO, "").split(",")]
        yield Service(
            host,
            item.namespace,
            item,
            tuple(ports(item)),
            plain.texts(item.body, "spec", "selector"),
            exported([each for each in entries if each], item.namespace, default),
        )


def ports(item: Item) -> Iterator[Port]:
    """The ports of a Service of Kubernetes."""
    for index, port in enumerate(plain.listing(item.body, "spec", "ports")):
        target = plain.at(port, "targetPort")
        number = plain.number(port, "port")
        yield Port(
            number,
            plain.text(port, "name"),
            plain.text(port, "protocol") or "TCP",
            plain.text(port, "appProtocol"),
            target if isinstance(target, int | str) and target else number,
            ("spec", "ports", index),
        )


def _registry(view: View, default: Sequence[str]) -> Iterator[Service]:
    """What several clusters have of a host is one service."""
    known: set[tuple[str, str]] = set()
    for item in view.of(kinds.REGISTRY_SERVICE):
        message: registry_pb2.Service = item.body
        if (item.namespace, message.host) in known:
            continue
        known.add((item.namespace, message.host))
        yield Service(
            message.host,
            item.namespace,
            item,
            tuple(
                Port(port.number, port.name, port.protocol, target=port.target_port or port.number)
                for port in message.ports
            ),
            dict(message.selector),
            exported(message.export_to, item.namespace, default),
        )


def _entries(view: View, default: Sequence[str]) -> Iterator[Service]:
    for item in view.of(kinds.SERVICE_ENTRY):
        spec = item.body
        listed = tuple(
            Port(
                port.number,
                port.name,
                port.protocol.upper() or "TCP",
                target=port.target_port or port.number,
                at=("spec", "ports", index),
            )
            for index, port in enumerate(spec.ports)
        )
        selects = spec.HasField("workload_selector")
        endpoints = tuple(dict(each.labels) for each in spec.endpoints)
        for host in spec.hosts:
            yield Service(
                host,
                item.namespace,
                item,
                listed,
                dict(spec.workload_selector.labels),
                exported(spec.export_to, item.namespace, default),
                None if selects else endpoints,
            )


SERVICES = Fact(KINDS, _services)
