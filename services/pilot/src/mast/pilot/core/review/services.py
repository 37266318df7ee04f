"""ServiceEntries that other services of the host hide, endpoints without workload (D4, D6)."""

from collections.abc import Iterator

from istio.networking.v1alpha3.service_entry_pb2 import ServiceEntry
from mast.pilot.core.model.finding import Fault, Finding
from mast.pilot.core.model.model import Config, ServiceKey, Visibility
from mast.pilot.core.scope.scope import Scope


def findings(config: Config[ServiceEntry], scope: Scope) -> Iterator[Finding]:
    """Hosts for which, everywhere or outside of the own namespace, another service counts."""
    own, name = config.meta.namespace, config.meta.object_name
    for host in dict.fromkeys(config.spec.hosts):
        mine = scope.owned_service(ServiceKey(own, host))
        first = next(iter(scope.services_of(host)), None)
        if mine is None or first is None:
            continue
        if mine.from_kubernetes:
            yield Finding(
                fault=Fault.HIDDEN_SERVICE,
                key=host,
                message=f"hosts: {host} is a service of the platform, which counts instead.",
                subject=name,
                winner=mine.object_name,
            )
        elif (
            first.key != mine.key
            and first.visible_to.everyone
            and mine.visible_to != Visibility(False, frozenset({own}))
        ):
            yield Finding(
                fault=Fault.HIDDEN_SERVICE,
                key=host,
                message=(
                    f"hosts: outside of namespace {own}, {host} is the service of namespace"
                    f" {first.namespace}, which comes first."
                ),
                subject=name,
                winner=first.object_name,
            )


def uninhabited(key: ServiceKey, scope: Scope) -> Iterator[Finding]:
    """Endpoints of a platform's service behind which there is no workload (pilot.md D6)."""
    service = scope.owned_service(key)
    if service is None or not service.from_kubernetes or not service.selector:
        return
    for each in scope.endpoints(key):
        if each.is_ip and not scope.workloads_at(each.address):
            yield Finding(
                fault=Fault.NO_WORKLOAD,
                key=f"{service.host} {each.address}",
                message=f"Nothing is known of the workload at {each.address} of {service.host}.",
                subject=service.object_name,
            )
