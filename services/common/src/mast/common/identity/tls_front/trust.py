"""What a front trusts and presents, and what a client certificate proves to it (A6).

Section numbers are those of citadel-and-agent.md.
"""

import asyncio
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from mast.common.identity.spiffe import trust_domain_of
from mast.common.identity.tls_pair import load_pair

log = structlog.get_logger()


@dataclass(frozen=True)
class Material:
    """The server's certificate chain and key, and the roots (PEM) of each trust domain.

    ``revoked`` are serial numbers of certificates that count no more.
    """

    cert_chain_pem: bytes
    key_pem: bytes
    trust: Mapping[str, bytes]
    revoked: frozenset[int] = frozenset()


class PeerRefused(Exception):
    """A client certificate that is valid in itself, but vouches for no identity here."""


def server_context(material: Material) -> ssl.SSLContext:
    """A context that asks for, but does not demand, a client certificate.

    Sessions are never resumed across contexts and tickets are off; the front makes one context per
    connection, since a resumed session would skip the verification against current roots.
    Raises ssl.SSLError (an OSError) if the PEM does not load.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_OPTIONAL
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION
    context.num_tickets = 0
    context.set_alpn_protocols(["h2"])
    for roots in material.trust.values():
        context.load_verify_locations(cadata=roots.decode())
    load_pair(context, material.cert_chain_pem, material.key_pem)
    return context


@dataclass
class Trust:
    """The material in force: the newest that loads."""

    source: Callable[[], Material]
    offered: Material | None = None
    current: Material = field(init=False)
    pools: Mapping[str, frozenset[bytes]] = field(init=False)

    def refresh(self) -> None:
        """Take up new material; raises ValueError or OSError if it does not load."""
        offered = self.source()
        if offered is self.offered:
            return
        self.offered = offered
        server_context(offered)
        self.pools = {domain: _ders(roots) for domain, roots in offered.trust.items()}
        self.current = offered

    def context(self) -> ssl.SSLContext:
        """A context for one connection, of new material if that loads."""
        try:
            self.refresh()
        except (OSError, ValueError) as error:
            log.error("tls_front.material_rejected", error=str(error))
        return server_context(self.current)

    def names(self, chain: list[bytes]) -> tuple[str, ...]:
        """What a verified chain proves by the material in force; see ``verified_names``."""
        return verified_names(chain, self.pools, self.current.revoked)


def _ders(roots_pem: bytes) -> frozenset[bytes]:
    return frozenset(
        root.public_bytes(Encoding.DER) for root in x509.load_pem_x509_certificates(roots_pem)
    )


_UNREADABLE = (
    ValueError,
    x509.InvalidVersion,
    x509.ExtensionNotFound,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)


def verified_identities(
    chain: list[bytes], pools: Mapping[str, frozenset[bytes]]
) -> tuple[str, ...]:
    """The one URI SAN of a verified chain (DER, leaf first, root last); () for no chain.

    Raises PeerRefused unless the leaf has exactly one URI SAN, it is a SPIFFE ID, and the root is
    in the pool of its trust domain (A6).
    """
    return verified_names(chain, pools)[:1]


def verified_names(
    chain: list[bytes],
    pools: Mapping[str, frozenset[bytes]],
    revoked: frozenset[int] = frozenset(),
) -> tuple[str, ...]:
    """All SANs of a verified chain, the one URI first; as ``verified_identities`` otherwise.

    Raises PeerRefused also if a certificate below the root is ``revoked``.
    """
    if not chain:
        return ()
    try:
        certificates = [x509.load_der_x509_certificate(each) for each in chain[:-1] or chain]
        names = (
            certificates[0].extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        )
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    except _UNREADABLE as error:
        raise PeerRefused(f"client certificate: no readable SAN: {error}") from error
    if len(uris) != 1:
        raise PeerRefused(f"client certificate: {len(uris)} URI SANs, want exactly one")
    try:
        domain = trust_domain_of(uris[0])
    except ValueError as error:
        raise PeerRefused(f"client certificate: {error}") from error
    if chain[-1] not in pools.get(domain, ()):
        raise PeerRefused(f"client certificate: {uris[0]} under a root of another trust domain")
    if any(each.serial_number in revoked for each in certificates):
        raise PeerRefused(f"client certificate: {uris[0]}, revoked")
    addresses = map(str, names.get_values_for_type(x509.IPAddress))
    return (uris[0], *names.get_values_for_type(x509.DNSName), *addresses)


def verified_chain(transport: asyncio.BaseTransport) -> list[bytes]:
    """The chain (DER) by which a TLS peer was verified; [] if it presented no certificate."""
    ssl_object = transport.get_extra_info("ssl_object")
    if ssl_object.getpeercert(binary_form=True) is None:
        return []
    # Public from Python 3.13 on, there as a list of DER.
    raw: Any = ssl_object._sslobj  # noqa: SLF001
    chain = raw.get_verified_chain()
    if not chain:
        raise PeerRefused("client certificate: no verified chain")
    return [certificate.public_bytes(ssl._ssl.ENCODING_DER) for certificate in chain]  # type: ignore[attr-defined]  # noqa: SLF001
