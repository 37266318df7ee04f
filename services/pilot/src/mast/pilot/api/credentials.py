"""What the TLS front shows and trusts, as the mesh's roots change."""

from collections.abc import Callable

from mast.common.identity.ca_client import KeyPair
from mast.common.identity.tls_front import Material
from mast.pilot.core.model.index import Index
from mast.pilot.core.security import trust


class Credentials:
    """What the TLS front needs: the same object as long as certificate and roots are the same."""

    def __init__(
        self, trust_domain: str, current: Callable[[], KeyPair], index: Callable[[], Index]
    ) -> None:
        self._trust_domain = trust_domain
        self._current = current
        self._index = index
        self._made: tuple[tuple[object, ...], Material] | None = None

    def __call__(self) -> Material:
        """The certificate in force and the roots that vouch for callers."""
        pair, index = self._current(), self._index()
        of = (pair, index.trust, index.mesh)
        if self._made is None or any(a is not b for a, b in zip(of, self._made[0], strict=True)):
            domains = dict.fromkeys((self._trust_domain, *index.mesh.trust_domains))
            told = pair.certificate.roots_pem.encode()
            trusted = trust.own_pools(index.trust, tuple(domains), told)
            gone = trust.revoked(index.trust)
            self._made = of, Material(pair.chain_pem, pair.key_pem, trusted, gone)
        return self._made[1]
