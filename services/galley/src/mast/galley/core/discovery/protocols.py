"""The protocol of a Service's port, by what the cluster says of it (D1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from mast.galley.core.discovery.objects import ServicePort

SNIFFED: Final = ""
_TCP: Final = "TCP"
_GRPC_WEB: Final = "grpc-web"
_SERVER_FIRST: Final = frozenset({25, 53, 3306, 27017})
_OF_KUBERNETES: Final[Mapping[str, str]] = {
    "kubernetes.io/h2c": "HTTP2",
    "kubernetes.io/ws": "HTTP",
    "kubernetes.io/wss": "HTTPS",
}
_NAMED: Final = frozenset(
    {"HTTP", "HTTP2", "HTTPS", "GRPC", "TLS", _TCP, "MONGO", "MYSQL", "REDIS", "UDP"}
)


def protocol(port: ServicePort) -> str:
    """Upper case name, ``SNIFFED`` if the proxy has to find out.

    UDP by transport; ``appProtocol`` where there is one, else the name of the port up to a dash, in
    any case; else the numbers of protocols whose server speaks first are TCP (D1).
    """
    if port.transport == "UDP":
        return "UDP"
    told = port.app_protocol or port.name
    if port.app_protocol and told in _OF_KUBERNETES:
        return _OF_KUBERNETES[told]
    if told.lower().startswith(_GRPC_WEB):
        return "GRPC_WEB"
    named = told.partition("-")[0].upper()
    if named in _NAMED:
        return named
    return _TCP if port.number in _SERVER_FIRST else SNIFFED
