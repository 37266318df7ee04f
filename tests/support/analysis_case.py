"""Samples for analyzers: documents in one line each, and what is to be said about them."""

from __future__ import annotations

from dataclasses import dataclass

from mast.common.kinds import named

_FOREIGN = {
    "Service": "v1",
    "Pod": "v1",
    "Deployment": "apps/v1",
    "StatefulSet": "apps/v1",
    "CronJob": "batch/v1",
    "CustomResourceDefinition": "apiextensions.k8s.io/v1",
    "MutatingWebhookConfiguration": "admissionregistration.k8s.io/v1",
    "ValidatingWebhookConfiguration": "admissionregistration.k8s.io/v1",
}
_CLUSTER_SCOPED = {
    "Namespace",
    "CustomResourceDefinition",
    "MutatingWebhookConfiguration",
    "ValidatingWebhookConfiguration",
}


@dataclass(frozen=True)
class Case:
    """What is told of `origin` with `code` if there is what is bad, and not if it is good."""

    id: str
    code: str
    origin: str
    bad: str
    good: str


def doc(
    kind: str,
    name: str,
    spec: str = "",
    *,
    ns: str = "shop",
    labels: str = "{}",
    annotations: str = "{}",
    top: str = "",
) -> str:
    """A document; ``spec`` is YAML in flow style, ``top`` further lines of the top level."""
    api = _FOREIGN.get(kind) or named(kind)[0].api_version
    where = "" if kind in _CLUSTER_SCOPED else f"namespace: {ns}, "
    lines = [
        "---",
        f"apiVersion: {api}",
        f"kind: {kind.rpartition('/')[2]}",
        f"metadata: {{name: {name}, {where}labels: {labels}, annotations: {annotations}}}",
        f"spec: {spec}" if spec else "",
        top,
    ]
    return "\n".join(filter(None, lines)) + "\n"


def service(
    name: str,
    ports: str = "[{name: http, port: 80}]",
    *,
    ns: str = "shop",
    selector: str = "",
    annotations: str = "{}",
) -> str:
    """A Service of Kubernetes that selects pods by ``app``, or as it is told."""
    chosen = selector or f"{{app: {name}}}"
    spec = f"{{selector: {chosen}, ports: {ports}}}"
    return doc("Service", name, spec, ns=ns, annotations=annotations)


def pod(
    name: str,
    labels: str = "",
    *,
    ns: str = "shop",
    containers: str = "[{name: app, image: app}]",
    annotations: str = "{}",
    more: str = "",
) -> str:
    """A Pod that is labelled with ``app``, or as it is told."""
    spec = f"{{containers: {containers}{more}}}"
    chosen = labels or f"{{app: {name}}}"
    return doc("Pod", name, spec, ns=ns, labels=chosen, annotations=annotations)


def deployment(
    name: str,
    *,
    ns: str = "shop",
    containers: str = "[{name: app, image: app}]",
    annotations: str = "{}",
    own: str = "{}",
    more: str = "",
) -> str:
    """A Deployment whose pods are labelled with ``app``; ``own`` are its own annotations."""
    template = (
        f"{{metadata: {{labels: {{app: {name}}}, annotations: {annotations}}}, "
        f"spec: {{containers: {containers}{more}}}}}"
    )
    return doc("Deployment", name, f"{{template: {template}}}", ns=ns, annotations=own)


def registered(name: str, labels: str) -> str:
    """A workload as a platform reported it."""
    return (
        "---\napiVersion: registry.mast/v1\nkind: Workload\n"
        f"metadata: {{name: {name}}}\n"
        f"spec: {{name: {name}, namespace: shop, labels: {labels}}}\n"
    )
