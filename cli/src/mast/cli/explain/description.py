"""What applies to a workload or a service: rules of traffic, policies, and what is odd."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from google.protobuf.json_format import MessageToDict

from istio.networking.v1alpha3.destination_rule_pb2 import DestinationRule
from istio.networking.v1alpha3.virtual_service_pb2 import HTTPRoute, VirtualService
from mast.cli.explain.site import Side, Surroundings
from mast.cli.explain.story import Cause
from mast.pilot.core.gateway_api.generated import PARENTS
from mast.pilot.core.model import collection_names
from mast.pilot.core.model.model import Config, Health, Labels, Port, Protocol, Service, selects
from mast.pilot.core.scope.scope import Scope
from mast.pilot.core.security.peer_authentication import served_mode

MESH: Final = "mesh"

# What may select workloads, in the order in which it is told.
SELECTING: Final = (
    collection_names.PEER_AUTHENTICATIONS,
    collection_names.REQUEST_AUTHENTICATIONS,
    collection_names.AUTHORIZATION_POLICIES,
    collection_names.TELEMETRIES,
    collection_names.WASM_PLUGINS,
    collection_names.TRAFFIC_EXTENSIONS,
    collection_names.ENVOY_FILTERS,
    collection_names.PROXY_CONFIGS,
)


@dataclass
class Part:
    """One thing that applies: a title, what is to be said of it, and the object behind it."""

    title: str
    lines: list[str] = field(default_factory=list)
    cause: Cause | None = None
    warnings: list[str] = field(default_factory=list)

    def data(self) -> dict[str, Any]:
        """The same for programs."""
        told: dict[str, Any] = {"title": self.title, "lines": self.lines}
        if self.cause is not None:
            told["object"] = {key: value for key, value in vars(self.cause).items() if value}
        return {**told, **({"warnings": self.warnings} if self.warnings else {})}


def of_workload(side: Side, around: Surroundings) -> list[list[Part]]:
    """A workload, each service that it serves with its rules, and the policies that hold for it."""
    proxy, scope = side.proxy, side.scope
    about = Part(f"Workload: {proxy.id}")
    about.lines.append(f"Identity: {side.identity}")
    about.lines.append(f"Addresses: {', '.join(proxy.ip_addresses)}")
    about.lines.append(f"Labels: {_pairs(proxy.labels)}")
    served = around.mesh.snapshot.view(proxy).audience.served
    by_service: dict[Any, list[tuple[int, int]]] = {}
    for each in served:
        by_service.setdefault(each.service, []).append((each.port, each.target_port))
    if not served:
        about.warnings.append("no service leads to this workload")
    groups = [[about]]
    for key, ports in by_service.items():
        service = scope.owned_service(key)
        if service is not None:
            own = [_ports(service, dict(ports), scope, proxy.labels)]
            groups.append([*own, *_traffic(service, scope, around, proxy.labels)])
    groups.append(_policies(side, around))
    return [group for group in groups if group]


def of_service(service: Service, around: Surroundings) -> list[list[Part]]:
    """A service as callers of its own namespace see it, and its endpoints."""
    scope = around.mesh.snapshot.scope(service.namespace)
    found = scope.endpoints(service.key)
    about = _ports(service, {each.number: each.target_port for each in service.ports}, scope, None)
    healthy = sum(each.health is Health.HEALTHY for each in found)
    about.lines.append(f"Endpoints: {len(found)}, {healthy} healthy")
    if not found:
        about.warnings.append("there are no endpoints")
    about.cause = next(around.causes.service(service), None)
    return [[about, *_traffic(service, scope, around, None)]]


def _ports(
    service: Service, targets: Mapping[int, int], scope: Scope, labels: Labels | None
) -> Part:
    """The ports of a service; of a workload (``labels``) also what it does about mutual TLS."""
    part = Part(f"Service: {service.host}")
    for port in service.ports:
        if port.number not in targets:
            continue
        target = targets[port.number]
        line = f"Port: {port.name or '-'} {port.number}/{_protocol(port)} targets port {target}"
        if labels is not None:
            mode = served_mode(scope, service.namespace, labels, target, service, port)
            line += f", mutual TLS {mode}"
        part.lines.append(line)
        if port.protocol is Protocol.AUTO:
            part.warnings.append(
                f"port {port.number} does not say its protocol: it is found out by its bytes"
            )
    return part


def _protocol(port: Port) -> str:
    return "sniffed" if port.protocol is Protocol.AUTO else str(port.protocol.value).upper()


def _traffic(
    service: Service, scope: Scope, around: Surroundings, labels: Labels | None
) -> Iterator[Part]:
    """Rules about traffic to a service; ``labels`` are those of the workload in question."""
    rules = next(iter(scope.destination_rules(service.host)), ())
    governing = scope.virtual_service(service.host)
    for rule in rules:
        yield _destination_rule(rule, around, labels)
    known = {each.name for rule in rules for each in rule.spec.subsets}
    if governing is not None:
        yield _virtual_service(governing, service, known, around)
    for config in around.mesh.snapshot.index.collections.get(collection_names.VIRTUAL_SERVICES, ()):
        gateways = [each for each in config.spec.gateways if each != MESH]
        if gateways and _leads_to(config, service):
            part = _virtual_service(config, service, known, around)
            part.title = f"Exposed by {part.title}"
            part.lines.insert(0, f"Gateways: {', '.join(gateways)}")
            part.lines.insert(1, f"Hosts: {', '.join(config.spec.hosts)}")
            yield part


def _destination_rule(
    rule: Config[DestinationRule], around: Surroundings, labels: Labels | None
) -> Part:
    title = f"DestinationRule: {_name(rule)} for {rule.spec.host!r}"
    part = Part(title, _parents(rule), around.causes.of(rule))
    subsets = rule.spec.subsets
    if labels is None and subsets:
        part.lines.append(f"Subsets: {', '.join(each.name for each in subsets)}")
    elif subsets:
        matching = [each.name for each in subsets if selects(each.labels, labels or {})]
        others = [each.name for each in subsets if each.name not in matching]
        if matching:
            part.lines.append(f"Matching subsets: {', '.join(matching)}")
        else:
            part.warnings.append("the workload is in none of the subsets")
        if others:
            part.lines.append(f"(Non-matching subsets {', '.join(others)})")
    policy = MessageToDict(rule.spec.traffic_policy)
    part.lines.append(f"Traffic policy: {', '.join(policy)}" if policy else "No traffic policy")
    return part


def _virtual_service(
    config: Config[VirtualService], service: Service, known: Collection[str], around: Surroundings
) -> Part:
    """``known`` are the subsets of the service that there are."""
    part = Part(f"VirtualService: {_name(config)}", _parents(config), around.causes.of(config))
    if missing := [each for each in _subsets(config, service) if each not in known]:
        part.warnings.append(f"no DestinationRule has the subset {', '.join(missing)}")
    for number, route in enumerate(config.spec.http):
        part.lines.append(f"http[{number}]: {_match(route)} -> {_outcome(route)}")
    for kind in ("tls", "tcp"):
        for number, route in enumerate(getattr(config.spec, kind)):
            part.lines.append(f"{kind}[{number}]: -> {_targets(route.route)}")
    if not (config.spec.http or config.spec.tls or config.spec.tcp):
        part.lines.append(f"No routes; hosts {', '.join(config.spec.hosts)}")
    return part


def _match(route: HTTPRoute) -> str:
    """What requests it is about, as short as it can be said."""
    if not route.match:
        return "everything"
    texts = []
    for each in route.match:
        parts = [f"{key} {_value(value)}" for key, value in MessageToDict(each).items()]
        texts.append(" and ".join(parts) or "everything")
    return " or ".join(texts)


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{key} {_value(each)}" for key, each in value.items())
    return ", ".join(map(_value, value)) if isinstance(value, list) else str(value)


def _outcome(route: HTTPRoute) -> str:
    if route.HasField("redirect"):
        return "redirect"
    if route.HasField("direct_response"):
        return f"status {route.direct_response.status}"
    if route.HasField("delegate"):
        return f"delegate {route.delegate.namespace or '.'}/{route.delegate.name}"
    told = _targets(route.route)
    extras = [
        name
        for name in ("fault", "rewrite", "mirror", "timeout", "retries")
        if route.HasField(name)
    ]
    return f"{told} ({', '.join(extras)})" if extras else told


def _targets(routes: Sequence[Any]) -> str:
    """Destinations with their shares, where there are several."""
    total = sum(each.weight for each in routes)
    return ", ".join(
        _target(each) + (f" {100 * each.weight / total:g}%" if total and len(routes) > 1 else "")
        for each in routes
    )


def _target(route: Any) -> str:
    to = route.destination
    return f"{to.host} subset {to.subset}" if to.subset else str(to.host)


def _routes(config: Config[VirtualService]) -> Iterator[Any]:
    """Destinations of all rules."""
    for kind in ("http", "tls", "tcp"):
        for rule in getattr(config.spec, kind):
            yield from rule.route


def _subsets(config: Config[VirtualService], service: Service) -> Sequence[str]:
    """Subsets of the service to which a VirtualService leads."""
    to = [each.destination for each in _routes(config)]
    found = [each.subset for each in to if each.host == service.host and each.subset]
    return list(dict.fromkeys(found))


def _leads_to(config: Config[VirtualService], service: Service) -> bool:
    return any(each.destination.host == service.host for each in _routes(config))


def _policies(side: Side, around: Surroundings) -> list[Part]:
    """What selects the workload, and its Sidecar."""
    found = []
    sidecar = side.scope.sidecar
    if sidecar is not None:
        found.append(Part(f"Sidecar: {_name(sidecar)}", cause=around.causes.of(sidecar)))
    found += [
        Part(f"{cause.kind}: {cause.namespace}/{cause.name}", cause=cause)
        for collection in SELECTING
        for cause in around.causes.selecting(collection, side.proxy.namespace, side.proxy.labels)
    ]
    return found


def _parents(config: Config[Any]) -> list[str]:
    """What of Gateway API, or which Ingress, an object stands for."""
    parents = config.meta.annotations.get(PARENTS)
    return [f"Made from: {parents}"] if parents else []


def _name(config: Config[Any]) -> str:
    return f"{config.meta.namespace}/{config.meta.name}"


def _pairs(labels: Mapping[str, str]) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items())) or "-"
