"""What a proxy calls on its own account, apart from what its application does."""

from collections.abc import Iterable
from itertools import chain

from mast.pilot.core.model.model import Port, Service
from mast.pilot.core.model.proxy import Proxy
from mast.pilot.core.scope.scope import Scope
from mast.pilot.core.security.authorization.authorization import hidden_authorizers
from mast.pilot.core.telemetry.telemetry import hidden_collectors


def hidden_services(scope: Scope, proxy: Proxy) -> Iterable[tuple[Service, Port]]:
    """Service ports for telemetry and external authorization that its Sidecar leaves out."""
    found = chain(hidden_collectors(scope, proxy), hidden_authorizers(scope, proxy))
    return {(service.key, port.number): (service, port) for service, port in found}.values()
