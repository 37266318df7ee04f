"""A service's own certificate from Citadel, and mutual TLS with it on a gRPC port."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import grpc

from mast.common.ca_client import CaClient, KeyPair, WorkloadCertificates
from mast.common.spiffe import SpiffeId


def own_certificates(
    identity: SpiffeId,
    address: str,
    *,
    root_file: Path | None,
    token_file: Path | None,
    now: Callable[[], datetime],
) -> WorkloadCertificates:
    """Certificates for an identity from the CA at ``address``: run them to have one.

    The first request is authenticated by the token in its file, later ones also by the last
    certificate. Both files are read anew for each request. Without ``root_file`` the system's
    roots vouch for the CA.
    """

    def token() -> str | None:
        return token_file.read_text().strip() if token_file else None

    def root() -> bytes:
        return root_file.read_bytes() if root_file else b""

    def own() -> tuple[bytes, bytes] | None:
        pair = certificates.current
        return (pair.chain_pem, pair.key_pem) if pair else None

    client = CaClient(address=address, root_pem=root, token=token, client_cert=own, now=now)
    certificates = WorkloadCertificates(sign=client.sign, spiffe_id=str(identity), now=now)
    return certificates


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
