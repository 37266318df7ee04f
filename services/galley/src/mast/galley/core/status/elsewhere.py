"""What the store has that an analysis of one cluster does not see there."""

from __future__ import annotations

from contextlib import suppress

from google.protobuf.message import DecodeError

from mast.common import keys
from mast.galley.core.analysis.reading import registered, stored
from mast.galley.core.analysis.snapshot import Item
from mast.galley.core.cluster import source_of
from mast.galley.core.discovery.services import REGISTRY
from mast.galley.core.resources import Unreadable, shown
from mast.galley.core.resources import stored as resource
from mast.galley.core.tree import SOURCE_ANNOTATION
from mastapi.registry.v1.registry_pb2 import Service, Workload


def stored_items(key: str, value: bytes, cluster: str) -> tuple[Item, ...]:
    """The objects of a stored value: configuration of other sources, and of other registries.

    Nothing for what comes from the cluster itself, and for what cannot be read.
    """
    with suppress(DecodeError, Unreadable):
        if key.startswith(keys.REGISTRY_SERVICES):
            service = Service.FromString(value)
            own = service.registry == REGISTRY and service.cluster in {"", cluster}
            return () if own else (registered(service),)
        if key.startswith(keys.REGISTRY_WORKLOADS):
            workload = Workload.FromString(value)
            own = workload.cluster == cluster and not workload.registration_group
            return () if own else (registered(workload),)
        found = resource(key, value, 0)
        if found.annotations.get(SOURCE_ANNOTATION) != source_of(cluster):
            return tuple(stored(shown(found)))
    return ()
