"""Which roots vouch for callers: the pools that the TLS front verifies client certificates with."""

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from cryptography import x509

from mastapi.trust.v1.trust_pb2 import TrustBundle

_CRL: Final = re.compile(rb"-----BEGIN X509 CRL-----.*?-----END X509 CRL-----", re.DOTALL)


def pools(bundles: Mapping[str, TrustBundle]) -> Mapping[str, bytes]:
    """Roots as PEM by trust domain (citadel-and-agent.md A8)."""
    trusted = {
        domain: b"".join(root.pem.strip().encode() + b"\n" for root in bundle.roots)
        for domain, bundle in bundles.items()
    }
    return MappingProxyType({domain: roots for domain, roots in trusted.items() if roots})


def revoked(bundles: Mapping[str, TrustBundle]) -> frozenset[int]:
    """Serial numbers on revocation lists; a bundle whose lists cannot be read has none."""
    found: set[int] = set()
    for bundle in bundles.values():
        for block in _CRL.findall(bundle.crl_pem.encode()):
            try:
                found.update(each.serial_number for each in x509.load_pem_x509_crl(block))
            except ValueError:
                continue
    return frozenset(found)


def own_pools(
    bundles: Mapping[str, TrustBundle], domains: Sequence[str], told: bytes
) -> Mapping[str, bytes]:
    """Roots by trust domain of those who may speak to us: our own, and its aliases.

    ``domains`` begin with our own. An alias with a bundle of its own is another mesh, whose
    proxies are none of ours. Until there is a bundle the roots count that we were ``told``.
    """
    own, *aliases = domains
    roots = pools(bundles).get(own, told)
    return {own: roots} | {alias: roots for alias in aliases if alias not in bundles}
