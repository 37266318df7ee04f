"""Which roots vouch for callers: the pools that the TLS front verifies client certificates with."""

from collections.abc import Mapping
from types import MappingProxyType

from mastapi.trust.v1.trust_pb2 import Root, TrustBundle


def pools(bundles: Mapping[str, TrustBundle]) -> Mapping[str, bytes]:
    """Roots as PEM by trust domain; tainted ones are left out (citadel-and-agent.md A8)."""
    trusted = {
        domain: b"".join(
            root.pem.strip().encode() + b"\n" for root in bundle.roots if root.state != Root.TAINTED
        )
        for domain, bundle in bundles.items()
    }
    return MappingProxyType({domain: roots for domain, roots in trusted.items() if roots})
