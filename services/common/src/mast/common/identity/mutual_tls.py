"""Mutual TLS on a gRPC port with a certificate that is renewed while the port is open."""

from __future__ import annotations

from collections.abc import Callable

import grpc

from mast.common.identity.ca_client import KeyPair


def mutual_tls(
    current: Callable[[], KeyPair], mesh_roots: Callable[[], bytes] = lambda: b""
) -> grpc.ServerCredentials:
    """Server credentials that demand a client certificate of the mesh's roots.

    These are ``mesh_roots``, or what came with the certificate while there are none. Both are
    asked at every handshake, from other threads: what is renewed counts for new connections at
    once.
    """
    seen = current(), mesh_roots()

    def renewed() -> grpc.ServerCertificateConfiguration | None:
        nonlocal seen
        now = current(), mesh_roots()
        if now[0] is seen[0] and now[1] == seen[1]:
            return None
        seen = now
        return _configuration(*now)

    return grpc.dynamic_ssl_server_credentials(
        _configuration(*seen),
        # None means unchanged, which the stubs do not know.
        renewed,  # type: ignore[arg-type]
        require_client_authentication=True,
    )


def _configuration(pair: KeyPair, mesh_roots: bytes) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(pair.key_pem, pair.chain_pem)], mesh_roots or pair.certificate.roots_pem.encode()
    )
