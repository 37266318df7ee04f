"""Gateways: the workloads that serve them, the Services that lead there, and each other."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mast.galley.core.analysis import kinds, services, workloads
from mast.galley.core.analysis.analysis import Analyzer
from mast.galley.core.analysis.services import SERVICES, Service
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
    running = view.fact(WORKLOADS)
    known: dict[str, list[Service]] = defaultdict(list)
    for service in view.fact(SERVICES).all:
        if service.selector:
            known[service.namespace].append(service)
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


def _reachable(pods: Iterable[Workload], known: Mapping[str, Iterable[Service]]) -> set[int]:
    """Numbers of ports of Services of pods, and of what they lead to; Services by namespace."""
    found: set[int] = set()
    for pod in pods:
        for service in known.get(pod.namespace, ()):
            if service.selector.items() <= pod.labels.items():
                found |= {port.number for port in service.ports}
                found |= {port.target for port in service.ports if isinstance(port.target, int)}
    return found


@dataclass(frozen=True, eq=False)
class _Claim:
    """What a server of a Gateway takes for itself, and which workloads serve it."""

    item: Item
    path: Path
    selector: frozenset[tuple[str, str]]

    def meets(self, other: _Claim) -> bool:
        """Whether another Gateway may be served by the same workloads."""
        return other.item is not self.item and (
            self.selector <= other.selector or other.selector <= self.selector
        )


def _others(claim: _Claim, claims: Iterable[_Claim]) -> str:
    """Names of the Gateways that claim the same, empty if there are none."""
    return ", ".join(
        sorted({f"{c.item.namespace}/{c.item.name}" for c in claims if claim.meets(c)})
    )


def _conflicts(view: View) -> Iterator[Message]:
    claims: dict[tuple[int, str, str], list[_Claim]] = defaultdict(list)
    for item in view.of(kinds.GATEWAY):
        selector = frozenset(item.body.selector.items())
        for index, server in enumerate(item.body.servers):
            for number, host in enumerate(server.hosts):
                claim = _Claim(item, (*_SPEC, "servers", index, "hosts", number), selector)
                claims[server.port.number, server.bind, _host(host)].append(claim)
    for (port, _, host), those in claims.items():
        for claim in those:
            if names := _others(claim, those):
                text = f"port {port}, host {host} is served by Gateway {names} as well"
                yield Message(_CONFLICT, claim.item, text, claim.path)


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
    claims: dict[tuple[str, str], list[_Claim]] = defaultdict(list)
    for item in view.of(kinds.GATEWAY):
        selector = frozenset(item.body.selector.items())
        for index, server in enumerate(item.body.servers):
            for certificate in sorted(_certificates(server)):
                path = (*_SPEC, "servers", index, "tls", certificate[0])
                claims[certificate].append(_Claim(item, path, selector))
    for (_, name), those in claims.items():
        for claim in those:
            if names := _others(claim, those):
                text = f"certificate {name!r} is that of Gateway {names} as well"
                yield Message(_SAME_CERTIFICATE, claim.item, text, claim.path)


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
