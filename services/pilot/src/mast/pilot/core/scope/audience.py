"""Which proxies see the same: everything about a proxy that its configuration depends on.

Resources are generated for a *representative*: a proxy without what only tells instances apart.
So one generator cannot, by accident, make different things for proxies that share a view.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any, Final, NamedTuple

from istio.networking.v1alpha3.sidecar_pb2 import CaptureMode, Sidecar
from mast.pilot.core.model.model import (
    Config,
    Service,
    ServiceKey,
    Target,
    Workload,
    selects,
)
from mast.pilot.core.model.proxy import (
    CLUSTER,
    HOSTNAME,
    INSTANCE_LABELS,
    NETWORK,
    ON_DEMAND,
    REGION,
    SUBZONE,
    ZONE,
    InterceptionMode,
    Proxy,
    ProxyType,
)
from mast.pilot.core.scope.scope import Scope, applicable_sidecar

_INSTANCE_METADATA: Final = frozenset(
    {"INSTANCE_IPS", "NAME", "NODE_NAME", "LABELS", "STATIC_LABELS", "ANNOTATIONS"}
)
"""Metadata that only tells instances apart, or has been read into other fields of a proxy."""

_PLACE_LABELS: Final = frozenset({REGION, ZONE, SUBZONE, CLUSTER, NETWORK})
"""Labels that repeat other fields of a proxy."""

_POLICY: Final = "policy.istio.io/"
"""Prefix of annotations that change a pod's filters."""

_CALLER_METADATA: Final = frozenset(
    {
        "DNS_AUTO_ALLOCATE",
        "DNS_CAPTURE",
        "GENERATOR",
        "HTTP10",
        ON_DEMAND,
        "REQUESTED_NETWORK_VIEW",
        "TLS_CLIENT_CERT_CHAIN",
        "TLS_CLIENT_KEY",
        "TLS_CLIENT_ROOT_CERT",
    }
)
"""Metadata that outbound clusters, endpoints, routes and names depend on."""


class ServedPort(NamedTuple):
    """A service port that the workload of a proxy serves, by names that outlive a snapshot."""

    service: ServiceKey
    port: int
    target_port: int


@dataclass(frozen=True, eq=False)
class Audience:
    """One class of proxies.

    `proxy` stands for each of them. `caller` stands for all that call others in the same way: for
    a whole namespace, unless rules tell workloads apart by labels. `node` is where they all run if
    some service looks at that, else empty. `key` is equal for equal classes in all snapshots,
    `caller_key` for equal callers, `neighbour_key` for equal ones on one node.
    """

    proxy: Proxy
    caller: Proxy
    sidecar: tuple[str, str] | None
    served: tuple[ServedPort, ...]
    node: str = ""
    key: str = field(init=False)
    caller_key: str = field(init=False)
    neighbour_key: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", _digest(self.proxy, self.sidecar, self.served, self.node))
        object.__setattr__(self, "caller_key", _digest(self.caller, self.sidecar))
        object.__setattr__(self, "neighbour_key", _digest(self.caller, self.sidecar, self.node))

    @property
    def neighbour(self) -> Proxy:
        """The caller with the node it is on, for what depends on that."""
        if not self.node:
            return self.caller
        return replace(self.caller, labels={**self.caller.labels, HOSTNAME: self.node})


def audience_of(proxy: Proxy, scope: Scope, selector_keys: frozenset[str]) -> Audience:
    """The class of a proxy.

    `scope` is that of the proxy's namespace without a Sidecar; `selector_keys` are the labels of
    callers that configuration may depend on.
    """
    known = registered(proxy, scope)
    if known is not None:
        proxy = proxy.with_registry_labels(known.labels)
    is_sidecar = proxy.type is ProxyType.SIDECAR
    sidecar = applicable_sidecar(scope, proxy.labels) if is_sidecar else None
    if sidecar is None:
        proxy = proxy.without(ON_DEMAND)  # there is nothing beyond everything
    serves = is_sidecar or proxy.type is ProxyType.ROUTER
    targets = own_targets(proxy, scope, known) if serves else ()
    addressed = is_sidecar and _needs_addresses(proxy, sidecar, targets)
    whole = _representative(proxy, selector_keys, keep_addresses=addressed)
    return Audience(
        proxy=whole,
        caller=_caller(whole, selector_keys),
        sidecar=(sidecar.meta.namespace, sidecar.meta.name) if sidecar else None,
        served=tuple(
            ServedPort(each.service.key, each.port.number, each.target_port) for each in targets
        ),
        node=proxy.labels.get(HOSTNAME, "") if scope.by_node else "",
    )


def registered(proxy: Proxy, scope: Scope) -> Workload | None:
    """What the registry knows of a proxy's workload: same namespace, best also the same name."""
    for address in proxy.ip_addresses:
        found = [
            each
            for each in scope.workloads_at(address)
            if each.namespace == proxy.namespace and not _elsewhere(each.cluster, proxy)
        ]
        if found:
            return next((each for each in found if each.name == proxy.name), found[0])
    return None


