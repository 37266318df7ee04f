"""Egress listeners: the services and VirtualServices that show through each (pilot.md D11)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple, Protocol

from istio.networking.v1alpha3.sidecar_pb2 import IstioEgressListener
from istio.networking.v1alpha3.virtual_service_pb2 import VirtualService
from mast.pilot.core.model import hosts
from mast.pilot.core.model.index import Index
from mast.pilot.core.model.model import Config, Resolution, Service
from mast.pilot.core.scope import memo
from mast.pilot.core.scope.memo import Fact, Reads
from mast.pilot.core.scope.virtual_services import destinations

ANY_WILDCARD: Final = "*"
"""Name of the fact that stands for all objects with a wildcard host."""


class Egress(Protocol):
    """What shows through one egress listener."""

    @property
    def listener(self) -> IstioEgressListener | None:
        """The listener of the Sidecar, None for the one that proxies without Sidecar have."""

    def service(self, host: str) -> Service | None:
        """The service of a host; the one it stands for if the host is an alias."""

    def services(self) -> Sequence[Service]:
        """All services, sorted by host, without aliases."""

    def services_on(self, port: int) -> Sequence[Service]:
        """Services that have a port of that number, sorted by host."""

    def hosts_on(self, port: int) -> Sequence[str]:
        """Hosts among which those of `services_on` are, sorted; the same object if none is new."""

    def virtual_service(self, host: str) -> Config[VirtualService] | None:
        """The VirtualService of gateway `mesh` that governs a host (pilot.md F1)."""

    def standalone(self) -> Sequence[tuple[str, Config[VirtualService]]]:
        """Full hosts of VirtualServices of gateway `mesh` without a service, sorted (C6)."""


class OpenEgress:
    """Everything that `exportTo` lets a namespace see; notes what it looks at."""

    listener: None = None

    def __init__(self, index: Index, namespace: str, reads: Reads) -> None:
        self._index = index
        self._namespace = namespace
        self._reads = reads

    def service(self, host: str) -> Service | None:
        """See `Egress`."""
        seen = set()
        found = self._visible(host)
        while found and found.resolution is Resolution.ALIAS and found.host not in seen:
            seen.add(found.host)
            found = self._visible(found.alias_of)
        return None if found is None or found.resolution is Resolution.ALIAS else found

    def services(self) -> Sequence[Service]:
        """See `Egress`."""
        self._reads.note(memo.SERVICE)
        return self._services(self._index.hosts)

    def services_on(self, port: int) -> Sequence[Service]:
        """See `Egress`."""
        self._reads.note(memo.PORT, port)
        found = self._services(self._index.hosts_on_port.get(port, ()))
        return [each for each in found if each.port(port)]

    def hosts_on(self, port: int) -> Sequence[str]:
        """See `Egress`."""
        self._reads.note(memo.PORT, port)
        return self._index.hosts_on_port.get(port, ())

    def owned_by(self, namespace: str) -> Sequence[Service]:
        """Services of one namespace that are visible, sorted by host."""
        self._reads.note(memo.NAMESPACE, namespace)
        return [
            each
            for host in self._index.hosts_in_namespace.get(namespace, ())
            for each in self._index.services[host]
            if each.namespace == namespace and each.visible_to.includes(self._namespace)
        ]

    def candidates(self, host: str) -> Sequence[Service]:
        """Visible services of a host, the preferred first: own namespace, Kubernetes, oldest."""
        self._reads.note(memo.SERVICE, host)
        found = [
            each
            for each in self._index.services.get(host, ())
            if each.visible_to.includes(self._namespace)
        ]
        return sorted(found, key=lambda each: each.namespace != self._namespace)

    def virtual_service(self, host: str) -> Config[VirtualService] | None:
        """See `Egress`."""
        self._reads.note(memo.VIRTUAL_SERVICE, host)
        self._reads.note(memo.VIRTUAL_SERVICE, ANY_WILDCARD)
        for pattern in (host, *hosts.wildcards_over(host)):
            for each in self._index.virtual_services.get(pattern, ()):
                if each.visible_to.includes(self._namespace):
                    return each
        return None

    def virtual_services(self) -> Iterator[tuple[str, Config[VirtualService]]]:
        """Visible VirtualServices of gateway `mesh` with each of their full hosts, sorted."""
        self._reads.note(memo.VIRTUAL_SERVICE)
        for host in sorted(self._index.virtual_services):
            for each in self._index.virtual_services[host]:
                if each.visible_to.includes(self._namespace):
                    yield host, each

    def standalone(self) -> Sequence[tuple[str, Config[VirtualService]]]:
        """See `Egress`."""
        self._reads.note(memo.STANDALONE_HOSTS)
        return [
            (host, governing)
            for host in self._index.standalone_hosts
            if self._visible(host) is None and (governing := self.virtual_service(host))
        ]

    def _visible(self, host: str) -> Service | None:
        self._reads.note(memo.SERVICE, host)
        best = None
        for each in self._index.services.get(host, ()):
            if each.visible_to.includes(self._namespace):
                if each.namespace == self._namespace:
                    return each
                best = best or each
        return best

    def _services(self, names: Iterable[str]) -> list[Service]:
        found = (self._visible(host) for host in names)
        return [each for each in found if each and each.resolution is not Resolution.ALIAS]


@dataclass(frozen=True, eq=False)
class SelectedEgress:
    """An egress listener of a Sidecar: services and VirtualServices its `hosts` select."""

    listener: IstioEgressListener
    by_host: Mapping[str, Service]
    by_alias: Mapping[str, Service]
    by_virtual_host: Mapping[str, Config[VirtualService]]
    """The governing VirtualService by each of its full hosts."""

    def service(self, host: str) -> Service | None:
        """See `Egress`."""
        return self.by_host.get(host) or self.by_alias.get(host)

    def services(self) -> Sequence[Service]:
        """See `Egress`."""
        return list(self.by_host.values())

    def services_on(self, port: int) -> Sequence[Service]:
        """See `Egress`."""
        return [each for each in self.by_host.values() if each.port(port)]

    def hosts_on(self, port: int) -> Sequence[str]:
        """See `Egress`."""
        return [each.host for each in self.services_on(port)]

    def virtual_service(self, host: str) -> Config[VirtualService] | None:
        """See `Egress`."""
        for pattern in (host, *hosts.wildcards_over(host)):
            if (found := self.by_virtual_host.get(pattern)) is not None:
                return found
        return None

    def standalone(self) -> Sequence[tuple[str, Config[VirtualService]]]:
        """See `Egress`."""
        return [each for each in self.by_virtual_host.items() if each[0] not in self.by_host]


@dataclass(frozen=True, eq=False)
class NotedEgress:
    """A selected egress as one result sees it.

    Answers are facts of the kinds `services_kind` and `routes_kind`: a result depends on what it
    was told, not on all the mesh that the egress was selected from.
    """

    selected: SelectedEgress
    name: str
    reads: Reads

    @property
    def listener(self) -> IstioEgressListener | None:
        """See `Egress`."""
        return self.selected.listener

    def service(self, host: str) -> Service | None:
        """See `Egress`."""
        self.reads.note(services_kind(self.name), host)
        return self.selected.service(host)

    def services(self) -> Sequence[Service]:
        """See `Egress`."""
        self.reads.note(services_kind(self.name))
        return self.selected.services()

    def services_on(self, port: int) -> Sequence[Service]:
        """See `Egress`."""
        self.reads.note(services_kind(self.name))
        return self.selected.services_on(port)

    def hosts_on(self, port: int) -> Sequence[str]:
        """See `Egress`."""
        self.reads.note(services_kind(self.name))
        return self.selected.hosts_on(port)

    def virtual_service(self, host: str) -> Config[VirtualService] | None:
        """See `Egress`."""
        self.reads.note(routes_kind(self.name), host)
        return self.selected.virtual_service(host)

    def standalone(self) -> Sequence[tuple[str, Config[VirtualService]]]:
        """See `Egress`."""
        self.reads.note(services_kind(self.name))
        self.reads.note(routes_kind(self.name))
        return self.selected.standalone()


def services_kind(name: str) -> str:
    """Kind of the facts about services, by host or alias, of the egress listener of that name."""
    return f"services of {name}"


def routes_kind(name: str) -> str:
    """Kind of the facts about VirtualServices, by host, of the egress listener of that name."""
    return f"routes of {name}"


def differing(name: str, old: SelectedEgress, new: SelectedEgress) -> Iterator[Fact]:
    """The facts in which two states of the egress listener of that name differ."""
    known = {**old.by_host, **old.by_alias, **new.by_host, **new.by_alias}
    for host in known:
        if old.service(host) != new.service(host):
            yield Fact(services_kind(name), host)
    governed = {**old.by_virtual_host, **new.by_virtual_host}
    for host in {**known, **governed}:
        if old.virtual_service(host) is not new.virtual_service(host):
            yield Fact(routes_kind(name), None if hosts.is_wildcard(host) else host)


class _Pattern(NamedTuple):
    """One `NAMESPACE/HOST` of an egress listener; `namespace` may be `*`."""

    namespace: str
    host: str

    def admits(self, namespace: str) -> bool:
        return self.namespace in {"*", namespace}


def selected(listener: IstioEgressListener, own: str, everything: OpenEgress) -> SelectedEgress:
    """What the `hosts` of a Sidecar's egress listener select for proxies in namespace `own`.

    Services by namespace and host, those of one port if the listener has a port; VirtualServices
    by namespace and host, and the destinations of these (pilot.md D11).
    """
    wanted, unwanted = _patterns(listener.hosts, own)
    port = listener.port.number
    chosen: dict[str, Service] = {}
    for service in _candidates(wanted, everything):
        if service.host in chosen or _admitted(service, unwanted):
            continue
        if _admitted(service, wanted) and (trimmed := _on_port(service, port)):
            chosen[service.host] = trimmed
    governing: dict[str, Config[VirtualService]] = {}
    for host, virtual_service in everything.virtual_services() if wanted else ():
        if _governs(host, virtual_service, wanted):
            governing.setdefault(host, virtual_service)
    for service in _imported(governing.values(), everything, port):
        chosen.setdefault(service.host, service)
    ordered = {host: chosen[host] for host in sorted(chosen)}
    aliases = {alias: each for each in ordered.values() for alias in each.aliases}
    return SelectedEgress(listener, ordered, aliases, governing)


def united(services: Iterable[Service]) -> Sequence[Service]:
    """Services of several listeners, sorted by host; ports of one service are united.

    Of two services of one host the first counts.
    """
    found: dict[str, Service] = {}
    for service in services:
        known = found.setdefault(service.host, service)
        if known is not service and known.key == service.key:
            numbers = {port.number for port in known.ports}
            more = tuple(port for port in service.ports if port.number not in numbers)
            found[service.host] = replace(known, ports=known.ports + more)
    return [found[host] for host in sorted(found)]


def _patterns(texts: Iterable[str], own: str) -> tuple[list[_Pattern], list[_Pattern]]:
    """Wanted and unwanted patterns; `~/...` wants nothing, `~NAMESPACE/...` is unwanted."""
    wanted, unwanted = [], []
    for text in texts:
        namespace, separator, host = text.partition("/")
        if not separator:
            namespace, host = "*", text
        if namespace == "~":
            continue
        if namespace.startswith("~"):
            unwanted.append(_Pattern(namespace[1:], host))
        else:
            wanted.append(_Pattern(own if namespace == "." else namespace, host))
    return wanted, unwanted


def _candidates(wanted: Iterable[_Pattern], everything: OpenEgress) -> Iterator[Service]:
    """Services that may be wanted, of one host the preferred first."""
    for pattern in wanted:
        if not hosts.is_wildcard(pattern.host):
            found = everything.candidates(pattern.host)
        elif pattern.namespace == "*":
            found = everything.services()
        else:
            found = everything.owned_by(pattern.namespace)
        for host in dict.fromkeys(each.host for each in found):
            yield from (
                each
                for each in everything.candidates(host)
                if each.resolution is not Resolution.ALIAS
            )


def _admitted(service: Service, patterns: Iterable[_Pattern]) -> bool:
    return any(
        each.admits(service.namespace) and hosts.matches(each.host, service.host)
        for each in patterns
    )


def _on_port(service: Service, port: int) -> Service | None:
    """The service with that port only, None if it has no such port; port 0 stands for all."""
    if port == 0:
        return service
    only = service.port(port)
    return replace(service, ports=(only,)) if only else None


def _governs(
    host: str, virtual_service: Config[VirtualService], patterns: Iterable[_Pattern]
) -> bool:
    return any(
        each.admits(virtual_service.meta.namespace) and hosts.overlaps(each.host, host)
        for each in patterns
    )


def _imported(
    virtual_services: Iterable[Config[VirtualService]], everything: OpenEgress, listener_port: int
) -> Iterator[Service]:
    """Destinations of VirtualServices, with the ports that these refer to."""
    ports: dict[str, set[int]] = {}
    for each in virtual_services:
        for destination in destinations(each.spec):
            ports.setdefault(destination.host, set()).add(destination.port.number)
    for host in sorted(ports):
        service = everything.service(host)
        if service is None:
            continue
        numbers = ports[host]
        if 0 in numbers and listener_port and len(service.ports) > 1:
            numbers = numbers - {0} | {listener_port}
        if 0 not in numbers:
            kept = tuple(port for port in service.ports if port.number in numbers)
            service = replace(service, ports=kept) if kept else None
        if service is not None:
            yield service
