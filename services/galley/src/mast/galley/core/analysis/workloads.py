"""What selectors select: pods, templates of pods, machines, and what a platform reported."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mast.galley.core.analysis import kinds, plain
from mast.galley.core.analysis.snapshot import Fact, Item, View
from mast.galley.core.problem import Path

KINDS = frozenset(
    {
        kinds.POD,
        *kinds.TEMPLATED,
        kinds.WORKLOAD_ENTRY,
        kinds.WORKLOAD_GROUP,
        kinds.REGISTRY_WORKLOAD,
    }
)
GATEWAY_NAME = "gateway.networking.k8s.io/gateway-name"
"""Label of the workloads of a gateway of Gateway API."""


@dataclass(frozen=True, eq=False)
class Workload:
    """Something that runs, or a template of it.

    ``pod`` is the specification of the pod, if it is one, ``at`` the path to it in the document.
    """

    item: Item
    namespace: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str] = field(default_factory=dict)
    pod: Mapping[str, Any] | None = None
    at: Path = ()

    def containers(self) -> Iterator[tuple[Path, Mapping[str, Any]]]:
        """Containers with their paths, those that run before the others included."""
        for name in ("initContainers", "containers"):
            for index, container in enumerate(plain.listing(self.pod, name)):
                if isinstance(container, Mapping):
                    yield (*self.at, name, index), container

    @property
    def has_proxy(self) -> bool:
        """Whether a container is the sidecar."""
        return any(plain.text(each, "name") == "istio-proxy" for _, each in self.containers())


class Workloads:
    """All of them, by label."""

    def __init__(self, found: Sequence[Workload]) -> None:
        self.all = found
        self._by_label: dict[tuple[str, str], list[Workload]] = defaultdict(list)
        self._by_namespace: dict[str, list[Workload]] = defaultdict(list)
        for workload in found:
            self._by_namespace[workload.namespace].append(workload)
            for label in workload.labels.items():
                self._by_label[label].append(workload)

    def selected(
        self, labels: Mapping[str, str], namespace: str | None = None
    ) -> Iterator[Workload]:
        """Those that have all of some labels, in a namespace or in any."""
        pools = [self._by_label.get(label, []) for label in labels.items()]
        if namespace is not None:
            pools.append(self._by_namespace.get(namespace, []))
        wanted = labels.items()
        for workload in min(pools, key=len, default=self.all):
            if namespace in {None, workload.namespace} and wanted <= workload.labels.items():
                yield workload

    def has(self, labels: Mapping[str, str], namespace: str | None = None) -> bool:
        """Whether there is any."""
        return next(self.selected(labels, namespace), None) is not None


def template_path(kind: str) -> tuple[str, ...]:
    """Path to the template of pods of a kind."""
    if kind == kinds.CRON_JOB:
        return ("spec", "jobTemplate", "spec", "template")
    return ("spec", "template")


def _workloads(view: View) -> Workloads:
    return Workloads([*_pods(view), *_machines(view)])


def _pods(view: View) -> Iterator[Workload]:
    for item in view.of(kinds.POD):
        spec = plain.mapping(item.body, "spec")
        yield Workload(item, item.namespace, item.labels, item.annotations, spec, ("spec",))
    for kind in kinds.TEMPLATED:
        path = template_path(kind)
        for item in view.of(kind):
            template = plain.mapping(item.body, *path)
            yield Workload(
                item,
                item.namespace,
                plain.texts(template, "metadata", "labels"),
                plain.texts(template, "metadata", "annotations"),
                plain.mapping(template, "spec"),
                (*path, "spec"),
            )


def _machines(view: View) -> Iterator[Workload]:
    for item in view.of(kinds.WORKLOAD_ENTRY):
        yield Workload(item, item.namespace, {**item.labels, **item.body.labels})
    for item in view.of(kinds.WORKLOAD_GROUP):
        labels = {**item.body.metadata.labels, **item.body.template.labels}
        yield Workload(item, item.namespace, labels)
    for item in view.of(kinds.REGISTRY_WORKLOAD):
        yield Workload(item, item.namespace, item.labels)


WORKLOADS = Fact(KINDS, _workloads)
