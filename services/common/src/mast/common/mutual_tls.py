"""Mutual TLS on a gRPC port with a certificate that is renewed while the port is open."""

from __future__ import annotations

from collections.abc import Callable

import grpc

from mast.common.ca_client import KeyPair


def mutual_tls(current: Callable[[], KeyPair]) -> grpc.ServerCredentials:
    """Server credentials that demand a client certificate of the same roots.

    ``current`` is asked at every handshake, from other threads: a renewed certificate counts for
    new connections at once.
    """
    seen = current()

    def renewed() -> grpc.ServerCertificateConfiguration | None:
        nonlocal seen
        pair = current()
        if pair is seen:
            return None
        seen = pair
        return _configuration(pair)

    return grpc.dynamic_ssl_server_credentials(
        _configuration(seen),
        # None means unchanged, which the stubs do not know.
        renewed,  # type: ignore[arg-type]
        require_client_authentication=True,
    )


def _configuration(pair: KeyPair) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(pair.key_pem, pair.chain_pem)], pair.certificate.roots_pem.encode()
    )
