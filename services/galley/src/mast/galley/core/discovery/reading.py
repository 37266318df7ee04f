"""Objects of Kubernetes, as the API writes them, into what service discovery knows of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from mast.galley.core.discovery.fields import Fields
from mast.galley.core.discovery.objects import (
    Backend,
    ClusterNode,
    Item,
    Namespace,
    ObjectName,
    Owner,
    Pod,
    Readiness,
    Service,
    ServicePort,
    Slice,
    SliceId,
)
from mast.galley.core.problem import Finding, Severity

SERVICE_NAME: Final = "kubernetes.io/service-name"
"""Label of an EndpointSlice: the Service it belongs to."""
_MULTI_CLUSTER_SERVICE: Final = "multicluster.kubernetes.io/service-name"
_LEADER: Final = "control-plane.alpha.kubernetes.io/leader"
_NODE_SELECTOR: Final = "traffic.istio.io/nodeSelector"
_LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"
_HOSTNAME: Final = "kubernetes.io/hostname"
_TRANSPORTS: Final = ("TCP", "UDP", "SCTP")


class Read(NamedTuple):
    """An object, None if it is of no interest or broken, and what is wrong with it.

    An object with an error is broken; warnings do not matter that much.
    """

    item: Item | None
    findings: tuple[Finding, ...] = ()

    @property
    def is_broken(self) -> bool:
        """It cannot be understood: what was known of it before goes on to hold."""
        return any(each.severity is Severity.ERROR for each in self.findings)


def is_read(api_version: str, kind: str) -> bool:
    """Whether service discovery reads objects of a kind."""
    return (api_version, kind) in _READERS


def read(content: Mapping[str, Any]) -> Read:
    """An object of one of the kinds that ``is_read`` knows; KeyError for others.

    Every field that is read must have the type that Kubernetes gives it, and every address and
    port be one: all that is wrong is told at once.
    """
    reader = _READERS[content["apiVersion"], content["kind"]]
    findings: list[Finding] = []
    fields = Fields(content, findings)
    fields.child("metadata").required("name")
    item = reader(fields)
    found = Read(item, tuple(dict.fromkeys(findings)))
    return Read(None, found.findings) if found.is_broken else found


def identity(content: Mapping[str, Any]) -> ObjectName:
    """Namespace and name of any object."""
    metadata = Fields(content, []).child("metadata")
    return ObjectName(metadata.text("namespace"), metadata.text("name"))


def _id(fields: Fields) -> ObjectName:
    metadata = fields.child("metadata")
    return ObjectName(metadata.shared("namespace"), metadata.text("name"))


def _annotations(metadata: Fields) -> Mapping[str, str]:
    """Without the copy of the object that kubectl leaves."""
    found = dict(metadata.texts("annotations"))
    found.pop(_LAST_APPLIED, None)
    return found


def _service(fields: Fields) -> Service:
    metadata, spec = fields.child("metadata"), fields.child("spec")
    kind = spec.one_of("type", "ClusterIP", "NodePort", "LoadBalancer", "ExternalName")
    single = "clusterIPs" not in spec and spec.text("clusterIP") not in {"", "None"}
    given = (spec.address("clusterIP"),) if single else spec.addresses("clusterIPs", "None", "")
    alias = spec.required("externalName") if kind == "ExternalName" else ""
    annotations = _annotations(metadata)
    return Service(
        id=_id(fields),
        labels=metadata.texts("labels"),
        annotations=annotations,
        created=metadata.time("creationTimestamp"),
        addresses=() if alias else tuple(filter(None, given)),
        headless=spec.text("clusterIP") == "None" or "None" in spec.names("clusterIPs"),
        alias_of=alias.rstrip("."),
        ports=tuple(_service_ports(spec)),
        selector={} if alias else spec.texts("selector"),
        publish_not_ready=spec.flag("publishNotReadyAddresses") or False,
        node_local=spec.one_of("internalTrafficPolicy", "Cluster", "Local") == "Local",
        external_addresses=tuple(dict.fromkeys(_external(fields, kind))),
        node_selector=_node_selector(metadata, annotations) if kind == "NodePort" else None,
        traffic_distribution=spec.text("trafficDistribution"),
    )


def _service_ports(spec: Fields) -> Iterator[ServicePort]:
    names: set[str] = set()
    ports = list(spec.children("ports"))
    for each in ports:
        name, number = each.text("name"), each.port("port")
        if "port" not in each:
            each.wrong("port", "required", "'port' is required")
        if name in names:
            each.wrong("name", "duplicate", f"port name {name!r} is given twice")
        elif not name and len(ports) > 1:
            each.wrong("name", "required", "'name' is required where there are several ports")
        names.add(name)
        yield ServicePort(
            name=name,
            number=number,
            target=each.port_or_name("targetPort"),
            transport=each.one_of("protocol", *_TRANSPORTS),
            app_protocol=each.text("appProtocol") or None,
            node_port=each.port("nodePort"),
        )


def _external(fields: Fields, kind: str) -> Iterator[str]:
    """Addresses of a load balancer, IP or name, and external IPs."""
    balancer = fields.child("status").child("loadBalancer")
    for each in balancer.children("ingress") if kind == "LoadBalancer" else ():
        yield from filter(None, (each.address("ip"), each.text("hostname")))
    yield from fields.child("spec").addresses("externalIPs")


def _node_selector(metadata: Fields, annotations: Mapping[str, str]) -> Mapping[str, str] | None:
    """Labels of Nodes as a JSON object; one that cannot be read selects nothing."""
    if _NODE_SELECTOR not in annotations:
        return None
    text = annotations[_NODE_SELECTOR]
    try:
        found = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        found = None
    if isinstance(found, dict) and all(isinstance(each, str) for each in found.values()):
        return found
    message = f'{text!r} is not a JSON object of labels, such as {{"pool": "edge"}}'
    metadata.child("annotations").doubt(_NODE_SELECTOR, "annotation", message)
    return None


def _endpoint_slice(fields: Fields) -> Slice | None:
    metadata = fields.child("metadata")
    labels = metadata.texts("labels")
    id_ = _id(fields)
    kind = fields.one_of("addressType", "IPv4", "IPv6", "FQDN")
    if not labels.get(SERVICE_NAME) or _MULTI_CLUSTER_SERVICE in labels or kind == "FQDN":
        return None
    ports = tuple(
        (each.text("name"), number)
        for each in fields.children("ports")
        if (number := each.port("port"))
    )
    return Slice(
        id=SliceId("EndpointSlice", *id_),
        service=ObjectName(id_.namespace, labels[SERVICE_NAME]),
        backends=tuple(
            backend
            for each in fields.children("endpoints")
            for backend in _backends(each, id_.namespace, ports)
        ),
    )


def _backends(
    each: Fields, namespace: str, ports: tuple[tuple[str, int], ...]
) -> Iterator[Backend]:
    readiness = _readiness(each.child("conditions"))
    node = each.shared("nodeName") or each.child("topology").shared(_HOSTNAME)
    pod = _pod(each.child("targetRef"), namespace)
    for address in each.addresses("addresses"):
        yield Backend(address=address, ports=ports, readiness=readiness, pod=pod, node=node)


def _readiness(conditions: Fields) -> Readiness:
    """Missing conditions speak for the endpoint, but it does not end unless that is said (D2.1)."""
    ready, serving = conditions.flag("ready"), conditions.flag("serving")
    if ready is not False:
        return Readiness.READY
    if not conditions.flag("terminating"):
        return Readiness.NOT_READY
    return Readiness.TERMINATING if serving is False else Readiness.SERVING_TO_THE_END


def _pod(target: Fields, namespace: str) -> ObjectName | None:
    if target.text("kind") != "Pod" or not target.text("name"):
        return None
    return ObjectName(target.shared("namespace") or namespace, target.text("name"))


def _endpoints(fields: Fields) -> Slice | None:
    metadata = fields.child("metadata")
    if _LEADER in metadata.texts("annotations"):
        return None
    id_ = _id(fields)
    return Slice(
        id=SliceId("Endpoints", *id_),
        service=id_,
        backends=tuple(
            backend
            for subset in fields.children("subsets")
            for backend in _subset(subset, id_.namespace)
        ),
    )


def _subset(subset: Fields, namespace: str) -> Iterator[Backend]:
    ports = tuple(
        (each.text("name"), number)
        for each in subset.children("ports")
        if (number := each.port("port"))
    )
    lists = (("addresses", Readiness.READY), ("notReadyAddresses", Readiness.NOT_READY))
    for key, readiness in lists:
        for each in subset.children(key):
            if address := each.address("ip"):
                yield Backend(
                    address=address,
                    ports=ports,
                    readiness=readiness,
                    pod=_pod(each.child("targetRef"), namespace),
                    node=each.text("nodeName"),
                )


def _whole_pod(fields: Fields) -> Pod:
    metadata, spec, status = (fields.child(each) for each in ("metadata", "spec", "status"))
    single = status.address("podIP")
    several = (each.address("ip") for each in status.children("podIPs"))
    phase = status.one_of("phase", "Pending", "Running", "Succeeded", "Failed", "Unknown")
    containers = list(_containers(spec))
    return Pod(
        id=_id(fields),
        labels=metadata.texts("labels"),
        annotations=_annotations(metadata),
        created=metadata.time("creationTimestamp"),
        addresses=tuple(dict.fromkeys(filter(None, (single, *several)))),
        on_host_network=spec.flag("hostNetwork") or False,
        node=spec.shared("nodeName"),
        service_account=spec.shared("serviceAccountName")
        or spec.shared("serviceAccount")
        or "default",
        readiness=_pod_readiness(metadata, status),
        finished=phase in {"Succeeded", "Failed"},
        owner=_owner(metadata),
        ports={name: number for name, number, _ in reversed(containers) if name},
        containers={number: container for _, number, container in reversed(containers)},
    )


def _pod_readiness(metadata: Fields, status: Fields) -> Readiness:
    if "deletionTimestamp" in metadata:
        return Readiness.TERMINATING
    for each in status.children("conditions"):
        if each.text("type") == "Ready" and each.text("status") == "True":
            return Readiness.READY
    return Readiness.NOT_READY


def _owner(metadata: Fields) -> Owner | None:
    for each in metadata.children("ownerReferences"):
        if each.flag("controller"):
            return Owner(each.text("apiVersion"), each.text("kind"), each.text("name"))
    return None


def _containers(spec: Fields) -> Iterator[tuple[str, int, str]]:
    """Name, number and container of all ports; sidecars of the Pod's own count."""
    helpers = (
        each for each in spec.children("initContainers") if each.text("restartPolicy") == "Always"
    )
    for each in (*spec.children("containers"), *helpers):
        container = each.text("name")
        for port in each.children("ports"):
            if number := port.port("containerPort"):
                yield port.text("name"), number, container


def _node(fields: Fields) -> ClusterNode:
    addresses = fields.child("status").children("addresses")
    found = (each.address("address") for each in addresses if each.text("type") == "ExternalIP")
    return ClusterNode(
        id=ObjectName("", _id(fields).name),
        labels=fields.child("metadata").texts("labels"),
        addresses=tuple(dict.fromkeys(filter(None, found))),
    )


def _namespace(fields: Fields) -> Namespace:
    return Namespace(
        id=ObjectName("", _id(fields).name), labels=fields.child("metadata").texts("labels")
    )


_READERS: Final[Mapping[tuple[str, str], Callable[[Fields], Item | None]]] = {
    ("v1", "Service"): _service,
    ("discovery.k8s.io/v1", "EndpointSlice"): _endpoint_slice,
    ("discovery.k8s.io/v1beta1", "EndpointSlice"): _endpoint_slice,
    ("v1", "Endpoints"): _endpoints,
    ("v1", "Pod"): _whole_pod,
    ("v1", "Node"): _node,
    ("v1", "Namespace"): _namespace,
}
