"""Filter chains of one inbound port: what reaches HTTP, what TCP, by mutual TLS mode (E12)."""

from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from envoy.config.core.v3.base_pb2 import TransportSocket
from envoy.config.listener.v3.listener_components_pb2 import Filter

from mast.pilot.core.model.model import Protocol
from mast.pilot.core.names import ISTIO, ISTIO_HTTP_ALPNS, PEER_EXCHANGE
from mast.pilot.core.ports.filter_chains import PLAIN_HTTP, RAW, TLS, Chain
from mast.pilot.core.security.peer_authentication import Mode

ISTIO_ALPNS: Final = (ISTIO, PEER_EXCHANGE, *ISTIO_HTTP_ALPNS)
"""What a sidecar offers and nobody else does (pilot.md C1)."""

GRPC_ALPN: Final = "h2"
"""What gRPC libraries offer that take part in the mesh without a proxy (pilot.md B29).

Differs from Istio: where no proxy would take it otherwise, TLS with it is mutual TLS of the mesh.
"""

_TCP_ALPNS: Final = (PEER_EXCHANGE, ISTIO)


class Kind(Enum):
    """What a port carries, as far as filter chains are concerned."""

    HTTP = "HTTP"
    TCP = "TCP"
    AUTO = "AUTO"

    @classmethod
    def of(cls, protocol: Protocol) -> "Kind":
        """The kind of a protocol; TLS that is not the mesh's own is TCP."""
        if protocol is Protocol.AUTO:
            return cls.AUTO
        return cls.HTTP if protocol.is_http else cls.TCP


@dataclass(frozen=True, kw_only=True)
class Ends:
    """Filters and server TLS of the HTTP and the TCP chains of a port.

    `port` is 0 for chains that take every port.
    """

    port: int
    http_name: str
    tcp_name: str
    http: tuple[Filter, ...]
    tcp: tuple[Filter, ...]
    http_tls: TransportSocket
    tcp_tls: TransportSocket


def inbound_chains(kind: Kind, mode: Mode, ends: Ends) -> list[Chain]:
    """The chains of a port; the table of pilot.md E12.

    A port that has a chain at all has one for each combination of transport and ALPN it serves:
    Envoy does not look further once it has found the port.
    """
    http = Chain(name=ends.http_name, filters=ends.http, port=ends.port)
    tcp = Chain(name=ends.tcp_name, filters=ends.tcp, port=ends.port)
    secure_http = replace(http, transport=TLS, transport_socket=ends.http_tls)
    secure_tcp = replace(tcp, transport=TLS, transport_socket=ends.tcp_tls)
    plain_http = replace(http, transport=RAW)
    plain_tcp = replace(tcp, transport=RAW)
    foreign_tls = replace(tcp, transport=TLS)
    return list(
        {
            (Kind.HTTP, Mode.STRICT): (secure_http,),
            (Kind.AUTO, Mode.STRICT): (
                replace(secure_http, alpns=ISTIO_HTTP_ALPNS),
                secure_tcp,
            ),
            (Kind.TCP, Mode.STRICT): (secure_tcp,),
            (Kind.HTTP, Mode.PERMISSIVE): (
                replace(secure_http, alpns=(*ISTIO_ALPNS, GRPC_ALPN)),
                plain_http,
            ),
            (Kind.AUTO, Mode.PERMISSIVE): (
                replace(secure_http, alpns=ISTIO_HTTP_ALPNS),
                replace(plain_http, alpns=PLAIN_HTTP),
                replace(secure_tcp, alpns=_TCP_ALPNS),
                plain_tcp,
                foreign_tls,
            ),
            (Kind.TCP, Mode.PERMISSIVE): (
                replace(secure_tcp, alpns=ISTIO_ALPNS),
                foreign_tls,
                plain_tcp,
            ),
            (Kind.HTTP, Mode.DISABLE): (http,),
            (Kind.AUTO, Mode.DISABLE): (
                replace(plain_http, alpns=PLAIN_HTTP),
                plain_tcp,
                foreign_tls,
            ),
            (Kind.TCP, Mode.DISABLE): (tcp,),
        }[kind, mode]
    )
