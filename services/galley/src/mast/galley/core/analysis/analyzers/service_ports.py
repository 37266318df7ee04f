"""Ports of Services whose names do not tell what is spoken on them (D1)."""

from __future__ import annotations

from collections.abc import Iterator

from mast.galley.core.analysis import kinds, plain
from mast.galley.core.analysis.analysis import Analyzer
from mast.galley.core.analysis.mesh import SYSTEM_NAMESPACES
from mast.galley.core.analysis.services import Port, ports
from mast.galley.core.analysis.snapshot import Message, View

_UNTOLD = "IST0118"
_ALIAS = "IST0150"

_PROTOCOLS = frozenset(
    {"http", "http2", "https", "grpc", "tls", "tcp", "mongo", "mysql", "redis", "udp"}
)
_APPLICATION = {
    "kubernetes.io/h2c": "http2",
    "kubernetes.io/ws": "http",
    "kubernetes.io/wss": "https",
}
_WELL_KNOWN = frozenset({25, 53, 3306, 27017})
"""Ports where servers speak first: TCP, whatever they are called."""


def protocol(port: Port) -> str:
    """What is spoken on a port as far as the Service tells, empty if it does not."""
    if port.protocol == "UDP":
        return "udp"
    named = port.application.lower() or port.name.lower()
    named = _APPLICATION.get(named, named)
    if named.startswith("grpc-web"):
        return "grpc-web"
    first = named.partition("-")[0]
    if first in _PROTOCOLS:
        return first
    return "tcp" if port.number in _WELL_KNOWN else ""


def _names(view: View) -> Iterator[Message]:
    for item in view.of(kinds.SERVICE):
        if item.namespace in SYSTEM_NAMESPACES:
            continue
        is_alias = plain.text(item.body, "spec", "type") == "ExternalName"
        for port in ports(item):
            told = protocol(port)
            name = repr(port.name) if port.name else "without a name"
            if is_alias and told in {"", "tcp"}:
                text = (
                    f"port {port.number} ({name}) of a Service of type ExternalName takes all TCP "
                    "traffic on its number; name it for its protocol, such as https-web"
                )
                yield Message(_ALIAS, item, text, port.at)
            elif not told and not is_alias:
                text = (
                    f"port {port.number} ({name}) does not tell its protocol, so proxies look at "
                    "the first bytes; call it for example http-web, or set appProtocol"
                )
                yield Message(_UNTOLD, item, text, port.at)


ANALYZERS = (
    Analyzer(
        "service.ports",
        "Ports of Services tell their protocols.",
        frozenset({_UNTOLD, _ALIAS}),
        frozenset({kinds.SERVICE}),
        _names,
    ),
)
