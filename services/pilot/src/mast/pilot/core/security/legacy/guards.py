"""What kinds of Istio 1.0 to 1.4 put before the ports of one proxy, as one value (J7, J8)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final, NamedTuple

from envoy.config.listener.v3.listener_components_pb2 import Filter
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (  # noqa: E501
    HttpFilter,
)

from istio.authentication.v1alpha1.policy_pb2 import USE_PEER
from mast.pilot.core.model import collection_names
from mast.pilot.core.model.model import Service, ServiceKey, Target
from mast.pilot.core.model.proxy import Proxy, ProxyType
from mast.pilot.core.scope.scope import Scope
from mast.pilot.core.security.authorization.rules import Carrier
from mast.pilot.core.security.legacy.access_control import access_rules
from mast.pilot.core.security.legacy.destinations import destination
from mast.pilot.core.security.legacy.policies import Level, authentication_policies
from mast.pilot.core.security.legacy.precedence import is_silent, roles_are_off, tokens_level
from mast.pilot.core.security.legacy.tokens import token_filters
from mast.pilot.core.security.legacy.triggers import TRIGGERS_FILTER


class Where(NamedTuple):
    """A service port that a proxy serves; of routers its number alone."""

    service: ServiceKey | None
    port: int


@dataclass(frozen=True, kw_only=True, eq=False)
class PortGuards:
    """What stands before one port.

    `tokens` are None where RequestAuthentications say what is demanded of tokens.
    """

    tokens: Sequence[HttpFilter] | None = None
    http: Sequence[HttpFilter] = ()
    network: Sequence[Filter] = ()

    @property
    def look_at_requests(self) -> bool:
        """They depend on what exactly is asked for: on methods, on paths."""
        by_path = any(each.name == TRIGGERS_FILTER for each in self.tokens or ())
        return by_path or bool(self.http)

    @property
    def content(self) -> Iterator[bytes]:
        """What it holds, serialised: numbers of filters, and these."""
        yield b"" if self.tokens is None else b"tokens"
        for filters in (self.tokens or (), self.http, self.network):
            yield b"%d" % len(filters)
            yield from (each.SerializeToString(deterministic=True) for each in filters)


NOTHING: Final = PortGuards()


@dataclass(frozen=True, kw_only=True)
class LegacyGuards:
    """What stands before each port of a proxy; equal if all that it puts into listeners is."""

    digest: str = ""
    ports: Mapping[Where, PortGuards] = field(default_factory=dict, compare=False)

    def at(self, service: Service | None, service_port: int) -> PortGuards:
        """The guards of a service port; of a router the number alone tells which it is."""
        return self.ports.get(Where(service.key if service else None, service_port), NOTHING)


NO_LEGACY: Final = LegacyGuards()


def legacy_guards(scope: Scope, proxy: Proxy, served: Sequence[Target]) -> LegacyGuards:
    """What old policies put before the service ports that a proxy serves.

    Only services are guarded, not ports that none has. An AuthorizationPolicy that decides anything
    about a workload switches roles off there (pilot.md J7). Where a RequestAuthentication is as
    special as the Policy, or more, that one is silent about tokens (pilot.md J8).
    """
    if not _in_use(scope, proxy):
        return NO_LEGACY
    workshop = _Workshop(scope, proxy, roles_are_off(scope, proxy), tokens_level(scope, proxy))
    ports: dict[Where, PortGuards] = {}
    for each in sorted(served, key=lambda target: (target.service.age, target.port.number)):
        service = None if proxy.type is ProxyType.ROUTER else each.service.key
        where = Where(service, each.port.number)
        if where not in ports:
            ports[where] = workshop.guards(each)
    return LegacyGuards(digest=_digest(ports), ports=ports)


def _digest(ports: Mapping[Where, PortGuards]) -> str:
    digest = blake2b(digest_size=16)
    for where in sorted(ports, key=str):
        for part in (str(where).encode(), *ports[where].content):
            digest.update(b"%d:%b" % (len(part), part))
    return digest.hexdigest()


def _in_use(scope: Scope, proxy: Proxy) -> bool:
    """Whether there is anything of these kinds that could be about the proxy."""
    return bool(
        scope.configs(collection_names.CLUSTER_RBAC_CONFIGS, "")
        or scope.visible(collection_names.RBAC_CONFIGS)
        or scope.configs(collection_names.MESH_POLICIES, "")
        or scope.configs(collection_names.POLICIES, proxy.namespace)
    )


@dataclass(frozen=True)
class _Workshop:
    scope: Scope
    proxy: Proxy
    roles_are_off: bool
    tokens_level: Level | None

    def guards(self, target: Target) -> PortGuards:
        """The guards of one service port."""
        held = authentication_policies(self.scope, target.service.namespace).of(
            target.service, target.port, self.proxy.labels
        )
        tokens: Sequence[HttpFilter] | None = None
        bound_to_peer = False
        if held is not None and not is_silent(held, self.tokens_level):
            bound_to_peer = held.policy.principal_binding == USE_PEER
            if held.policy.origins:
                tokens = token_filters(self.scope, self.proxy, held.policy)
        if self.roles_are_off:
            return PortGuards(tokens=tokens)
        dialled = destination(target.service, self.proxy)
        requests = access_rules(self.scope, dialled, Carrier.HTTP, bound_to_peer=bound_to_peer)
        connections = access_rules(self.scope, dialled, Carrier.TCP)
        return PortGuards(
            tokens=tokens,
            http=[requests.http()] if requests is not None else (),
            network=[connections.network()] if connections is not None else (),
        )
