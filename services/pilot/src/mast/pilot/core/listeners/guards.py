"""Security policies of one proxy at their places in its listeners (pilot.md E10, J)."""

from collections.abc import Sequence
from dataclasses import dataclass

from envoy.config.listener.v3.listener_components_pb2 import Filter
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (  # noqa: E501
    HttpFilter,
)

from mast.pilot.core.filters.extensions import Guard, Spot
from mast.pilot.core.model.model import Target
from mast.pilot.core.model.proxy import Proxy
from mast.pilot.core.scope.scope import Scope
from mast.pilot.core.security.ambiguity import single_reading
from mast.pilot.core.security.authentication.request_authentication import request_authentication
from mast.pilot.core.security.authorization.authorization import (
    NO_AUTHORIZATION,
    Authorization,
    authorization,
)
from mast.pilot.core.security.legacy.guards import (
    NO_LEGACY,
    LegacyGuards,
    PortGuards,
    legacy_guards,
)


@dataclass(frozen=True, kw_only=True)
class Guards:
    """What stands before a workload or gateway; equal for proxies before whom the same does."""

    authorization: Authorization = NO_AUTHORIZATION
    tokens: Sequence[HttpFilter] = ()
    legacy: LegacyGuards = NO_LEGACY
    reading: Sequence[HttpFilter] = ()

    def http(self, spot: Spot, guard: Guard) -> Sequence[HttpFilter]:
        """HTTP filters at a place."""
        match guard:
            case Guard.CUSTOM:
                return [*self._unambiguous(spot), *self.authorization.custom.http]
            case Guard.TOKENS:
                old = self._legacy(spot).tokens
                return self.tokens if old is None else old
            case Guard.RULES:
                return [*self.authorization.rules.http, *self._legacy(spot).http]

    def network(self, spot: Spot, guard: Guard) -> Sequence[Filter]:
        """Network filters at a place, for a chain that is proxied as TCP."""
        match guard:
            case Guard.CUSTOM:
                return self.authorization.custom.network
            case Guard.TOKENS:
                return ()
            case Guard.RULES:
                return [*self.authorization.rules.network, *self._legacy(spot).network]

    def _unambiguous(self, spot: Spot) -> Sequence[HttpFilter]:
        """What makes sure that rules mean the request that the application gets, if any hold."""
        looking = self.authorization.holds or self._legacy(spot).look_at_requests
        return self.reading if looking else ()

    def _legacy(self, spot: Spot) -> PortGuards:
        return self.legacy.at(spot.service, spot.service_port or spot.port)


def guards(scope: Scope, proxy: Proxy, served: Sequence[Target]) -> Guards:
    """What the security policies of the mesh put before a proxy that serves the targets."""
    return Guards(
        authorization=authorization(scope, proxy),
        tokens=request_authentication(scope, proxy),
        legacy=legacy_guards(scope, proxy, served),
        reading=[single_reading(scope.mesh)],
    )
