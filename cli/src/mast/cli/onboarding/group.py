"""A WorkloadGroup as onboarding sees it, and as YAML for those who make one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.json_format import MessageToDict

from istio.networking.v1alpha3.workload_entry_pb2 import WorkloadEntry
from istio.networking.v1alpha3.workload_group_pb2 import WorkloadGroup

CANONICAL_NAME = "service.istio.io/canonical-name"
CANONICAL_REVISION = "service.istio.io/canonical-revision"
PROXY_CONFIG = "proxy.istio.io/config"

_NAME_LABELS = (CANONICAL_NAME, "app.kubernetes.io/name", "app")
_REVISION_LABELS = (CANONICAL_REVISION, "app.kubernetes.io/version", "version")
_DEFAULT_ACCOUNT = "default"
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")


@dataclass(frozen=True)
class Group:
    """One WorkloadGroup with its metadata."""

    name: str
    namespace: str
    spec: WorkloadGroup
    annotations: Mapping[str, str] = field(default_factory=dict)

    @property
    def service_account(self) -> str:
        """Whose identity its workloads have."""
        return self.spec.template.service_account or _DEFAULT_ACCOUNT

    @property
    def labels(self) -> dict[str, str]:
        """Labels of its workloads, the canonical ones among them; the group's win (B9)."""
        given = {**self.spec.template.labels, **self.spec.metadata.labels}
        return {
            **given,
            CANONICAL_NAME: _first(given, _NAME_LABELS, self.name),
            CANONICAL_REVISION: _first(given, _REVISION_LABELS, "latest"),
        }

    @property
    def proxy_configs(self) -> Sequence[str]:
        """Settings of the proxy that it is annotated with, the stronger ones later."""
        sources = (self.annotations, self.spec.metadata.annotations)
        return [each[PROXY_CONFIG] for each in sources if PROXY_CONFIG in each]

    def document(self) -> dict[str, Any]:
        """The object as users write it; maps are sorted, as they have no order."""
        return {
            "apiVersion": "networking.istio.io/v1",
            "kind": "WorkloadGroup",
            "metadata": {"name": self.name, "namespace": self.namespace},
            "spec": _sorted(MessageToDict(self.spec)),
        }


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return value


def _first(labels: Mapping[str, str], names: Sequence[str], otherwise: str) -> str:
    return next((labels[name] for name in names if labels.get(name)), otherwise)


def new_group(
    name: str,
    namespace: str,
    *,
    labels: Sequence[str] = (),
    annotations: Sequence[str] = (),
    ports: Sequence[str] = (),
    service_account: str = "",
) -> Group:
    """A group of its parts as a command line has them; ValueError names the one that is wrong."""
    for what, text in (("--name", name), ("--namespace", namespace)):
        if not _NAME.fullmatch(text):
            raise ValueError(f"{what} {text!r}: want lower case letters, digits, '-' and '.'")
    spec = WorkloadGroup(
        metadata=WorkloadGroup.ObjectMeta(
            labels=pairs("--labels", labels), annotations=pairs("--annotations", annotations)
        ),
        template=WorkloadEntry(
            ports={key: _port(value) for key, value in pairs("--ports", ports).items()},
            service_account=service_account or _DEFAULT_ACCOUNT,
        ),
    )
    return Group(name, namespace, spec)


def pairs(option: str, texts: Sequence[str]) -> dict[str, str]:
    """``a=b,c=d`` of several texts; ValueError names the option."""
    found = {}
    for text in ",".join(texts).split(",") if texts else ():
        key, equals, value = text.partition("=")
        if not (key and equals):
            raise ValueError(f"{option} {text!r}: write NAME=VALUE")
        found[key] = value
    return found


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise ValueError(f"--ports {text!r}: want a port, 1 to 65535")
    return int(text)
