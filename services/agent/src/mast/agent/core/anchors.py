"""Who vouches for which trust domain, from what the mesh says and what came with certificates.

Section numbers are those of citadel-and-agent.md. With several trust domains Envoy's SPIFFE
validator keeps their roots apart: a certificate is verified by the roots of the domain that stands
in its SAN, so that no CA can vouch for identities of another mesh.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from envoy.config.core.v3.base_pb2 import DataSource
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.extensions.transport_sockets.tls.v3.common_pb2 import CertificateValidationContext
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from envoy.extensions.transport_sockets.tls.v3.tls_spiffe_validator_config_pb2 import (
    SPIFFECertValidatorConfig,
)

from mast.agent.core import secrets
from mast.agent.core.messages import packed
from mastapi.trust.v1.trust_pb2 import Root, TrustBundle

VALIDATOR: Final = "envoy.tls.cert_validator.spiffe"

_CRL: Final = re.compile(rb"-----BEGIN X509 CRL-----.*?-----END X509 CRL-----", re.DOTALL)


@dataclass(frozen=True)
class Anchors:
    """What is trusted at one time. ``domain`` is the workload's own trust domain.

    ``bundles`` are the mesh's, by trust domain; ``configured`` are roots, PEM, that the operator
    trusts beside our own domain's. While the mesh says nothing of our own domain, ``told`` are its
    roots: those that came with the certificate, or with ProxyConfig. After that they only count if
    they came later (``later``): a root that the mesh has dropped must not come back.
    """

    domain: str
    bundles: Mapping[str, TrustBundle] = field(default_factory=dict)
    configured: Sequence[bytes] = ()
    told: Sequence[bytes] = ()
    later: Sequence[bytes] = ()

    @property
    def roots(self) -> bytes:
        """The roots of our own trust domain, each once, sorted, PEM (A8.3)."""
        own = self.bundles.get(self.domain)
        known = self.told if own is None else [*_roots(own), *self.later]
        return secrets.bundle([*known, *self.configured])

    @property
    def revocations(self) -> bytes:
        """Revocation lists of our own trust domain, PEM."""
        own = self.bundles.get(self.domain)
        return own.crl_pem.encode() if own is not None else b""

    @property
    def tainted(self) -> Sequence[str]:
        """Roots, PEM, whose certificates have to be replaced at once."""
        own = self.bundles.get(self.domain)
        return [each.pem for each in own.roots if each.state == Root.TAINTED] if own else ()

    def pools(self) -> Mapping[str, bytes]:
        """Roots by trust domain, PEM; our own roots also where they vouch for an alias."""
        own = self.bundles.get(self.domain)
        ours = {each.pem for each in own.roots} if own is not None else set()
        found = {self.domain: self.roots}
        for name, bundle in sorted(self.bundles.items()):
            alias = {each.pem for each in bundle.roots} == ours
            if name != self.domain and bundle.roots:
                found[name] = self.roots if alias else secrets.bundle(_roots(bundle))
        return found


def _roots(bundle: TrustBundle) -> Iterable[bytes]:
    return (each.pem.encode() for each in bundle.roots)


def validation(name: str, anchors: Anchors, revoked: bytes) -> Secret:
    """The secret that verifies peers, with the revocations of a file beside the mesh's (B3.5).

    One pool of roots needs no more than Envoy's own validator.
    """
    pools = anchors.pools()
    lists = revocation_lists([anchors.revocations, revoked])
    if len(set(pools.values())) == 1:
        return secrets.validation(name, anchors.roots, lists)
    config = SPIFFECertValidatorConfig()
    for domain, roots in pools.items():
        own = roots == anchors.roots
        trusted = roots + lists if own else roots
        config.trust_domains.add(name=domain, trust_bundle=DataSource(inline_bytes=trusted))
    validator = TypedExtensionConfig(name=VALIDATOR, typed_config=packed(config))
    context = CertificateValidationContext(custom_validator_config=validator)
    return Secret(name=name, validation_context=context)


def revocation_lists(sources: Iterable[bytes]) -> bytes:
    """The revocation lists of several PEM texts, each once."""
    found = dict.fromkeys(block for text in sources for block in _CRL.findall(text))
    return b"".join(block + b"\n" for block in found)


def is_issued_by(chain: bytes, roots: Iterable[str]) -> bool:
    """Whether one of the roots, PEM, issued the last certificate of a chain (leaf first)."""
    last = x509.load_pem_x509_certificates(chain)[-1]
    return any(_issued(last, x509.load_pem_x509_certificate(root.encode())) for root in roots)


def _issued(certificate: x509.Certificate, root: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(root)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True
