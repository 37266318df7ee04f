"""What a cluster would add to manifests that no cluster has seen yet.

Objects as people write them have Deployments and Services, but neither Pods nor addresses nor
EndpointSlices: the controllers of a cluster make these. Here every controller without a Pod gets
one, whatever lacks an address gets one of those set apart for tests (RFC 2544), and Services get
the slices that their selectors stand for. What the files say themselves stays as it is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from ipaddress import ip_address, ip_network
from typing import Final

from mast.galley.core.discovery.objects import (
    Backend,
    Item,
    Namespace,
    ObjectName,
    Pod,
    Readiness,
    Service,
    ServicePort,
    Slice,
    SliceId,
)
from mast.galley.core.discovery.workloads import TLS_MODE
from mast.galley.core.injection.decision import decision
from mast.galley.core.injection.settings import Settings, settings
from mast.galley.core.injection.webhooks import DEFAULT_REVISION, ENABLED, REVISION, webhook_of

SERVICE_ADDRESSES: Final = "198.18.0.0/16"
POD_ADDRESSES: Final = "198.19.0.0/16"


@dataclass(frozen=True)
class Template:
    """A controller with the Pod it would make; ``selector`` tells Pods that it already has."""

    pod: Pod
    selector: Mapping[str, str]


@dataclass
class Objects:
    """The objects of files: ``fresh`` are Pods and templates that no cluster has seen yet."""

    items: list[Item] = field(default_factory=list)
    templates: list[Template] = field(default_factory=list)
    fresh: set[ObjectName] = field(default_factory=set)


def completed(objects: Objects) -> Iterator[Item]:
    """The objects as a cluster would have them after a while."""
    items = objects.items
    pods = {each.id: each for each in items if isinstance(each, Pod)}
    services = {each.id: each for each in items if isinstance(each, Service)}
    slices = [each for each in items if isinstance(each, Slice)]
    namespaces = [each for each in items if isinstance(each, Namespace)]
    fresh = {name: pods[name] for name in sorted(objects.fresh)}
    for template in objects.templates:
        if not any(_selects(template.selector, template.pod, each) for each in pods.values()):
            fresh[template.pod.id] = template.pod
    pods |= _running(fresh.values(), pods.values(), namespaces)
    services |= _addressed(services.values())
    yield from (each for each in items if not isinstance(each, Pod | Service))
    yield from pods.values()
    yield from services.values()
    yield from _slices(services.values(), pods.values(), {each.service for each in slices})


def _selects(selector: Mapping[str, str], template: Pod, pod: Pod) -> bool:
    return pod.id.namespace == template.id.namespace and selector.items() <= pod.labels.items()


def _running(
    fresh: Iterable[Pod], pods: Iterable[Pod], namespaces: Iterable[Namespace]
) -> dict[ObjectName, Pod]:
    """Pods as they are once they run: ready, with an address and, where it is wanted, a sidecar."""
    labels = {each.id.name: each.labels for each in namespaces}
    free = _free(POD_ADDRESSES, (address for each in pods for address in each.addresses))
    found = {}
    for each in fresh:
        made = replace(each, addresses=(next(free),), readiness=Readiness.READY)
        if _is_injected(each, labels.get(each.id.namespace)):
            made = replace(made, labels={TLS_MODE: "istio", **each.labels})
        found[each.id] = made
    return found


def _is_injected(pod: Pod, namespace: Mapping[str, str] | None) -> bool:
    """As the injector decides (C1); a Namespace that is in no file is taken to inject."""
    labels = {ENABLED: "enabled"} if namespace is None else namespace
    revision = labels.get(REVISION) or pod.labels.get(REVISION) or DEFAULT_REVISION
    if not webhook_of(revision, labels, pod.labels):
        return False
    content = {
        "metadata": {"labels": pod.labels, "annotations": pod.annotations},
        "spec": {"hostNetwork": pod.on_host_network},
    }
    return decision(content, pod.id.namespace, _injector()).inject


@cache
def _injector() -> Settings:
    return settings()


def _addressed(services: Collection[Service]) -> dict[ObjectName, Service]:
    """Services with the virtual addresses that they lack."""
    free = _free(SERVICE_ADDRESSES, (address for each in services for address in each.addresses))
    return {
        each.id: replace(each, addresses=(next(free),))
        for each in sorted(services, key=lambda one: one.id)
        if not (each.addresses or each.headless or each.alias_of)
    }


def _free(network: str, taken: Iterable[str]) -> Iterator[str]:
    """Addresses of a network that nobody has, in order."""
    known = set(taken)
    return (text for each in ip_network(network).hosts() if (text := str(each)) not in known)


def _slices(
    services: Iterable[Service], pods: Collection[Pod], having: Collection[ObjectName]
) -> Iterator[Slice]:
    """What selectors of Services without any slice stand for."""
    for service in services:
        if service.selector and service.id not in having:
            selected = (
                pod
                for pod in sorted(pods, key=lambda one: one.id)
                if pod.id.namespace == service.id.namespace
                and service.selector.items() <= pod.labels.items()
                and not pod.finished
            )
            backends = [each for pod in selected for each in _backends(service, pod)]
            name = SliceId("EndpointSlice", *service.id)
            yield Slice(id=name, service=service.id, backends=tuple(backends))


def _backends(service: Service, pod: Pod) -> Iterator[Backend]:
    """A Pod behind a Service, by its addresses of the Service's families."""
    ports = tuple((each.name, number) for each in service.ports if (number := _number(each, pod)))
    families = {ip_address(each).version for each in service.addresses or pod.addresses[:1]}
    readiness = pod.readiness
    if service.publish_not_ready and readiness is Readiness.NOT_READY:
        readiness = Readiness.READY
    for address in pod.addresses:
        if ip_address(address).version in families and (ports or not service.ports):
            yield Backend(
                address=address, ports=ports, readiness=readiness, pod=pod.id, node=pod.node
            )


def _number(port: ServicePort, pod: Pod) -> int:
    """Which port of a Pod a port of a Service leads to; 0 if the Pod has none of that name."""
    if isinstance(port.target, str):
        return pod.ports.get(port.target, 0)
    return port.target or port.number
