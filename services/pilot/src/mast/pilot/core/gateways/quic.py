"""HTTP/3 of gateways: the same servers once more, over UDP (pilot.md I6)."""

from typing import Final

from istio.networking.v1alpha3.gateway_pb2 import ServerTLSSettings
from mast.pilot.core.gateways.servers import RouterServer
from mast.pilot.core.model.mesh import Mesh

ADVERTISEMENT: Final = 'h3=":{port}"; ma=86400'
"""Header `alt-svc` by which clients learn of it."""


def offers_quic(mesh: Mesh, server: RouterServer) -> bool:
    """An HTTPS server whose clients need no certificate, if the mesh has HTTP/3 switched on."""
    return mesh.quic and server.ends_https and server.server.tls.mode == ServerTLSSettings.SIMPLE