def own_targets(proxy: Proxy, scope: Scope, known: Workload | None) -> Sequence[Target]:
    """Service ports that the workload of a proxy serves, sorted by host and port.

    Services that have an endpoint at one of its addresses, and those of its namespace whose
    selector matches its labels, ready or not.
    """
    found: dict[tuple[ServiceKey, int], Target] = {}
    for address in proxy.ip_addresses:
        for key in scope.services_at(address):
            if (service := scope.owned_service(key)) is not None:
                for endpoint in scope.endpoints(key):
                    if address in endpoint.addresses and not _elsewhere(endpoint.cluster, proxy):
                        _add_targets(found, service, endpoint.ports)
    names = known.ports if known else {}
    for service in scope.owned_services(proxy.namespace):
        if service.selector and selects(service.selector, proxy.labels):
            ports = {each.number: names.get(each.name, each.target_port) for each in service.ports}
            _add_targets(found, service, ports)
    return [found[key] for key in sorted(found)]


def _elsewhere(cluster: str, proxy: Proxy) -> bool:
    """Whether what a cluster reports is not the proxy's: addresses repeat from one to another."""
    return bool(cluster and proxy.cluster_id) and cluster != proxy.cluster_id


def targets(served: Sequence[ServedPort], scope: Scope) -> Sequence[Target]:
    """The targets of an audience as they are in the scope's snapshot."""
    found = []
    for each in served:
        service = scope.owned_service(each.service)
        port = service.port(each.port) if service else None
        if service is not None and port is not None:
            found.append(Target(service=service, port=port, target_port=each.target_port))
    return found


def _add_targets(
    found: dict[tuple[ServiceKey, int], Target], service: Service, ports: Mapping[int, int]
) -> None:
    for port in service.ports:
        if ports.get(port.number):
            target = Target(service=service, port=port, target_port=ports[port.number])
            found.setdefault((service.key, port.number), target)


def _needs_addresses(
    proxy: Proxy, sidecar: Config[Sidecar] | None, targets: Sequence[Target]
) -> bool:
    """Its own addresses show in its listeners or clusters.

    Where it binds to them, where applications listen on them, and where it has to leave itself
    out among the endpoints of a headless service (pilot.md E5, E8, E14).
    """
    if proxy.interception_mode is InterceptionMode.NONE:
        return True
    for ingress in sidecar.spec.ingress if sidecar else ():
        if ingress.capture_mode == CaptureMode.NONE or ingress.default_endpoint:
            return True
    return any(each.service.headless and not each.port.protocol.is_http for each in targets)


def _representative(proxy: Proxy, selector_keys: frozenset[str], *, keep_addresses: bool) -> Proxy:
    addresses = proxy.ip_addresses if keep_addresses else _unspecified(proxy)
    return replace(
        proxy,
        node_id="",
        id=f".{proxy.namespace}",
        ip_addresses=addresses,
        labels=_without(proxy.labels, INSTANCE_LABELS - selector_keys),
        metadata={
            **_without(proxy.metadata, _INSTANCE_METADATA),
            **_policy_annotations(proxy.metadata.get("ANNOTATIONS")),
        },
    )


def _policy_annotations(annotations: Any) -> dict[str, Any]:
    """Metadata with the annotations that filters depend on (mixer_proxy.md A39), if there are."""
    found = annotations if isinstance(annotations, dict) else {}
    kept = {key: value for key, value in found.items() if key.startswith(_POLICY)}
    return {"ANNOTATIONS": kept} if kept else {}


def _caller(proxy: Proxy, selector_keys: frozenset[str]) -> Proxy:
    """What stands for all proxies that send requests in the same way."""
    return replace(
        proxy,
        ip_addresses=_unspecified(proxy),
        cluster="",
        service_account="",
        app_endpoints={},
        labels={
            key: value
            for key, value in proxy.labels.items()
            if key in selector_keys or key in _PLACE_LABELS
        },
        metadata={key: value for key, value in proxy.metadata.items() if key in _CALLER_METADATA},
    )


def _unspecified(proxy: Proxy) -> tuple[str, ...]:
    """One address of each family that the proxy has, none of them its own."""
    families = ((proxy.ipv4, "0.0.0.0"), (proxy.ipv6, "::"))  # noqa: S104 - stands for a family
    return tuple(address for present, address in families if present)


def _without(values: Mapping[str, Any], left_out: frozenset[str]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key not in left_out}


def _digest(proxy: Proxy, *others: Any) -> str:
    """A key for everything that a representative and some values hold."""
    fields = {name: getattr(proxy, name) for name in proxy.__dataclass_fields__}
    mappings = ("labels", "metadata", "app_endpoints")
    plain: dict[str, Any] = {**fields, **{name: dict(fields[name]) for name in mappings}}
    text = json.dumps([plain, others], sort_keys=True, default=str)
    return blake2b(text.encode(), digest_size=16).hexdigest()
