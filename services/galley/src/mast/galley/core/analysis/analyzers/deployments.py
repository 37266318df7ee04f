"""Workloads: Services that disagree about their ports, and the user they run as."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator

from mast.galley.core.analysis import kinds, plain, services, workloads
from mast.galley.core.analysis.analysis import Analyzer
from mast.galley.core.analysis.services import SERVICES, Port, Service
from mast.galley.core.analysis.snapshot import Message, View
from mast.galley.core.analysis.workloads import WORKLOADS, Workload

_PROTOCOLS = "IST0116"
_TARGETS = "IST0137"
_PROXY_USER = "IST0144"
_USER = 1337
_PROXY_CONTAINERS = frozenset({"istio-proxy", "istio-init", "istio-validation"})


def _associations(view: View) -> Iterator[Message]:
    by_namespace: dict[str, list[Service]] = defaultdict(list)
    for service in view.fact(SERVICES).all:
        if service.item.kind == kinds.SERVICE and service.selector:
            by_namespace[service.namespace].append(service)
    for workload in view.fact(WORKLOADS).all:
        if workload.item.kind not in kinds.TEMPLATED:
            continue
        found = [
            (service, port)
            for service in by_namespace[workload.namespace]
            if service.selector.items() <= workload.labels.items()
            for port in service.ports
        ]
        yield from _disagreements(workload, found)


def _disagreements(workload: Workload, found: list[tuple[Service, Port]]) -> Iterator[Message]:
    by_number: dict[int, list[tuple[Service, Port]]] = defaultdict(list)
    by_target: dict[int | str, list[tuple[Service, Port]]] = defaultdict(list)
    for service, port in found:
        by_number[port.number].append((service, port))
        by_target[port.target].append((service, port))
    for number, those in sorted(by_number.items()):
        if len({port.protocol for _, port in those}) > 1:
            shown = _shown(those, lambda port: port.protocol)
            text = f"Services of it give port {number} different protocols: {shown}"
            yield Message(_PROTOCOLS, workload.item, text)
    for target, those in sorted(by_target.items(), key=lambda entry: str(entry[0])):
        if len({port.number for _, port in those}) > 1 and len({s.host for s, _ in those}) > 1:
            shown = _shown(those, lambda port: str(port.number))
            text = f"Services of it lead to target port {target} by different ports: {shown}"
            yield Message(_TARGETS, workload.item, text)


def _shown(those: list[tuple[Service, Port]], what: Callable[[Port], str]) -> str:
    return ", ".join(sorted({f"{service.item.name} ({what(port)})" for service, port in those}))


def _users(view: View) -> Iterator[Message]:
    """What the sidecar's user sends is not captured, or the sidecar would capture itself."""
    for workload in view.fact(WORKLOADS).all:
        if workload.pod is None:
            continue
        if plain.number(workload.pod, "securityContext", "runAsUser") == _USER:
            text = f"the pod runs as user {_USER}, whose traffic no sidecar sees"
            path = (*workload.at, "securityContext", "runAsUser")
            yield Message(_PROXY_USER, workload.item, text, path)
        for at, container in workload.containers():
            name = plain.text(container, "name")
            user = plain.number(container, "securityContext", "runAsUser")
            if user == _USER and name not in _PROXY_CONTAINERS:
                text = f"container {name!r} runs as user {_USER}, whose traffic no sidecar sees"
                path = (*at, "securityContext", "runAsUser")
                yield Message(_PROXY_USER, workload.item, text, path)


ANALYZERS = (
    Analyzer(
        "deployment.services",
        "Services of a workload agree about its ports.",
        frozenset({_PROTOCOLS, _TARGETS}),
        workloads.KINDS | services.KINDS,
        _associations,
    ),
    Analyzer(
        "deployment.users",
        "Applications do not run as the sidecar's user.",
        frozenset({_PROXY_USER}),
        workloads.KINDS,
        _users,
    ),
)
