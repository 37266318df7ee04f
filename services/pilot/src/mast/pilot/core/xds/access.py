"""Who may connect as which proxy, and what a connection may see (pilot.md A5)."""

from typing import Final

from mast.common.spiffe import SpiffeId
from mast.pilot.core.model.proxy import Proxy
from mast.pilot.core.xds.resources import SDS

WITHHELD_IN_PLAINTEXT: Final = frozenset({SDS})
"""Types that never travel unencrypted."""


class NotAllowed(Exception):
    """The caller proved another identity than the one it claims."""


class Unauthenticated(Exception):
    """The caller proved no identity."""


def verify(proxy: Proxy, identities: tuple[str, ...]) -> SpiffeId:
    """The identity of a caller that speaks for that proxy.

    Its namespace must be the proxy's configuration namespace and its service account the one in
    the proxy's metadata, if there is one. Raises `NotAllowed`, or `Unauthenticated` if the caller
    presented no certificate.
    """
    if not identities:
        raise Unauthenticated(f"proxy {proxy.id!r}: a client certificate is required")
    try:
        found = [SpiffeId.parse(each) for each in identities]
    except ValueError as error:
        raise NotAllowed(f"proxy {proxy.id!r}: {error}") from error
    for identity in found:
        account = proxy.service_account or identity.service_account
        if (identity.namespace, identity.service_account) == (proxy.namespace, account):
            return identity
    presented = ", ".join(identities)
    claimed = f"namespace {proxy.namespace!r}, service account {proxy.service_account!r}"
    raise NotAllowed(f"proxy {proxy.id!r} claims {claimed}, but its certificate says {presented}")
