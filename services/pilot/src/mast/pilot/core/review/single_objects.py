"""Objects of which one counts in a namespace: the oldest without selector (D11, J1, K5)."""

from collections.abc import Iterator
from typing import Any

from istio.networking.v1alpha3.sidecar_pb2 import Sidecar
from istio.telemetry.v1alpha1.telemetry_pb2 import Telemetry
from mast.pilot.core.model.finding import Fault, Finding
from mast.pilot.core.model.model import Config
from mast.pilot.core.scope.scope import Scope


def findings(config: Config[Any], scope: Scope) -> Iterator[Finding]:
    """An older object of the same kind and namespace, if neither has a selector."""
    if _selects(config):
        return
    every = scope.configs(config.meta.collection, config.meta.namespace)
    oldest = next(each for each in every if not _selects(each))
    if oldest is not config:
        yield Finding(
            fault=Fault.SUPERSEDED,
            key=config.meta.namespace,
            message=f"{oldest.meta} is older; of those without a selector only it counts.",
            subject=config.meta.object_name,
            winner=oldest.meta.object_name,
        )


def _selects(config: Config[Any]) -> bool:
    spec = config.spec
    if isinstance(spec, Sidecar):
        return bool(spec.workload_selector.labels)
    if isinstance(spec, Telemetry) and (spec.targetRefs or spec.HasField("targetRef")):
        return True
    return bool(spec.selector.match_labels)
