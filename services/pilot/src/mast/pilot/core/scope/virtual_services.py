"""VirtualServices: names made complete, delegates joined, what they are bound to."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from istio.networking.v1alpha3.virtual_service_pb2 import (
    Destination,
    HTTPMatchRequest,
    L4MatchAttributes,
    TLSMatchAttributes,
    VirtualService,
)
from mast.pilot.core.model import hosts
from mast.pilot.core.model.model import Config, ConfigMeta
from mast.pilot.core.scope.delegates import joined
from mast.pilot.core.scope.matches import MESH_GATEWAY

SEMANTICS: Final = "internal.istio.io/route-semantics"
"""Annotation of VirtualServices made from Ingress ("ingress") or Gateway API ("gateway")."""


def for_sidecars(config: Config[VirtualService]) -> bool:
    """Bound to the gateway `mesh` (pilot.md F1)."""
    return MESH_GATEWAY in config.spec.gateways


def path_separated(meta: ConfigMeta) -> bool:
    """A uri prefix means whole path segments (pilot.md F)."""
    return meta.annotations.get(SEMANTICS) in ("gateway", "ingress")


def gateway_semantics(meta: ConfigMeta) -> bool:
    """A missing cluster is answered with 500 (pilot.md F)."""
    return meta.annotations.get(SEMANTICS) == "gateway"


def expanded(config: Config[VirtualService], domain: str) -> Config[VirtualService]:
    """A VirtualService with complete names, its delegates still apart (pilot.md F1).

    Hosts and destinations become full names under the mesh's DNS suffix `domain`, gateways
    "NAMESPACE/NAME" or "mesh", which is what none means; delegates get their namespace.
    """
    namespace = config.meta.namespace
    spec = VirtualService()
    spec.CopyFrom(config.spec)
    spec.hosts[:] = [hosts.expand(each, namespace, domain) for each in spec.hosts]
    spec.gateways[:] = _gateways(spec.gateways or [MESH_GATEWAY], namespace)
    for match in _matches(spec):
        match.gateways[:] = _gateways(match.gateways, namespace)
    for destination in destinations(spec):
        destination.host = hosts.expand(destination.host, namespace, domain)
    for route in spec.http:
        if route.HasField("delegate"):
            route.delegate.namespace = route.delegate.namespace or namespace
    return Config(config.meta, spec, config.visible_to)


def called_delegates(spec: VirtualService) -> frozenset[tuple[str, str]]:
    """Namespace and name of the delegates that an expanded VirtualService calls."""
    return frozenset(
        (each.delegate.namespace, each.delegate.name)
        for each in spec.http
        if each.HasField("delegate")
    )


def with_delegates(
    root: Config[VirtualService], delegates: Mapping[tuple[str, str], Config[VirtualService]]
) -> Config[VirtualService]:
    """An expanded VirtualService with its delegates' routes in place of the calls (pilot.md F5).

    `delegates` are expanded and keyed by namespace and name; one that has hosts of its own, or that
    the root's namespace may not see, counts as missing. Without calls the result is the root.
    """
    called = called_delegates(root.spec)
    if not called:
        return root
    visible = {
        key: delegates[key].spec
        for key in called & delegates.keys()
        if not delegates[key].spec.hosts and delegates[key].visible_to.includes(root.meta.namespace)
    }
    spec = VirtualService()
    spec.CopyFrom(root.spec)
    del spec.http[:]
    spec.http.extend(joined(root.spec.http, visible))
    return Config(root.meta, spec, root.visible_to)


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
