"""Gateways: the workloads that serve them, the Services that lead there, and each other."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from mast.galley.core.analysis import kinds, services, workloads
from mast.galley.core.analysis.analysis import Analyzer
from mast.galley.core.analysis.services import SERVICES, Services
from mast.galley.core.analysis.snapshot import Item, Message, View
from mast.galley.core.analysis.workloads import WORKLOADS, Workload
from mast.galley.core.problem import Path

_NOT_FOUND = "IST0101"
_SAME_CERTIFICATE = "IST0138"
_CONFLICT = "IST0145"
_NO_PORT = "IST0162"
_SPEC: Path = ("spec",)


def _selectors(view: View) -> Iterator[Message]:
    running = view.fact(WORKLOADS)
    for item in view.of(kinds.GATEWAY):
        selector = item.body.selector
        if selector and not running.has(selector):
            text = f"no workload has the labels of the selector: {_shown(selector)}"
            yield Message(_NOT_FOUND, item, text, (*_SPEC, "selector"))


def _shown(labels: Mapping[str, str]) -> str:
    return ", ".join(f"{key}={value}" for key, value in sorted(labels.items()))


def _ports(view: View) -> Iterator[Message]:
    """A pod is reached by the ports of its Services; machines are reached as they are."""
    running, known = view.fact(WORKLOADS), view.fact(SERVICES)
    for item in view.of(kinds.GATEWAY):
        if not item.body.selector:
            continue
        pods = [each for each in running.selected(item.body.selector) if each.pod is not None]
        if not pods:
            continue
        open_ports = _reachable(pods, known)
        for index, server in enumerate(item.body.servers):
            number = server.port.number
            if number and number not in open_ports:
                text = f"no Service of the gateway's pods ({_shown(item.body.selector)}) has port "
                at = (*_SPEC, "servers", index, "port", "number")
                yield Message(_NO_PORT, item, f"{text}{number}", at)


def _reachable(pods: Iterable[Workload], known: Services) -> set[int]:
    """Numbers of ports of Services of pods, and of what they lead to."""
    found: set[int] = set()
    where: dict[str, list[Workload]] = defaultdict(list)
    for pod in pods:
        where[pod.namespace].append(pod)
    for service in known.all:
        selector = service.selector.items()
        if selector and any(selector <= p.labels.items() for p in where[service.namespace]):
            for port in service.ports:
                found.add(port.number)
                if isinstance(port.target, int):
                    found.add(port.target)
    return found


def _served_together(gateways: Sequence[Item]) -> Iterator[tuple[Item, list[Item]]]:
    """Gateways with the others that the same workloads serve."""
    for item in gateways:
        own = dict(item.body.selector).items()
        yield (
            item,
            [
                other
                for other in gateways
                if other is not item
                and (
                    own <= dict(other.body.selector).items()
                    or dict(other.body.selector).items() <= own
                )
            ],
        )


def _conflicts(view: View) -> Iterator[Message]:
    by_socket: dict[tuple[int, str], list[Item]] = defaultdict(list)
    for item in view.of(kinds.GATEWAY):
        for socket in {(server.port.number, server.bind) for server in item.body.servers}:
            by_socket[socket].append(item)
    for (number, bind), gateways in sorted(by_socket.items()):
        for item, others in _served_together(gateways):
            for index, server in enumerate(item.body.servers):
                if (server.port.number, server.bind) == (number, bind):
                    yield from _claimed(item, index, server, others)


def _claimed(item: Item, index: int, server: Any, others: Iterable[Item]) -> Iterator[Message]:
    own = {_host(host) for host in server.hosts}
    for other in others:
        theirs = {
            _host(host)
            for each in other.body.servers
            if (each.port.number, each.bind) == (server.port.number, server.bind)
            for host in each.hosts
        }
        if both := own & theirs:
            hosts = ", ".join(sorted(both))
            text = (
                f"port {server.port.number}, host {hosts} is served by Gateway "
                f"{other.namespace}/{other.name} as well"
            )
            yield Message(_CONFLICT, item, text, (*_SPEC, "servers", index, "hosts"))


def _host(text: str) -> str:
    """A host of a server with the namespace whose VirtualServices may use it."""
    namespace, slash, host = text.rpartition("/")
    return f"{namespace}/{host}".lower() if slash and namespace != "*" else host.lower()


def _certificates(server: Any) -> Iterator[tuple[str, str]]:
    """What a server identifies itself with: fields and what they name."""
    tls = server.tls
    for name in {tls.credential_name, *tls.credential_names} - {""}:
        yield "credentialName", str(name)
    for each in (tls, *tls.tls_certificates):
        if each.server_certificate:
            yield "serverCertificate", str(each.server_certificate)


def _duplicates(view: View) -> Iterator[Message]:
    """Browsers reuse connections for names of one certificate, and meet the wrong Gateway."""
    for item, others in _served_together(view.of(kinds.GATEWAY)):
        theirs: dict[tuple[str, str], set[str]] = defaultdict(set)
        for other in others:
            for server in other.body.servers:
                for certificate in _certificates(server):
                    theirs[certificate].add(f"{other.namespace}/{other.name}")
        for index, server in enumerate(item.body.servers):
            for certificate in sorted(_certificates(server)):
                if names := theirs.get(certificate):
                    shown = ", ".join(sorted(names))
                    text = f"certificate {certificate[1]!r} is that of Gateways {shown} as well"
                    at = (*_SPEC, "servers", index, "tls", certificate[0])
                    yield Message(_SAME_CERTIFICATE, item, text, at)


_ONLY_GATEWAYS = frozenset({kinds.GATEWAY})

ANALYZERS = (
    Analyzer(
        "gateway.selectors",
        "Gateways are served by workloads.",
        frozenset({_NOT_FOUND}),
        _ONLY_GATEWAYS | workloads.KINDS,
        _selectors,
    ),
    Analyzer(
        "gateway.ports",
        "Services lead to the ports of Gateways.",
        frozenset({_NO_PORT}),
        _ONLY_GATEWAYS | workloads.KINDS | services.KINDS,
        _ports,
    ),
    Analyzer(
        "gateway.conflicts",
        "One Gateway serves a port and host.",
        frozenset({_CONFLICT}),
        _ONLY_GATEWAYS,
        _conflicts,
    ),
    Analyzer(
        "gateway.certificates",
        "Gateways of one workload have certificates of their own.",
        frozenset({_SAME_CERTIFICATE}),
        _ONLY_GATEWAYS,
        _duplicates,
    ),
)
