"""Which lists of objects are maps or sets, and which maps are one value: how writes merge.

Schemas are OpenAPI's with Kubernetes' extensions ("Merge strategy" of server-side apply). Those of
built-in kinds say no more than that; what they leave out is merged if it is a map, and one value if
it is a list.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final

from mast.common.kubernetes.objects import (
    CERTIFICATE_SIGNING_REQUESTS,
    MUTATING_WEBHOOK_CONFIGURATIONS,
    NODES,
    PODS,
    SERVICE_ACCOUNTS,
    VALIDATING_WEBHOOK_CONFIGURATIONS,
    Resource,
)
from tests.fakes.kubernetes.kinds import (
    CRDS,
    CRON_JOBS,
    DAEMON_SETS,
    DEPLOYMENTS,
    INGRESS_CLASSES,
    JOBS,
    REPLICA_SETS,
    SERVICES,
    STATEFUL_SETS,
)

Schema = Mapping[str, Any]

LIST_TYPE: Final = "x-kubernetes-list-type"
LIST_KEYS: Final = "x-kubernetes-list-map-keys"
MAP_TYPE: Final = "x-kubernetes-map-type"

_SET, _ATOMIC = "set", "atomic"
# A list by its keys, a set of values, or a map that is one value.
_METADATA = {"metadata.ownerReferences": "uid", "metadata.finalizers": _SET}
_CONTAINER = {
    "ports": "containerPort,protocol",
    "env": "name",
    "volumeMounts": "mountPath",
    "volumeDevices": "devicePath",
}
_POD = {
    **dict.fromkeys(("containers", "initContainers", "ephemeralContainers", "volumes"), "name"),
    **{
        f"{place}.{name}": keys
        for place in ("containers", "initContainers", "ephemeralContainers")
        for name, keys in _CONTAINER.items()
    },
    "imagePullSecrets": "name",
    "hostAliases": "ip",
    "topologySpreadConstraints": "topologyKey,whenUnsatisfiable",
    "nodeSelector": _ATOMIC,
}
_CONDITIONS = {"status.conditions": "type"}
_SELECTOR = {"spec.selector": _ATOMIC}
_WEBHOOKS = {
    "webhooks": "name",
    "webhooks.matchConditions": "name",
    "webhooks.namespaceSelector": _ATOMIC,
    "webhooks.objectSelector": _ATOMIC,
}


def _pod(place: str) -> dict[str, str]:
    return {f"{place}.{name}": keys for name, keys in _POD.items()}


_BUILT_IN: Mapping[Resource, Mapping[str, str]] = {
    PODS: {**_pod("spec"), **_CONDITIONS, "status.podIPs": "ip", "status.hostIPs": "ip"},
    **{
        kind: {**_SELECTOR, **_CONDITIONS, **_pod("spec.template.spec")}
        for kind in (DEPLOYMENTS, REPLICA_SETS, STATEFUL_SETS, DAEMON_SETS, JOBS)
    },
    CRON_JOBS: _pod("spec.jobTemplate.spec.template.spec"),
    SERVICES: {**_SELECTOR, **_CONDITIONS, "spec.ports": "port,protocol"},
    SERVICE_ACCOUNTS: {"secrets": "name"},
    NODES: {**_CONDITIONS, "status.addresses": "type"},
    INGRESS_CLASSES: {"spec.parameters": _ATOMIC},
    CRDS: _CONDITIONS,
    CERTIFICATE_SIGNING_REQUESTS: _CONDITIONS,
    MUTATING_WEBHOOK_CONFIGURATIONS: _WEBHOOKS,
    VALIDATING_WEBHOOK_CONFIGURATIONS: _WEBHOOKS,
}
# What keys are if an item does not say.
_KEY_DEFAULTS = {"protocol": "TCP"}


@cache
def built_in(resource: Resource) -> Schema:
    """How objects of a built-in kind merge."""
    return _schema({**_METADATA, **_BUILT_IN.get(resource, {})})


def custom(schema: Schema) -> Schema:
    """How objects of a kind merge whose CRD has this schema."""
    properties = {**schema.get("properties", {}), **_schema(_METADATA)["properties"]}
    return {**schema, "properties": properties}


def _schema(places: Mapping[str, str]) -> dict[str, Any]:
    root: dict[str, Any] = {}
    for place, how in places.items():
        node = root
        for name in place.split("."):
            node = node.get("items", node).setdefault("properties", {}).setdefault(name, {})
        if how == _ATOMIC:
            node[MAP_TYPE] = _ATOMIC
        elif how == _SET:
            node[LIST_TYPE] = _SET
        else:
            keys = how.split(",")
            defaults = {
                key: {"default": _KEY_DEFAULTS[key]} for key in keys[1:] if key in _KEY_DEFAULTS
            }
            node.update({LIST_TYPE: "map", LIST_KEYS: keys, "items": {"properties": defaults}})
    return root


def inside(schema: Schema, name: str) -> Schema:
    """The schema of a field."""
    found = schema.get("properties", {}).get(name)
    if found is None:
        others = schema.get("additionalProperties")
        found = others if isinstance(others, Mapping) else {}
    return found if isinstance(found, Mapping) else {}


def is_whole(schema: Schema) -> bool:
    """Whether an object is one value."""
    return schema.get(MAP_TYPE) == _ATOMIC


def is_set(schema: Schema) -> bool:
    """Whether a list is a set of plain values."""
    return schema.get(LIST_TYPE) == _SET


def keys_of(schema: Schema) -> Sequence[str]:
    """By what the items of a list are told apart; none if the list is one value."""
    return tuple(schema.get(LIST_KEYS) or ()) if schema.get(LIST_TYPE) == "map" else ()


def key_of(schema: Schema, item: Mapping[str, Any]) -> str:
    """The key of an item, as JSON; KeyError if it has none."""
    items = schema.get("items", {})
    found = {}
    for name in keys_of(schema):
        default = inside(items, name).get("default")
        if name not in item and default is None:
            raise KeyError(name)
        found[name] = item.get(name, default)
    return json.dumps(dict(sorted(found.items())), separators=(",", ":"))
