"""VirtualServices that lead nowhere, or that another one is in front of (pilot.md F1, F5, N4)."""

from collections.abc import Iterator

from istio.networking.v1alpha3.virtual_service_pb2 import Destination, VirtualService
from mast.pilot.core.clusters.destination_rules import rule_for
from mast.pilot.core.gateway_api.references import UNRESOLVED
from mast.pilot.core.model import collection_names
from mast.pilot.core.model.finding import Fault, Finding, ObjectName
from mast.pilot.core.model.model import NO_LABELS, Config
from mast.pilot.core.scope.matches import MESH_GATEWAY
from mast.pilot.core.scope.scope import Scope
from mast.pilot.core.scope.virtual_services import called_delegates, destinations, expanded


def findings(config: Config[VirtualService], scope: Scope) -> Iterator[Finding]:
    """Destinations that nobody has, delegates and gateways that are missing, hosts lost."""
    complete = expanded(config, scope.mesh.domain)
    spec, name = complete.spec, config.meta.object_name
    for destination in {
        (each.host, each.port.number, each.subset): each for each in destinations(spec)
    }.values():
        yield from _destination(destination, name, scope)
    for namespace, delegate in sorted(called_delegates(spec)):
        yield from _delegate(namespace, delegate, config, scope)
    for gateway in sorted({*spec.gateways} - {MESH_GATEWAY}) if spec.hosts else ():
        owner, _, own = gateway.partition("/")
        if scope.config(collection_names.GATEWAYS, owner, own) is None:
            yield Finding(
                fault=Fault.UNKNOWN_GATEWAY,
                key=gateway,
                message=f"gateways: there is no Gateway {gateway}.",
                subject=name,
            )
    if MESH_GATEWAY in spec.gateways:
        yield from _lost_hosts(complete, scope)


def _destination(destination: Destination, name: ObjectName, scope: Scope) -> Iterator[Finding]:
    if destination.host == UNRESOLVED:
        # The condition ResolvedRefs of the route that it stands in says what is wrong.
        return
    service = scope.service(destination.host)
    number = destination.port.number
    if service is None:
        yield Finding(
            fault=Fault.UNKNOWN_HOST,
            key=destination.host,
            message=f"destination.host: no service {destination.host} is visible here.",
            subject=name,
        )
        return
    if number and service.port(number) is None:
        known = ", ".join(str(each.number) for each in service.ports)
        yield Finding(
            fault=Fault.UNKNOWN_HOST,
            key=f"{service.host}:{number}",
            message=f"destination.port: {service.host} has no port {number}, but {known}.",
            subject=name,
        )
    if destination.subset:
        rule = rule_for(scope, service, NO_LABELS)
        if rule is None or destination.subset not in rule.subsets:
            subsets = ", ".join(sorted(rule.subsets)) if rule else ""
            yield Finding(
                fault=Fault.UNKNOWN_SUBSET,
                key=f"{service.host} {destination.subset}",
                message=(
                    f"destination.subset: no DestinationRule of {service.host} defines"
                    f" {destination.subset!r}; defined: {subsets or 'none'}."
                ),
                subject=name,
            )


def _delegate(
    namespace: str, delegate: str, config: Config[VirtualService], scope: Scope
) -> Iterator[Finding]:
    found = scope.config(collection_names.VIRTUAL_SERVICES, namespace, delegate)
    where = f"VirtualService {namespace}/{delegate}"
    if found is None:
        reason = f"there is no {where}"
    elif found.spec.hosts:
        reason = f"{where} has hosts of its own"
    elif not found.visible_to.includes(config.meta.namespace):
        reason = f"{where} is not exported to namespace {config.meta.namespace}"
    elif any(each.HasField("delegate") for each in found.spec.http):
        reason = f"{where} delegates once more"
    else:
        return
    yield Finding(
        fault=Fault.MISSING_DELEGATE,
        key=f"{namespace}/{delegate}",
        message=f"delegate: {reason}; its routes are left out.",
        subject=config.meta.object_name,
    )


def _lost_hosts(config: Config[VirtualService], scope: Scope) -> Iterator[Finding]:
    """Hosts for which an older VirtualService counts: they are not merged for sidecars (F1)."""
    for host in dict.fromkeys(config.spec.hosts):
        winner = scope.virtual_service(host)
        if winner is None or winner.meta.object_name == config.meta.object_name:
            continue
        if host in winner.spec.hosts:
            yield Finding(
                fault=Fault.SUPERSEDED,
                key=host,
                message=f"hosts: {winner.meta} is older and has {host}; this one does not count.",
                subject=config.meta.object_name,
                winner=winner.meta.object_name,
            )
