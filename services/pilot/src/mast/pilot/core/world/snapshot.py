"""The mesh at one revision: immutable; gives every proxy the view of its class."""

from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from mast.pilot.core.filters.extensions import ExtensionsOf
from mast.pilot.core.gateway_api.status import Translation
from mast.pilot.core.model.finding import Finding
from mast.pilot.core.model.index import Index
from mast.pilot.core.model.proxy import Proxy
from mast.pilot.core.patches.patch import PatchName
from mast.pilot.core.patches.selection import selected
from mast.pilot.core.review.review import REVIEWS, Review
from mast.pilot.core.scope.audience import Audience, audience_of
from mast.pilot.core.scope.memo import Memo, Reads
from mast.pilot.core.scope.scope import Scope
from mast.pilot.core.world.config_view import ConfigView
from mast.pilot.core.world.originals import Originals
from mast.pilot.core.world.patched_view import PatchedView
from mast.pilot.core.world.proxyless_view import ProxylessView
from mast.pilot.core.world.view import MeshView

WorkloadView = MeshView | PatchedView | ProxylessView
"""What proxies get, or gRPC libraries."""


@dataclass(frozen=True)
class MeshSnapshot:
    """An index, and the results that it shares with the snapshots before and after.

    `revision` is that of the store up to which changes are in it. What views generate, they
    generate when asked, on the thread of the world. `translation` is what has become of the objects
    of Gateway API and Ingress.
    """

    revision: int
    index: Index
    results: Memo = field(repr=False)
    originals: Originals = field(repr=False)
    extensions: ExtensionsOf = field(repr=False)
    translation: Translation = field(default_factory=Translation, repr=False)
    views: dict[Hashable, WorkloadView] = field(default_factory=dict, repr=False)

    def view(self, proxy: Proxy) -> WorkloadView:
        """The view of a proxy: the same object for all proxies of a class with equal patches."""
        audience, patches = self.results.get(
            ("audience", proxy),
            self.index.generation,
            None,
            lambda reads: self._audience(proxy, self.scope(proxy.namespace, reads)),
        )
        view = self.views.get((audience.key, patches))
        if view is None:
            view = self.views[audience.key, patches] = self._view(audience, patches)
        return view

    def _view(self, audience: Audience, patches: tuple[PatchName, ...]) -> WorkloadView:
        view = MeshView(audience, self.index, self.results, self.originals, self.extensions)
        if audience.proxy.proxyless:
            return ProxylessView(view)
        return PatchedView(view, patches) if patches else view

    def configuration(self) -> ConfigView:
        """All configuration objects, for other control planes (pilot.md B27)."""
        return ConfigView(self.index, self.results, self.originals)

    def review(self) -> Iterator[Callable[[], None]]:
        """Steps by which it is found out what is wrong with objects; see `Review`."""
        return Review(self.index, self.results).steps()

    def findings(self, proxies: Iterable[Proxy] = ()) -> frozenset[Finding]:
        """What is wrong with what was generated for proxies, and with reviewed objects (N10)."""
        owners: set[Hashable] = set()
        for proxy in proxies:
            view = self.view(proxy)
            audience = view.audience
            owners |= {proxy, view.key, proxy.namespace}
            owners |= {audience.key, audience.caller_key, audience.neighbour_key}

        def concerns(key: Any) -> bool:
            return key[0] in REVIEWS or not owners.isdisjoint(key[1:])

        return self.results.findings(concerns)

    def scope(self, namespace: str, reads: Reads | None = None) -> Scope:
        """What a namespace sees without regard to Sidecars."""
        noted = Reads() if reads is None else reads
        return Scope(self.index, self.results, noted, namespace)

    @staticmethod
    def _audience(proxy: Proxy, scope: Scope) -> tuple[Audience, tuple[PatchName, ...]]:
        return audience_of(proxy, scope, scope.selector_keys), selected(proxy, scope)
