"""Who may connect as which proxy, and what a connection may see (pilot.md A5)."""

from dataclasses import dataclass
from typing import Final

from mast.common.identity.spiffe import SpiffeId
from mast.pilot.core.model.proxy import Proxy
from mast.pilot.core.xds.resources import SDS

WITHHELD_IN_PLAINTEXT: Final = frozenset({SDS})
"""Types that never travel unencrypted."""


class NotAllowed(Exception):
    """The caller proved another identity than the one it claims."""


class Unauthenticated(Exception):
    """The caller proved no identity."""


class BadQuestion(Exception):
    """A parameter is missing or has a value that means nothing."""


class NotHere(Exception):
    """There is no such page, or no such proxy on this replica; says where it is, if known."""


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


PAGES_OF_OWN_PROXIES: Final = frozenset({"config_dump", "edsz", "ndsz"})
"""Debug pages that callers of other namespaces may see, of proxies of their own (B28)."""


@dataclass(frozen=True)
class Viewer:
    """Who looks at debug pages: somebody of a namespace, or (None) somebody who may see all."""

    namespace: str | None = None

    def check_page(self, page: str) -> None:
        """Raises `NotAllowed` if the page is for the system namespace only."""
        if self.namespace is not None and page not in PAGES_OF_OWN_PROXIES:
            allowed = ", ".join(sorted(PAGES_OF_OWN_PROXIES))
            raise NotAllowed(
                f"{page} is not for callers of namespace {self.namespace!r}: want one of {allowed}"
            )

    def check_proxy(self, namespace: str) -> None:
        """Raises `NotAllowed` if proxies of that namespace are none of the viewer's business."""
        if self.namespace not in (None, namespace):
            raise NotAllowed(
                f"proxies of namespace {namespace!r} are not for callers of namespace"
                f" {self.namespace!r}"
            )


def viewer(namespace: str, system_namespace: str) -> Viewer:
    """What somebody of a namespace may see: those of the system namespace all (B28)."""
    return Viewer() if namespace == system_namespace else Viewer(namespace)


CONTROL_PLANE_GENERATORS: Final = frozenset({"api", "event"})
"""What only control planes get: all configuration, and what happens to all proxies (B27)."""


def verify_generator(proxy: Proxy, identity: SpiffeId | None, system_namespace: str) -> None:
    """Raises `Unauthenticated` or `NotAllowed` unless the caller may have what it asks for."""
    if proxy.generator not in CONTROL_PLANE_GENERATORS:
        return
    if identity is None:
        raise Unauthenticated(f"GENERATOR {proxy.generator!r}: a client certificate is required")
    if identity.namespace != system_namespace:
        raise NotAllowed(
            f"GENERATOR {proxy.generator!r}: {identity} is not of the control plane, namespace"
            f" {system_namespace!r}"
        )
