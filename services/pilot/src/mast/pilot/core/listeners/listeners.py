"""Listeners of sidecars, as the view asks for them."""

from collections.abc import Sequence

from envoy.config.listener.v3.listener_pb2 import Listener

from mast.pilot.core.filters.extensions import NO_EXTENSIONS, Extensions
from mast.pilot.core.listeners import inbound_listeners, outbound_listeners
from mast.pilot.core.model.model import Target
from mast.pilot.core.model.proxy import Proxy
from mast.pilot.core.scope.scope import Scope


def outbound(
    scope: Scope, proxy: Proxy, extensions: Extensions = NO_EXTENSIONS
) -> Sequence[Listener]:
    """Outbound listeners, sorted by name (pilot.md E1 to E8)."""
    return outbound_listeners.outbound(scope, proxy, extensions)


def inbound(
    scope: Scope, proxy: Proxy, targets: Sequence[Target], extensions: Extensions = NO_EXTENSIONS
) -> Sequence[Listener]:
    """Inbound listeners of a sidecar that serves the targets, sorted by name (pilot.md E12)."""
    return inbound_listeners.inbound(scope, proxy, targets, extensions)
