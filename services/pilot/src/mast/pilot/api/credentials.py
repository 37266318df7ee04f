"""What the TLS front shows and trusts, as the mesh's roots change."""

from collections.abc import Callable

from mast.common.ca_client import KeyPair
from mast.common.tls_front import Material
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
        self._made: tuple[KeyPair, object, Material] | None = None

    def __call__(self) -> Material:
        """The certificate in force and the roots that vouch for callers."""
        pair, bundles = self._current(), self._index().trust
        if self._made is None or self._made[0] is not pair or self._made[1] is not bundles:
            own = {self._trust_domain: pair.certificate.roots_pem.encode()}
            trusted = {**own, **trust.pools(bundles)}
            self._made = pair, bundles, Material(pair.chain_pem, pair.key_pem, trusted)
        return self._made[2]
