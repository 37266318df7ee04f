"""Adapter ``kubernetesenv``: describes source and destination from the registry (mixer.md G.3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf.duration_pb2 import Duration

from istio.mixer.adapter.kubernetesenv.config.config_pb2 import Params
from mast.mixer.core.adapter import Adapter, HandlerConfig, Instance
from mast.mixer.core.values import Value
from mast.mixer.core.workloads import Pod, Workloads


def described(side: str, pod: Pod) -> dict[str, Value]:
    """The output fields of one side; only those that the pod has (G7)."""
    values: dict[str, Value] = {
        "pod_uid": pod.uid,
        "pod_ip": pod.addresses[0] if pod.addresses else b"",
        "pod_name": pod.name,
        "labels": pod.labels,
        "namespace": pod.namespace,
        "service_account_name": pod.service_account,
        "host_ip": pod.host_address,
        "workload_uid": f"istio://{pod.namespace}/workloads/{pod.workload}" if pod.workload else "",
        "workload_name": pod.workload,
        "workload_namespace": pod.namespace if pod.workload else "",
        "owner": pod.owner,
    }
    return {f"{side}_{name}": value for name, value in values.items() if value}


class KubernetesEnvironment:
    """Looks both sides up in the workloads of the moment."""

    def __init__(self, workloads: Workloads) -> None:
        self._workloads = workloads
        self._described: dict[tuple[str, int], dict[str, Value]] = {}
        self._described_at = workloads.generation

    @property
    def generation(self) -> object:
        """Changes with the workloads."""
        return self._workloads.generation

    def generate(self, instance: Instance) -> Mapping[str, Value]:
        """What is known of source and destination; nothing of a side that is unknown (G6)."""
        fields: Mapping[str, Any] = instance.fields
        found: dict[str, Value] = {}
        source = self._workloads.find(fields["source_uid"], fields["source_ip"])
        if source is not None:
            found |= self._known("source", source)
        destination = self._workloads.find(fields["destination_uid"], fields["destination_ip"])
        if destination is not None:
            found |= self._known("destination", destination)
            container = destination.containers.get(fields["destination_port"])
            if container:
                found["destination_container_name"] = container
        return found

    def _known(self, side: str, pod: Pod) -> dict[str, Value]:
        """What is known of a pod, made once for each side until some workload changes."""
        if self._described_at != self._workloads.generation:
            self._described = {}
            self._described_at = self._workloads.generation
        key = side, id(pod)
        values = self._described.get(key)
        if values is None:
            values = self._described[key] = described(side, pod)
        return values


def adapter(workloads: Workloads) -> Adapter:
    """The adapter over these workloads. Its params, which say how to reach Kubernetes, have no
    effect: the registry is shared (Differs from Istio: G6)."""

    def build(_: HandlerConfig) -> KubernetesEnvironment:
        return KubernetesEnvironment(workloads)

    return Adapter(
        name="kubernetesenv",
        templates=frozenset({"kubernetes"}),
        defaults=Params(cache_refresh_duration=Duration(seconds=300)),
        build=build,
    )
