"""Object metadata: names, labels and annotations as Kubernetes has them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from mast.galley.core.documents import Node
from mast.galley.core.problem import Finding, Path, Position
from mast.galley.core.scalars import WrongValue, shown, string

ANNOTATIONS_LIMIT_BYTES = 256 << 10

# What a Kubernetes API server adds; read and forgotten.
_FOREIGN = frozenset(
    {
        "creationTimestamp",
        "deletionGracePeriodSeconds",
        "deletionTimestamp",
        "finalizers",
        "generateName",
        "generation",
        "managedFields",
        "ownerReferences",
        "selfLink",
        "uid",
    }
)
_KNOWN = ("name", "namespace", "labels", "annotations", "resourceVersion")

_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_QUALIFIED = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")


@dataclass(frozen=True, slots=True)
class Metadata:
    """``resource_version`` is empty unless the writer insists on the stored version."""

    name: str
    namespace: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    resource_version: str = ""


def dns_label(text: str) -> str | None:
    """Complaint about what must be one DNS-1123 label."""
    if _DNS_LABEL.fullmatch(text):
        return None
    return f"{text!r} must be lower case letters, digits and '-', at most 63, as DNS-1123 says"


def dns_subdomain(text: str) -> str | None:
    """Complaint about what must be DNS-1123 labels joined by dots, at most 253 characters."""
    if len(text) <= 253 and all(_DNS_LABEL.fullmatch(part) for part in text.split(".")):
        return None
    return (
        f"{text!r} must be lower case letters, digits, '-' and '.', at most 253, as DNS-1123 says"
    )


def label_key(text: str) -> str | None:
    """Complaint about a label or annotation key: ``[dns-subdomain/]name`` (Kubernetes)."""
    prefix, slash, name = text.rpartition("/")
    if _QUALIFIED.fullmatch(name) and (not slash or dns_subdomain(prefix) is None):
        return None
    return f"{text!r} must be [prefix/]name: name of letters, digits, '-', '_', '.', at most 63"


def label_value(text: str) -> str | None:
    """Complaint about a label value (Kubernetes)."""
    if _LABEL_VALUE.fullmatch(text):
        return None
    return f"{text!r} must be empty or letters, digits, '-', '_', '.', at most 63"


def read(
    node: Node | None, cluster_scoped: bool
) -> tuple[Metadata, list[Finding], Mapping[Path, Position]]:
    """The metadata of a document, what is wrong with it, and where its fields stand."""
    if node is None:
        return Metadata(""), [], {}
    if not isinstance(node.value, dict):
        message = f"{shown(node)} is not an object"
        return Metadata(""), [Finding(("metadata",), "wrong-type", message)], {}
    content = node.value
    at: dict[Path, Position] = {("metadata", key): place for key, place in node.keys.items()}
    reader = _Reader(at)
    name, namespace = reader.text(content, "name"), reader.text(content, "namespace")
    version = reader.text(content, "resourceVersion")
    meta = Metadata(
        name,
        "" if cluster_scoped else namespace,
        reader.texts(content, "labels"),
        reader.texts(content, "annotations"),
        version,
    )
    findings = [*reader.findings, *_check(meta), *_unknown(content)]
    if cluster_scoped and namespace:
        message = "a cluster-scoped object has no namespace"
        findings.append(Finding(("metadata", "namespace"), "cluster-scoped", message))
    return meta, findings, at


class _Reader:
    def __init__(self, positions: dict[Path, Position]) -> None:
        self.findings: list[Finding] = []
        self._positions = positions

    def text(self, content: Mapping[str, Node], key: str) -> str:
        node = content.get(key)
        if node is None or node.value is None:
            return ""
        try:
            return string(node)
        except WrongValue as error:
            self.findings.append(Finding(("metadata", key), "wrong-type", str(error)))
            return ""

    def texts(self, content: Mapping[str, Node], key: str) -> Mapping[str, str]:
        node = content.get(key)
        if node is None or node.value is None:
            return {}
        if not isinstance(node.value, dict):
            message = f"{shown(node)} is not an object"
            self.findings.append(Finding(("metadata", key), "wrong-type", message))
            return {}
        found: dict[str, str] = {}
        for name, item in node.value.items():
            at = ("metadata", key, name)
            self._positions[at] = node.keys.get(name, item.position)
            try:
                found[name] = string(item)
            except WrongValue as error:
                self.findings.append(Finding(at, "wrong-type", str(error)))
        return found


def _check(meta: Metadata) -> Iterator[Finding]:
    """Names and grammars (B1 metadata, text)."""
    if not meta.name:
        yield Finding(("metadata", "name"), "required", "a name is required")
    elif complaint := dns_subdomain(meta.name):
        yield Finding(("metadata", "name"), "name", complaint)
    if meta.namespace and (complaint := dns_label(meta.namespace)):
        yield Finding(("metadata", "namespace"), "name", complaint)
    for key, value in meta.labels.items():
        at = ("metadata", "labels", key)
        for complaint in (label_key(key), label_value(value)):
            if complaint:
                yield Finding(at, "label", complaint)
    for key in meta.annotations:
        if complaint := label_key(key.lower()):
            yield Finding(("metadata", "annotations", key), "annotation", complaint)
    size = sum(len(k.encode()) + len(v.encode()) for k, v in meta.annotations.items())
    if size > ANNOTATIONS_LIMIT_BYTES:
        message = f"annotations have {size} bytes; allowed: {ANNOTATIONS_LIMIT_BYTES}"
        yield Finding(("metadata", "annotations"), "too-large", message)


def _unknown(content: Mapping[str, Node]) -> Iterator[Finding]:
    for key in content:
        if key not in _KNOWN and key not in _FOREIGN:
            message = f"unknown field {key!r} of metadata; allowed: {', '.join(_KNOWN)}"
            yield Finding(("metadata", key), "unknown-field", message)
