"""Which security policies are about a workload, those of Istio 1.0 to 1.4 included."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from istio.security.v1beta1.authorization_policy_pb2 import AuthorizationPolicy
from mast.cli.explain.causes import Causes
from mast.cli.explain.site import Side
from mast.cli.explain.story import Cause
from mast.galley.core.problem import Path
from mast.pilot.core.model import collection_names
from mast.pilot.core.model.model import Config, Target, selects
from mast.pilot.core.scope.attachments import attached
from mast.pilot.core.scope.audience import own_targets
from mast.pilot.core.security.authorization.authorization import is_dry_run
from mast.pilot.core.security.authorization.policies import authorization_policies
from mast.pilot.core.security.legacy.policies import Held, Level, authentication_policies


def of_requests(side: Side, causes: Causes, port: int) -> Iterator[Cause]:
    """Policies about tokens and access: of the root and the own namespace, as they select.

    Roles of Istio 1.4 count only where no AuthorizationPolicy decides (pilot.md J7).
    """
    for each in side.scope.policies(collection_names.REQUEST_AUTHENTICATIONS):
        if attached(each, side.proxy):
            yield causes.of(each)
    held = _held(side, port)
    if held is not None and held.policy.origins:
        yield causes.of(held.config, ("spec", "origins"))
    newer = authorization_policies(side.scope, side.proxy)
    yield from map(causes.of, newer)
    if not any(map(_decides, newer)):
        yield from _roles(side, causes)


def of_connections(side: Side, causes: Causes, port: int) -> Iterator[Cause]:
    """Policies that decide about mutual TLS on a port, the most special first (J1, J8)."""
    kind = collection_names.PEER_AUTHENTICATIONS
    own = side.scope.configs(kind, side.proxy.namespace)
    selecting = next((each for each in own if _selects(each, side)), None)
    if selecting is not None:
        yield _mode(selecting, causes, port)
    held = _held(side, port)
    old = causes.of(held.config, ("spec", "peers")) if held is not None else None
    if old and held and held.level is Level.WORKLOAD and selecting is None:
        yield old
    root = side.scope.configs(kind, side.scope.mesh.root_namespace)
    for level, place in ((Level.NAMESPACE, own), (Level.MESH, root)):
        general = next((each for each in place if not each.spec.selector.match_labels), None)
        if general is not None:
            yield _mode(general, causes, port)
        elif old and held and held.level is level:
            yield old
        if side.proxy.namespace == side.scope.mesh.root_namespace:
            return


def _selects(config: Config[Any], side: Side) -> bool:
    wanted = config.spec.selector.match_labels
    in_root = side.proxy.namespace == side.scope.mesh.root_namespace
    return bool(wanted) and not in_root and selects(wanted, side.proxy.labels)


def _mode(config: Config[Any], causes: Causes, port: int) -> Cause:
    by_port = port in config.spec.port_level_mtls
    last: Path = ("portLevelMtls", str(port)) if by_port else ("mtls", "mode")
    return causes.of(config, ("spec", *last))


def _held(side: Side, port: int) -> Held | None:
    """The authentication Policy of Istio 1.4 for a port of the workload, if there is one."""
    target = _target(side, port)
    known = authentication_policies(side.scope, side.proxy.namespace)
    service, service_port = (target.service, target.port) if target else (None, None)
    return known.of(service, service_port, side.proxy.labels)


def _target(side: Side, port: int) -> Target | None:
    served = own_targets(side.proxy, side.scope, None)
    return next((each for each in served if each.target_port == port), None)


def _decides(config: Config[AuthorizationPolicy]) -> bool:
    return config.spec.action != AuthorizationPolicy.AUDIT and not is_dry_run(config)


def _roles(side: Side, causes: Causes) -> Iterator[Cause]:
    """What switches roles on, and the bindings of the workload's namespace."""
    switches = [
        *side.scope.configs(collection_names.CLUSTER_RBAC_CONFIGS, ""),
        *side.scope.visible(collection_names.RBAC_CONFIGS),
    ]
    if switches:
        yield causes.of(switches[0], ("spec", "mode"))
        bindings = collection_names.SERVICE_ROLE_BINDINGS
        yield from map(causes.of, side.scope.configs(bindings, side.proxy.namespace))
