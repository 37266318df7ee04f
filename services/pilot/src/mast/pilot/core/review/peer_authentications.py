"""PeerAuthentications that do not count, or not for every workload they name (pilot.md J1)."""

from collections.abc import Iterator, Mapping

from istio.security.v1beta1.peer_authentication_pb2 import PeerAuthentication
from mast.pilot.core.model.finding import Fault, Finding
from mast.pilot.core.model.model import Config
from mast.pilot.core.review import single_objects
from mast.pilot.core.scope.scope import Scope


def findings(config: Config[PeerAuthentication], scope: Scope) -> Iterator[Finding]:
    """One that selects workloads of the root namespace, or of which an older one has them all."""
    selector = config.spec.selector.match_labels
    if not selector:
        yield from single_objects.findings(config, scope)
    elif config.meta.namespace == scope.mesh.root_namespace:
        yield Finding(
            fault=Fault.UNENFORCEABLE,
            key="spec.selector",
            message=(
                f"In {config.meta.namespace}, whose policies are for the whole mesh, those with a"
                " selector are ignored; write it in the namespace of the workloads."
            ),
            subject=config.meta.object_name,
        )
    else:
        yield from _hidden(config, selector, scope)


def _hidden(
    config: Config[PeerAuthentication], selector: Mapping[str, str], scope: Scope
) -> Iterator[Finding]:
    """An older one selects every workload that this one does."""
    for older in scope.configs(config.meta.collection, config.meta.namespace):
        if older is config:
            return
        labels = older.spec.selector.match_labels
        if labels and labels.items() <= selector.items():
            yield Finding(
                fault=Fault.SUPERSEDED,
                key=", ".join(f"{key}={value}" for key, value in sorted(selector.items())),
                message=f"{older.meta} is older and selects all of these workloads; it counts.",
                subject=config.meta.object_name,
                winner=older.meta.object_name,
            )
            return
