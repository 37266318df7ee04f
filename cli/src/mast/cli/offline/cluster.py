"""Objects of a Kubernetes cluster in files, as Galley would register a cluster that has them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from mast.cli.offline.documents import Ages, Document, Found, Registered
from mast.cli.offline.stand_ins import Objects, Template, completed
from mast.common.kinds import BY_GROUP_KIND
from mast.galley.core.discovery import reading
from mast.galley.core.discovery.converter import Converter
from mast.galley.core.discovery.fields import Fields
from mast.galley.core.discovery.objects import ObjectName, Owner, Pod, Slice, SliceId
from mast.galley.core.discovery.settings import Settings
from mast.galley.core.documents import Node
from mast.galley.core.problem import Finding, Path, Position, Problem, path_text, warning

_TEMPLATE: Final = ("spec", "template")
_CONTROLLERS: Final[Mapping[tuple[str, str], tuple[str, ...]]] = {
    ("apps/v1", "DaemonSet"): _TEMPLATE,
    ("apps/v1", "Deployment"): _TEMPLATE,
    ("apps/v1", "ReplicaSet"): _TEMPLATE,
    ("apps/v1", "StatefulSet"): _TEMPLATE,
    ("batch/v1", "CronJob"): ("spec", "jobTemplate", *_TEMPLATE),
    ("batch/v1", "Job"): _TEMPLATE,
    ("v1", "ReplicationController"): _TEMPLATE,
}
"""What makes Pods, and where it says which."""

_REPLICAS: Final = ("spec", "replicas")
_POD_NAME: Final = "statefulset.kubernetes.io/pod-name"
_POD_INDEX: Final = "apps.kubernetes.io/pod-index"

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
    if reading.is_read(version, kind) or document.type in _CONTROLLERS:
        return True
    return (version.rpartition("/")[0], kind) in _UNREAD


def registered(
    documents: Iterable[Document], ages: Ages, namespace: str, settings: Settings
) -> Found:
    """Services, workloads and endpoints of a cluster, and all that is wrong with its objects.

    ``namespace`` is that of objects that name none. Documents of other kinds are left out.
    """
    reader = _Reader(ages, namespace)
    for document in documents:
        if document.type in _CONTROLLERS:
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
        path = _CONTROLLERS[document.type]
        findings: list[Finding] = []
        whole = Fields(content, findings)
        metadata, template = whole.child("metadata"), whole
        for key in path:
            if key not in template:
                template.wrong(key, "required", f"{key!r} is required")
                break
            template = template.child(key)
        owner = Owner(*document.type, metadata.required("name"))
        matching = whole.child("spec").child("selector").texts("matchLabels")
        owned = any(each.flag("controller") for each in metadata.children("ownerReferences"))
        made = reading.read(_pod(content, path, owner))
        findings += (replace(each, path=(*path, *each.path)) for each in made.findings)
        self._note(document, content, findings)
        if isinstance(made.item, Pod) and not owned and _inside(content, _REPLICAS) != 0:
            pod = replace(made.item, owner=owner)
            self.objects.templates.append(Template(pod, matching or pod.labels))

    def _content(self, document: Document) -> dict[str, Any]:
        """The object with a namespace and the time when it was created."""
        content = {key: _plain(node) for key, node in document.content.items()}
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


def _pod(content: Mapping[str, Any], path: Path, owner: Owner) -> Mapping[str, Any]:
    """The Pod that a controller makes, named after it; those of StatefulSets are counted."""
    metadata = _mapping(_inside(content, (*path, "metadata")))
    name, labels = owner.name, metadata.get("labels")
    if owner.kind == "StatefulSet":
        name = f"{owner.name}-0"
        labels = {**_mapping(labels), _POD_NAME: name, _POD_INDEX: "0"}
    own = {key: _inside(content, ("metadata", key)) for key in ("namespace", "creationTimestamp")}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {**metadata, **own, "name": name or "nameless", "labels": labels},
        "spec": _inside(content, (*path, "spec")),
    }


def _inside(content: Any, path: Path) -> Any:
    """What stands at a path, None if there is nothing."""
    for key in path:
        content = _mapping(content).get(key)
    return content


def _mapping(value: Any) -> Mapping[Any, Any]:
    return value if isinstance(value, Mapping) else {}


def _plain(node: Node) -> Any:
    """A tree without positions."""
    if isinstance(node.value, dict):
        return {key: _plain(item) for key, item in node.value.items()}
    if isinstance(node.value, list):
        return [_plain(item) for item in node.value]
    return node.value


def _problem(document: Document, name: ObjectName, finding: Finding) -> Problem:
    """A finding at the line of the field, or of what it would be in."""
    return Problem(
        finding.rule,
        finding.message,
        path_text(finding.path),
        finding.severity,
        document.source,
        _position(document.node, finding.path),
        document.type[1],
        name.namespace,
        name.name,
    )


def _place(problem: Problem) -> tuple[int, int]:
    return problem.position.line, problem.position.column


def _position(node: Node, path: Path) -> Position:
    found = node.position
    for part in path:
        if isinstance(node.value, dict) and part in node.value:
            found, node = node.keys.get(str(part), found), node.value[str(part)]
        elif isinstance(node.value, list) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            found = node.position
        else:
            break
    return found


def _waiting(converter: Converter, slices: Mapping[SliceId, Document]) -> Iterator[Problem]:
    """Addresses that nobody gets to see because their Pods are in none of the files."""
    for each in converter.waiting():
        message = f"{each.address} is left out: Pod {'/'.join(each.pod)} is in none of the files"
        finding = warning((), "unknown-pod", message)
        yield _problem(slices[each.slice], ObjectName(*each.slice[1:]), finding)
