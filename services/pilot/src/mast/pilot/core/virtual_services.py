"""VirtualServices: names made complete, delegates joined, the right one for a host found."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from istio.networking.v1alpha3.virtual_service_pb2 import (
    Destination,
    HTTPMatchRequest,
    L4MatchAttributes,
    TLSMatchAttributes,
    VirtualService,
)
from mast.pilot.core import hosts
from mast.pilot.core.delegates import joined
from mast.pilot.core.matches import MESH_GATEWAY
from mast.pilot.core.mesh import Mesh
from mast.pilot.core.model import Age, Config, ConfigMeta, Visibility, visibility

SEMANTICS: Final = "internal.istio.io/route-semantics"
"""Annotation of VirtualServices made from Ingress ("ingress") or Gateway API ("gateway")."""


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Rules:
    """A VirtualService ready for use.

    In `spec` hosts and destinations are full names, gateways "NAMESPACE/NAME" or "mesh", and
    delegates stand where they are called. `delegates` names those that were looked for.
    """

    meta: ConfigMeta
    spec: VirtualService
    visible_to: Visibility
    delegates: frozenset[tuple[str, str]] = frozenset()

    @property
    def age(self) -> Age:
        """Sort key: oldest first (pilot.md D4)."""
        return self.meta.age

    @property
    def for_sidecars(self) -> bool:
        """Bound to the gateway `mesh` (pilot.md F1)."""
        return MESH_GATEWAY in self.spec.gateways

    @property
    def path_separated(self) -> bool:
        """A uri prefix means whole path segments (pilot.md F)."""
        return self.meta.annotations.get(SEMANTICS) in ("gateway", "ingress")

    @property
    def gateway_semantics(self) -> bool:
        """A missing cluster is answered with 500 (pilot.md F)."""
        return self.meta.annotations.get(SEMANTICS) == "gateway"


def ready(configs: Iterable[Config[VirtualService]], mesh: Mesh) -> tuple[Rules, ...]:
    """All VirtualServices that route anything, oldest first (pilot.md F1, F5).

    Those without hosts are delegates: they only appear inside of others, where their `exportTo`
    lets the namespace of the caller see them.
    """
    complete = sorted((expanded(each, mesh) for each in configs), key=lambda each: each.age)
    delegates = {
        (each.meta.namespace, each.meta.name): each for each in complete if not each.spec.hosts
    }
    return tuple(_with_delegates(each, delegates) for each in complete if each.spec.hosts)


def expanded(config: Config[VirtualService], mesh: Mesh) -> Rules:
    """A VirtualService with complete names, its delegates still apart (pilot.md F1)."""
    namespace = config.meta.namespace
    spec = VirtualService()
    spec.CopyFrom(config.spec)
    spec.hosts[:] = [hosts.expand(each, namespace, mesh.domain) for each in spec.hosts]
    spec.gateways[:] = _gateways(spec.gateways or [MESH_GATEWAY], namespace)
    for match in _matches(spec):
        match.gateways[:] = _gateways(match.gateways, namespace)
    for destination in destinations(spec):
        destination.host = hosts.expand(destination.host, namespace, mesh.domain)
    for route in spec.http:
        if route.HasField("delegate"):
            route.delegate.namespace = route.delegate.namespace or namespace
    return Rules(
        meta=config.meta,
        spec=spec,
        visible_to=visibility(
            spec.export_to, namespace, mesh.config.default_virtual_service_export_to
        ),
    )


def destinations(spec: VirtualService) -> Iterator[Destination]:
    """Every destination that a VirtualService may send traffic to, copies included."""
    for http in spec.http:
        yield from (each.destination for each in http.route)
        yield from (each.destination for each in http.mirrors)
        if http.HasField("mirror"):
            yield http.mirror
    for tcp in spec.tcp:
        yield from (each.destination for each in tcp.route)
    for tls in spec.tls:
        yield from (each.destination for each in tls.route)


def for_host(rules: Sequence[Rules], host: str) -> Rules | None:
    """The VirtualService of a service: the one with the most specific host that covers it.

    `rules` are those a proxy sees, oldest first; of equally specific ones the oldest wins (pilot.md
    F1).
    """
    best: Rules | None = None
    best_pattern: str | None = None
    for each in rules:
        pattern = hosts.most_specific(each.spec.hosts, host)
        if pattern is None:
            continue
        if best_pattern is None or hosts.specificity(pattern) > hosts.specificity(best_pattern):
            best, best_pattern = each, pattern
    return best


def _with_delegates(root: Rules, delegates: Mapping[tuple[str, str], Rules]) -> Rules:
    called = frozenset(
        (each.delegate.namespace, each.delegate.name)
        for each in root.spec.http
        if each.HasField("delegate")
    )
    if not called:
        return root
    visible = {
        key: delegates[key].spec
        for key in called & delegates.keys()
        if delegates[key].visible_to.includes(root.meta.namespace)
    }
    spec = VirtualService()
    spec.CopyFrom(root.spec)
    del spec.http[:]
    spec.http.extend(joined(root.spec.http, visible))
    return Rules(meta=root.meta, spec=spec, visible_to=root.visible_to, delegates=called)


def _matches(
    spec: VirtualService,
) -> Iterator[HTTPMatchRequest | L4MatchAttributes | TLSMatchAttributes]:
    for http in spec.http:
        yield from http.match
    for tcp in spec.tcp:
        yield from tcp.match
    for tls in spec.tls:
        yield from tls.match


def _gateways(names: Iterable[str], namespace: str) -> list[str]:
    return [_gateway(name, namespace) for name in names]


def _gateway(name: str, namespace: str) -> str:
    """`NAMESPACE/NAME` of a gateway that is named so, or by a short name, or [1.x] by its FQDN."""
    if name == MESH_GATEWAY:
        return name
    owner, slash, own = name.rpartition("/")
    if slash:
        return f"{namespace if owner == '.' else owner}/{own}"
    own, _, rest = name.partition(".")
    return f"{rest.partition('.')[0] or namespace}/{own}"
