"""Services of a cluster as canonical ones (D1)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from ipaddress import ip_address
from types import MappingProxyType
from typing import Final

from mast.common import keys
from mast.galley.core.discovery.objects import ClusterNode, ObjectName, Service
from mast.galley.core.discovery.places import NETWORK
from mast.galley.core.discovery.protocols import protocol
from mast.galley.core.discovery.settings import Settings
from mastapi.registry.v1 import registry_pb2 as registry

REGISTRY: Final = "Kubernetes"
PERSISTENT_SESSION: Final = frozenset(
    {"istio.io/persistent-session", "istio.io/persistent-session-header"}
)
"""Labels of a Service whose clients stick to an endpoint while it drains (D2.1)."""
_DISTRIBUTION: Final = "networking.istio.io/traffic-distribution"
_GATEWAY_PORT: Final = "networking.istio.io/gatewayPort"
_CROSS_NETWORK_PORT: Final = 15443
NOTHING: Final[Mapping[str, Sequence[str]]] = MappingProxyType({})


def host(id_: ObjectName, settings: Settings) -> str:
    """Host name of a Service: ``name.namespace.svc.domain``."""
    return f"{id_.name}.{id_.namespace}.svc.{settings.domain}"


def service_key(id_: ObjectName, settings: Settings) -> str:
    """Where a Service is stored."""
    return keys.service_key(id_.namespace, host(id_, settings), settings.cluster)


def gateway_names(service: Service | None) -> Set[str]:
    """Names by which a gateway of a network is reached: proxies dial addresses only."""
    if service is None or NETWORK not in service.labels:
        return frozenset()
    return frozenset(each for each in service.external_addresses if not _is_address(each))


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def canonical_service(
    service: Service,
    settings: Settings,
    nodes: Iterable[ClusterNode] = (),
    resolved: Mapping[str, Sequence[str]] = NOTHING,
) -> registry.Service:
    """A Service in the mesh's terms.

    ExternalName is an alias, a headless Service passes callers through. ``nodes`` are those of the
    cluster, if the Service wants to be reached by their addresses; ``resolved`` are addresses of
    names that lead to gateways.
    """
    outside = (
        address for each in service.external_addresses for address in resolved.get(each, (each,))
    )
    made = registry.Service(
        host=host(service.id, settings),
        namespace=service.id.namespace,
        name=service.id.name,
        addresses=service.addresses,
        ports=_ports(service),
        resolution=_resolution(service),
        registry=REGISTRY,
        cluster=settings.cluster,
        labels=service.labels,
        annotations=_annotations(service),
        selector=service.selector,
        alias_of=service.alias_of,
        headless=service.headless and not service.alias_of,
        publish_not_ready=service.publish_not_ready,
        node_local=service.node_local,
        external_addresses=tuple(dict.fromkeys((*outside, *_of(nodes, service)))),
    )
    if service.alias_of:
        made.location = registry.LOCATION_MESH_EXTERNAL
    if service.created is not None:
        made.create_time.FromDatetime(service.created)
    return made


def drains(service: Service) -> bool:
    """Whether its endpoints finish what they have while they end (D2.1)."""
    return not PERSISTENT_SESSION.isdisjoint(service.labels)


def _resolution(service: Service) -> registry.Resolution.ValueType:
    if service.alias_of:
        return registry.RESOLUTION_ALIAS
    return registry.RESOLUTION_PASSTHROUGH if service.headless else registry.RESOLUTION_STATIC


def _ports(service: Service) -> Iterator[registry.Port]:
    """A target by name is a different number on every Pod: the endpoints tell it."""
    for each in service.ports:
        yield registry.Port(
            name=each.name,
            number=each.number,
            target_port=each.target if isinstance(each.target, int) else 0,
            protocol=protocol(each),
        )


def _annotations(service: Service) -> Mapping[str, str]:
    """Also what the mesh reads of annotations and Kubernetes has fields for."""
    found = dict(service.annotations)
    if service.traffic_distribution:
        found[_DISTRIBUTION] = service.traffic_distribution
    if service.node_selector is not None and (number := _node_port(service)):
        found[_GATEWAY_PORT] = str(number)
    return found


def _node_port(service: Service) -> int:
    """Which port of a Node leads to the port for other networks; 0 if none does."""
    told = service.labels.get(_GATEWAY_PORT) or service.annotations.get(_GATEWAY_PORT, "")
    wanted = int(told) if told.isdecimal() else _CROSS_NETWORK_PORT
    return next((each.node_port for each in service.ports if each.number == wanted), 0)


def _of(nodes: Iterable[ClusterNode], service: Service) -> Iterator[str]:
    """Addresses of the Nodes that a NodePort Service is reached by."""
    if service.node_selector is None:
        return
    wanted = service.node_selector.items()
    for node in nodes:
        if wanted <= node.labels.items():
            yield from node.addresses
