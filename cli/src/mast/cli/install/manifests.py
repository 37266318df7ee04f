"""Objects of a manifest: what they are called, in which order they are made, how two differ."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import yaml

Object = dict[str, Any]

# Kinds in the order in which Helm makes them; all others come last ("InstallOrder").
ORDER: Final = (
    "PriorityClass",
    "Namespace",
    "NetworkPolicy",
    "ResourceQuota",
    "LimitRange",
    "PodSecurityPolicy",
    "PodDisruptionBudget",
    "ServiceAccount",
    "Secret",
    "SecretList",
    "ConfigMap",
    "StorageClass",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "CustomResourceDefinition",
    "ClusterRole",
    "ClusterRoleList",
    "ClusterRoleBinding",
    "ClusterRoleBindingList",
    "Role",
    "RoleList",
    "RoleBinding",
    "RoleBindingList",
    "Service",
    "DaemonSet",
    "Pod",
    "ReplicationController",
    "ReplicaSet",
    "Deployment",
    "HorizontalPodAutoscaler",
    "StatefulSet",
    "Job",
    "CronJob",
    "IngressClass",
    "Ingress",
    "APIService",
    "MutatingWebhookConfiguration",
    "ValidatingWebhookConfiguration",
)
_RANK: Final = {kind: at for at, kind in enumerate(ORDER)}
# By what the items of a list are told apart, if all of them have it.
_KEYS: Final = ("name", "containerPort", "port", "mountPath", "key", "type")
# Fields whose texts are numbers with units, which the API server writes in another way.
_QUANTITIES: Final = {"limits", "requests", "sizeLimit"}
_TENS: Final = {unit: 3 * n - 9 for n, unit in enumerate(("n", "u", "m", "", *"kMGTPE"))}
_QUANTITY: Final = re.compile(r"([+-]?[\d.]+(?:[eE][+-]?\d+)?)(Ki|Mi|Gi|Ti|Pi|Ei|[numkMGTPE]?)")
_BINARY: Final = ("Ki", "Mi", "Gi", "Ti", "Pi", "Ei")
_NEEDED: Final = ("apiVersion", "kind", "metadata")
# Longest value that is told.
_SHOWN: Final = 80


@dataclass(frozen=True, order=True)
class Identity:
    """Which object of a cluster; ``namespace`` is "" for kinds without."""

    api_version: str
    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return ":".join(part for part in (self.kind, self.namespace, self.name) if part)

    @property
    def group(self) -> str:
        """The group of the kind, "" for the core group: versions show the same objects."""
        return self.api_version.rpartition("/")[0]


@dataclass(frozen=True)
class Difference:
    """A field that is not as it is wanted; a value that is not there is None."""

    path: str
    wanted: Any
    found: Any

    def __str__(self) -> str:
        return f"{self.path or 'the object'}: {_told(self.found)}, want {_told(self.wanted)}"


def identity(found: Mapping[str, Any]) -> Identity:
    """What an object is called."""
    metadata = found.get("metadata") or {}
    return Identity(
        str(found.get("apiVersion", "")),
        str(found.get("kind", "")),
        str(metadata.get("namespace", "")),
        str(metadata.get("name", "")),
    )


def name_of(found: Mapping[str, Any]) -> str:
    """``metadata.name``, "" if it has none."""
    metadata = found.get("metadata")
    return str(metadata.get("name", "")) if isinstance(metadata, Mapping) else ""


def parsed(text: str, where: str) -> list[Object]:
    """The objects of a text of several documents; ValueError for what is none.

    A ``List`` is its items; documents that are empty count for nothing.
    """
    try:
        documents = list(yaml.load_all(text, yaml.CSafeLoader))
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"{where}: {error}") from error
    found: list[Object] = []
    for each in documents:
        if each is None:
            continue
        is_list = isinstance(each, dict) and each.get("kind") == "List"
        found += (each.get("items") or []) if is_list else [each]
    for each in found:
        if not isinstance(each, dict) or not all(map(each.get, _NEEDED)) or not name_of(each):
            raise ValueError(f"{where}: want objects with apiVersion, kind and metadata.name")
    return found


def ordered(objects: Iterable[Object]) -> list[Object]:
    """Objects in the order in which Helm makes them; by name within a kind."""
    return sorted(objects, key=lambda each: (rank(str(each["kind"])), identity(each)))


def rank(kind: str) -> int:
    """When a kind has its turn."""
    return _RANK.get(kind, len(_RANK))


def differences(wanted: Any, found: Any, path: str = "") -> Iterator[Difference]:
    """Where ``found`` is not as ``wanted`` has it; what is not wanted may be anything.

    Items of a list are compared by their names, or else by their places. Nothing, false, 0 and ""
    are the same: an API server leaves out what is empty. So are quantities of one size.
    """
    if isinstance(wanted, Mapping) and isinstance(found, Mapping):
        for key, value in wanted.items():
            inner = _joined(path, str(key))
            if key in _QUANTITIES:
                yield from _of_quantities(value, found.get(key), inner)
            else:
                yield from differences(value, found.get(key), inner)
    elif isinstance(wanted, list) and isinstance(found, list):
        yield from _of_lists(wanted, found, path)
    elif not (wanted == found or (_is_nothing(wanted) and _is_nothing(found))):
        yield Difference(path, wanted, found)


def _of_lists(wanted: list[Any], found: list[Any], path: str) -> Iterator[Difference]:
    key = next((name for name in _KEYS if _tells_apart(name, wanted, found)), None)
    if key is None:
        if len(wanted) != len(found):
            yield Difference(path, wanted, found)
            return
        for at, (each, other) in enumerate(zip(wanted, found, strict=True)):
            yield from differences(each, other, f"{path}[{at}]")
        return
    by_key = {each[key]: each for each in found}
    for each in wanted:
        yield from differences(each, by_key.get(each[key]), f"{path}[{each[key]}]")


def _tells_apart(name: str, *lists: list[Any]) -> bool:
    """Whether all items of lists have a field, each another value of it."""
    for items in lists:
        if not all(isinstance(each, Mapping) and _is_key(each.get(name)) for each in items):
            return False
        if len({each[name] for each in items}) != len(items):
            return False
    return bool(lists[0])


def _is_key(value: Any) -> bool:
    return isinstance(value, str | int)


def _of_quantities(wanted: Any, found: Any, path: str) -> Iterator[Difference]:
    if isinstance(wanted, Mapping):
        for name, value in wanted.items():
            has = found.get(name) if isinstance(found, Mapping) else None
            yield from _of_quantities(value, has, _joined(path, str(name)))
    elif quantity(wanted) != quantity(found):
        yield Difference(path, wanted, found)


def quantity(value: Any) -> Decimal | str:
    """A quantity of Kubernetes as a number; anything else as its text."""
    text = str(value)
    match = _QUANTITY.fullmatch(text)
    if match is None:
        return text
    number, unit = match.groups()
    try:
        if unit in _BINARY:
            return Decimal(number) * Decimal(1024) ** (_BINARY.index(unit) + 1)
        return Decimal(number).scaleb(_TENS[unit])
    except InvalidOperation:
        return text


def _is_nothing(value: Any) -> bool:
    """Whether it is empty all the way down."""
    if isinstance(value, Mapping):
        return all(map(_is_nothing, value.values()))
    return not value


def _joined(path: str, key: str) -> str:
    plain = re.fullmatch(r"[\w-]+", key)
    if not plain:
        return f"{path}[{key}]"
    return f"{path}.{key}" if path else key


def _told(value: Any) -> str:
    if value is None:
        return "nothing"
    text = value if isinstance(value, str) else repr(value)
    text = repr(text) if "\n" in text else text
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
