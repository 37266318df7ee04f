"""What in the registry is a cluster's: several of them, and others, write there."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from typing import Final

from google.protobuf.message import DecodeError

from mast.common import keys
from mastapi.registry.v1.registry_pb2 import RemoteCluster, Workload

PREFIXES: Final = (keys.REGISTRY_SERVICES, keys.REGISTRY_ENDPOINTS, keys.REGISTRY_WORKLOADS)
"""Where a cluster's services, endpoints and workloads stand."""


def is_of_cluster(cluster: str, key: str, value: bytes) -> bool:
    """Whether an entry is of a cluster; machines that registered themselves are Pilot's."""
    if key.startswith(keys.REGISTRY_WORKLOADS):
        ours = key.startswith(f"{keys.REGISTRY_WORKLOADS}{cluster}/")
        return ours and not _registered_itself(value)
    prefix = next((each for each in PREFIXES if key.startswith(each)), key)
    return key.removeprefix(prefix).split("/")[2:3] == [cluster]


def keeper(value: bytes) -> str:
    """The cluster whose Galleys read another one, by a record of ``registry/clusters/``."""
    try:
        return str(RemoteCluster.FromString(value).kept_by)
    except DecodeError:
        return ""


def in_order(changed: Iterable[str], wanted: Container[str]) -> Sequence[str]:
    """Changed keys as they are to be written; of one namespace they stand together.

    Nothing is missing in between when endpoints move to other parts of a shard: those of higher
    numbers, which may be new, come first; what is not wanted any more goes last.
    """
    namespaces: dict[tuple[bool, str], list[tuple[str, str]]] = {}
    for key in changed:
        _, _, rest = key.split("/", 2)
        place = key in wanted, rest.partition("/")[0]
        namespaces.setdefault(place, []).append((rest, key))
    found: list[str] = []
    for place in sorted(namespaces, reverse=True):
        found += [key for _, key in sorted(namespaces[place], reverse=True)]
    return found


def _registered_itself(value: bytes) -> bool:
    """Of what cannot be read nobody knows."""
    try:
        return bool(Workload.FromString(value).registration_group)
    except DecodeError:
        return True
