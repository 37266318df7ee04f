"""The certificate of the port with mutual TLS is renewed while it is open."""

from __future__ import annotations

import asyncio
import ssl
from datetime import timedelta
from pathlib import Path

import grpc
from cryptography import x509

from mast.common.identity.ca_client import Certificate, KeyPair
from mast.common.identity.mutual_tls import mutual_tls
from mast.common.process.serving import Listen, serving
from tests.support.pki import Ca, wall_clock


def pair(ca: Ca, name: str) -> KeyPair:
    leaf = ca.leaf(dns=[name])
    certificate = Certificate((leaf.chain.decode(),), ca.pem.decode())
    return KeyPair(leaf.key, certificate, wall_clock(), wall_clock() + timedelta(hours=1))


async def presented(port: int, ca: Ca, directory: Path) -> str:
    """The name in the certificate that the server shows on a new connection."""
    client = ca.leaf(uris=["spiffe://cluster.local/ns/a/sa/b"])
    key, chain = directory / "key.pem", directory / "chain.pem"
    key.write_bytes(client.key)
    chain.write_bytes(client.chain)
    context = ssl.create_default_context(cadata=ca.pem.decode())
    context.check_hostname = False
    context.load_cert_chain(chain, key)
    context.set_alpn_protocols(["h2"])
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    try:
        der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    finally:
        writer.close()
    names = x509.load_der_x509_certificate(der).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    (name,) = names.value.get_values_for_type(x509.DNSName)
    return name


async def test_new_connections_see_the_renewed_certificate(tmp_path: Path) -> None:
    ca = Ca.root()
    current = [pair(ca, "first.example")]
    credentials: grpc.ServerCredentials = mutual_tls(lambda: current[0])
    async with (
        asyncio.timeout(20),
        serving(lambda _: None, [Listen("127.0.0.1:0", credentials)]) as running,
    ):
        (port,) = running.ports
        assert await presented(port, ca, tmp_path) == "first.example"
        assert await presented(port, ca, tmp_path) == "first.example"
        current[0] = pair(ca, "second.example")
        assert await presented(port, ca, tmp_path) == "second.example"
