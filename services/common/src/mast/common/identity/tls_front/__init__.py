"""A TLS front before a gRPC server: client certificates that are optional, yet verified (A6).

grpcio either never asks for a client certificate or refuses callers without one. The front
terminates TLS itself and pipes the bytes to a gRPC server on a Unix socket. It binds its end of
every such connection to a path of its own, which the server sees as ``context.peer()``; the path
is the key under which :class:`PeerTable` keeps what the certificate proved.
Section numbers are those of citadel-and-agent.md.
"""

from mast.common.identity.tls_front.front import Limits, TlsFront, socket_front, tls_front
from mast.common.identity.tls_front.peers import Peer, PeerTable
from mast.common.identity.tls_front.trust import Material, PeerRefused, verified_identities

__all__ = [
    "Limits",
    "Material",
    "Peer",
    "PeerRefused",
    "PeerTable",
    "TlsFront",
    "socket_front",
    "tls_front",
    "verified_identities",
]
