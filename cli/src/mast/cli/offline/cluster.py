"""Objects of a Kubernetes cluster in files, as Galley would register a cluster that has them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from mast.cli.offline.documents import Ages, Document, Found, Registered
from mast.cli.offline.stand_ins import Objects, Template, completed
from mast.common.kinds import BY_GROUP_KIND
from mast.galley.core.discovery import manifests, reading
from mast.galley.core.discovery.converter import Converter
from mast.galley.core.discovery.objects import ObjectName, Pod, Slice, SliceId
from mast.galley.core.discovery.settings import Settings
from mast.galley.core.nodes import place, plain
from mast.galley.core.problem import Finding, Problem, path_text, warning

_UNREAD: Final = frozenset(
    {
        ("", "ConfigMap"),
        ("", "Event"),
        ("", "LimitRange"),
        ("", "PersistentVolume"),
        ("", "PersistentVolumeClaim"),
        ("", "ResourceQuota"),
        ("", "Secret"),
        ("", "ServiceAccount"),
        ("admissionregistration.k8s.io", "MutatingWebhookConfiguration"),
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy"),
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding"),
        ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration"),
        ("apiextensions.k8s.io", "CustomResourceDefinition"),
        ("apiregistration.k8s.io", "APIService"),
        ("autoscaling", "HorizontalPodAutoscaler"),
        ("coordination.k8s.io", "Lease"),
        ("networking.k8s.io", "NetworkPolicy"),
        ("policy", "PodDisruptionBudget"),
        ("rbac.authorization.k8s.io", "ClusterRole"),
        ("rbac.authorization.k8s.io", "ClusterRoleBinding"),
        ("rbac.authorization.k8s.io", "Role"),
        ("rbac.authorization.k8s.io", "RoleBinding"),
        ("scheduling.k8s.io", "PriorityClass"),
        ("storage.k8s.io", "StorageClass"),
    }
)
"""Kinds that belong into a cluster and mean nothing to the mesh: Secrets and ConfigMaps if their
keys do not."""


def is_of_cluster(document: Document) -> bool:
    """Whether a document is one that a cluster has beside the configuration of the mesh."""
    version, kind = document.type
    return manifests.is_manifest(version, kind) or (version.rpartition("/")[0], kind) in _UNREAD


def registered(
    documents: Iterable[Document], ages: Ages, namespace: str, settings: Settings
) -> Found:
    """Services, workloads and endpoints of a cluster, and all that is wrong with its objects.

    ``namespace`` is that of objects that name none. Documents of other kinds are left out.
    """
    reader = _Reader(ages, namespace)
    for document in documents:
        if document.type in manifests.CONTROLLERS:
            reader.take_controller(document)
        elif reading.is_read(*document.type):
            reader.take(document)
    converter = Converter(settings)
    for item in completed(reader.objects):
        converter.put(item)
    entries = (
        Registered(key, message)
        for key, message in sorted(converter.settle().items())
        if message is not None
    )
    return Found(tuple(entries), (*reader.problems, *_waiting(converter, reader.slices)))


class _Reader:
    """Documents one by one."""

    def __init__(self, ages: Ages, namespace: str) -> None:
        self.objects = Objects()
        self.slices: dict[SliceId, Document] = {}
        self.problems: list[Problem] = []
        self._ages = ages
        self._namespace = namespace
        self._first: dict[tuple[str, ObjectName], Document] = {}

    def take(self, document: Document) -> None:
        """An object that the conversion reads."""
        content = self._content(document)
        found = reading.read(content)
        if ("", document.type[1]) not in BY_GROUP_KIND:
            self._note(document, content, found.findings)
        if found.item is None:
            return
        self.objects.items.append(found.item)
        if isinstance(found.item, Slice):
            self.slices[found.item.id] = document
        if isinstance(found.item, Pod) and not content.get("status"):
            self.objects.fresh.add(found.item.id)

    def take_controller(self, document: Document) -> None:
        """Something that makes Pods, as a Pod that it makes; one that makes none is left out."""
        content = self._content(document)
        made = manifests.made(content)
        self._note(document, content, made.findings)
        if made.pod is not None:
            self.objects.templates.append(Template(made.pod, made.selector))

    def _content(self, document: Document) -> dict[str, Any]:
        """The object with a namespace and the time when it was created."""
        content = {key: plain(node) for key, node in document.content.items()}
        metadata = content.get("metadata") or {}
        if isinstance(metadata, dict):
            created = self._ages.get(document.place)
            own = {
                "namespace": metadata.get("namespace") or self._namespace,
                "creationTimestamp": created.isoformat() if created else "",
            }
            content["metadata"] = {**metadata, **own}
        return content

    def _note(
        self, document: Document, content: Mapping[str, Any], findings: Iterable[Finding]
    ) -> None:
        """What is wrong with an object, also that there is one of its kind and name already."""
        name = reading.identity(content)
        first = self._first.setdefault((document.type[1], name), document)
        if first is not document and name.name:
            where = f"{first.source}:{first.node.position.line}"
            message = f"the same object is given in {where}"
            findings = (*findings, Finding(("metadata", "name"), "duplicate-object", message))
        problems = (_problem(document, name, each) for each in findings)
        self.problems += sorted(problems, key=_place)


def _problem(document: Document, name: ObjectName, finding: Finding) -> Problem:
    """A finding at the line of the field, or of what it would be in."""
    return Problem(
        finding.rule,
        finding.message,
        path_text(finding.path),
        finding.severity,
        document.source,
        place(document.node, finding.path),
        document.type[1],
        name.namespace,
        name.name,
    )


def _place(problem: Problem) -> tuple[int, int]:
    return problem.position.line, problem.position.column


def _waiting(converter: Converter, slices: Mapping[SliceId, Document]) -> Iterator[Problem]:
    """Addresses that nobody gets to see because their Pods are in none of the files."""
    for each in converter.waiting():
        message = f"{each.address} is left out: Pod {'/'.join(each.pod)} is in none of the files"
        finding = warning((), "unknown-pod", message)
        yield _problem(slices[each.slice], ObjectName(*each.slice[1:]), finding)
