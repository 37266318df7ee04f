"""The workloads of the mesh by uid and address, for attribute generation (mixer.md G6, G7)."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Generic, TypeVar

from istio.networking.v1alpha3.workload_entry_pb2 import WorkloadEntry
from mast.mixer.core.values import short_ip
from mastapi.registry.v1.registry_pb2 import Workload

K = TypeVar("K")

UID_PREFIX = "kubernetes://"
# Addresses whose packed form is remembered.
_ADDRESSES = 65_536
_WORKLOAD_NAME_LABEL = "service.istio.io/workload-name"
_GROUP_ANNOTATION = "istio.io/autoRegistrationGroup"


@dataclass(frozen=True, slots=True)
class Pod:
    """What attribute generation knows of one running instance; unknown parts are empty."""

    name: str
    namespace: str
    addresses: tuple[bytes, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    service_account: str = ""
    host_address: bytes = b""
    workload: str = ""
    owner: str = ""
    containers: Mapping[int, str] = field(default_factory=dict)

    @property
    def uid(self) -> str:
        """``kubernetes://<pod>.<namespace>``."""
        return f"{UID_PREFIX}{self.name}.{self.namespace}"


def pod_of_workload(workload: Workload) -> Pod:
    """A workload that a platform or the workload itself reported.

    Without a controller the workload is named after the pod, which then owns itself (G7).
    """
    name, namespace = workload.name, workload.namespace
    return Pod(
        name,
        namespace,
        tuple(packed for each in workload.addresses if (packed := packed_ip(each))),
        dict(workload.labels),
        workload.service_account,
        packed_ip(workload.node),
        workload.workload_name or name,
        workload.owner or f"{UID_PREFIX}apis/v1/namespaces/{namespace}/pods/{name}",
        dict(workload.containers),
    )


def pod_of_entry(
    name: str, namespace: str, entry: WorkloadEntry, annotations: Mapping[str, str]
) -> Pod:
    """A workload that an operator wrote down; its group or label names the workload."""
    address = packed_ip(entry.address)
    labels = dict(entry.labels)
    group = annotations.get(_GROUP_ANNOTATION, "")
    link = f"{UID_PREFIX}apis/networking.istio.io/v1alpha3/namespaces/{namespace}"
    return Pod(
        name,
        namespace,
        (address,) if address else (),
        labels,
        entry.service_account,
        workload=labels.get(_WORKLOAD_NAME_LABEL) or group or name,
        owner=f"{link}/workloadgroups/{group}" if group else f"{link}/workloadentries/{name}",
    )


@lru_cache(maxsize=_ADDRESSES)
def packed_ip(text: str) -> bytes:
    """An address in 4 or 16 bytes; nothing if the text is none."""
    try:
        return short_ip(ipaddress.ip_address(text).packed)
    except ValueError:
        return b""


class _Index(Generic[K]):
    """Keys of pods by something that several may share; the one added last is found."""

    def __init__(self) -> None:
        self._keys: dict[K, dict[str, None]] = {}

    def add(self, by: K, key: str) -> None:
        self._keys.setdefault(by, {})[key] = None

    def discard(self, by: K, key: str) -> None:
        keys = self._keys.get(by, {})
        keys.pop(key, None)
        if not keys:
            self._keys.pop(by, None)

    def last(self, by: K) -> str | None:
        keys = self._keys.get(by)
        return next(reversed(keys)) if keys else None


class Workloads:
    """The pods known now. One writer; ``generation`` grows with every change."""

    def __init__(self) -> None:
        self.generation = 0
        self._pods: dict[str, Pod] = {}
        self._by_name = _Index[tuple[str, str]]()
        self._by_address = _Index[bytes]()

    def put(self, key: str, pod: Pod) -> None:
        """Know a pod under the key it is stored at; the one put last wins its name and address."""
        if self._pods.get(key) == pod:
            return
        self._forget(key)
        self._pods[key] = pod
        self._by_name.add((pod.name, pod.namespace), key)
        for address in pod.addresses:
            self._by_address.add(address, key)
        self.generation += 1

    def remove(self, key: str) -> None:
        """Forget the pod stored at a key, if there is one."""
        if key in self._pods:
            self._forget(key)
            self.generation += 1

    def _forget(self, key: str) -> None:
        pod = self._pods.pop(key, None)
        if pod is not None:
            self._by_name.discard((pod.name, pod.namespace), key)
            for address in pod.addresses:
                self._by_address.discard(address, key)

    def find(self, uid: str, address: bytes | None) -> Pod | None:
        """The pod of a uid, or if that is empty, of an address that is not unspecified (G6).

        The last dot of a uid parts pod from namespace: pod names may have dots.
        """
        if uid:
            name, _, namespace = uid.removeprefix(UID_PREFIX).rpartition(".")
            key = self._by_name.last((name, namespace))
        else:
            packed = short_ip(address or b"")
            key = self._by_address.last(packed) if any(packed) else None
        return None if key is None else self._pods[key]
