"""What etcd holds that concerns Mixer, decoded: configuration objects and workloads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from google.protobuf.message import DecodeError, Message

from istio.mcp.v1alpha1.resource_pb2 import Resource
from istio.networking.v1alpha3.workload_entry_pb2 import WorkloadEntry
from mast.common.keys import (
    CONFIG,
    REGISTRY_WORKLOADS,
    ConfigKey,
    collection_prefix,
    parse_config_key,
)
from mast.common.kinds import BY_COLLECTION, unpack
from mast.mixer.core import roles
from mast.mixer.core.client_config import COLLECTIONS, ClientConfig
from mast.mixer.core.config.entry import Entry, Problem
from mast.mixer.core.fingerprint import Fingerprint
from mast.mixer.core.roles import Roles
from mast.mixer.core.workloads import Workloads, pod_of_entry, pod_of_workload
from mastapi.registry.v1.registry_pb2 import Workload

_WORKLOAD_ENTRIES = "istio/networking/v1alpha3/workloadentries"

# What counts as soon as it is read, without being compiled.
_AT_ONCE = COLLECTIONS.union(roles.COLLECTIONS)

# The prefixes that Mixer reads.
PREFIXES = (
    f"{CONFIG}istio/policy/v1beta1/",
    f"{CONFIG}istio/config/v1alpha2/",
    f"{CONFIG}istio/mixer/v1/config/client/",
    collection_prefix(_WORKLOAD_ENTRIES),
    *map(collection_prefix, roles.COLLECTIONS),
    REGISTRY_WORKLOADS,
)


class World:
    """The shared state as Mixer sees it. One writer."""

    def __init__(self) -> None:
        self.workloads = Workloads()
        self.client = ClientConfig()
        self.roles = Roles()
        self._entries: dict[str, Entry] = {}
        self._broken: dict[str, Problem] = {}
        self._rules = Fingerprint()
        self._others = Fingerprint()
        self._in_force = ""

    @property
    def entries(self) -> tuple[Entry, ...]:
        """All configuration objects that could be decoded."""
        return tuple(self._entries.values())

    @property
    def rules(self) -> str:
        """What the objects of :attr:`entries` come down to."""
        return str(self._rules)

    def put_in_force(self, rules: str) -> None:
        """From now on verdicts are made by the objects that came down to this."""
        self._in_force = rules
        self._name_configuration()

    @property
    def broken(self) -> tuple[Problem, ...]:
        """What is wrong with the others; they count as they were before, if they were."""
        return tuple(self._broken.values())

    def apply(self, changes: Mapping[str, bytes | None]) -> bool:
        """Take changes by key, None for a deletion; whether the configuration has changed."""
        changed = False
        for key, value in changes.items():
            self._broken.pop(key, None)
            try:
                changed |= self._apply(key, value)
                self._note(key, value)
            except (ValueError, DecodeError) as error:
                self._broken[key] = Problem(key, "", str(error))
                changed = True
        return changed

    def _apply(self, key: str, value: bytes | None) -> bool:
        if key.startswith(REGISTRY_WORKLOADS):
            if value is None:
                self.workloads.remove(key)
            else:
                self.workloads.put(key, pod_of_workload(Workload.FromString(value)))
            return False
        where = parse_config_key(key)
        if value is None and where.collection in COLLECTIONS:
            self._put_client(where, None)
            return False
        if value is None and where.collection in roles.COLLECTIONS:
            self.roles.put(where.namespace, where.name, where.collection, None)
            return False
        if value is None:
            self.workloads.remove(key)
            return self._entries.pop(key, None) is not None
        kind = BY_COLLECTION.get(where.collection)
        if kind is None:
            return False
        resource = Resource.FromString(value)
        spec = unpack(kind, resource.body)
        annotations = dict(resource.metadata.annotations)
        if isinstance(spec, WorkloadEntry):
            pod = pod_of_entry(where.name, where.namespace, spec, annotations)
            self.workloads.put(key, pod)
            return False
        if where.collection in COLLECTIONS:
            self._put_client(where, spec)
            return False
        if where.collection in roles.COLLECTIONS:
            self.roles.put(where.namespace, where.name, where.collection, spec)
            return False
        generation = resource.metadata.version
        self._entries[key] = Entry(
            kind.name, where.namespace, where.name, spec, annotations, generation
        )
        return True

    def _note(self, key: str, value: bytes | None) -> None:
        """Take in what verdicts are made by; workloads are no configuration."""
        collection = "" if key.startswith(REGISTRY_WORKLOADS) else parse_config_key(key).collection
        if collection in _AT_ONCE:
            self._others.put(key, value)
            self._name_configuration()
        elif collection in BY_COLLECTION and collection != _WORKLOAD_ENTRIES:
            self._rules.put(key, value)

    def _name_configuration(self) -> None:
        self.client = replace(self.client, configuration=f"{self._in_force}{self._others}")

    def _put_client(self, where: ConfigKey, spec: Message | None) -> None:
        name = (where.namespace, where.name)
        self.client = self.client.with_object(where.collection, name, spec)
