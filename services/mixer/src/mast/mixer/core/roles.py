"""ServiceRoles and their bindings, as the adapter rbac asks them (mixer.md G.1; Istio 1.0)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from google.protobuf.message import Message

from istio.rbac.v1alpha1.rbac_pb2 import AccessRule, ServiceRole, ServiceRoleBinding, Subject
from mast.mixer.core.values import Value, text

COLLECTIONS = ("istio/rbac/v1alpha1/serviceroles", "istio/rbac/v1alpha1/servicerolebindings")

Properties = Mapping[str, Value]


@dataclass(frozen=True, kw_only=True)
class Access:
    """Who wants to do what: the fields of an instance of the template authorization."""

    user: str = ""
    groups: str = ""
    subject_properties: Properties = field(default_factory=dict)
    namespace: str = ""
    service: str = ""
    method: str = ""
    path: str = ""
    action_properties: Properties = field(default_factory=dict)


class Roles:
    """The roles of a mesh and to whom they are given; both are of a namespace. One writer."""

    def __init__(self) -> None:
        self._roles: dict[str, dict[str, ServiceRole]] = {}
        self._bindings: dict[str, dict[str, ServiceRoleBinding]] = {}

    def put(self, namespace: str, name: str, collection: str, spec: Message | None) -> None:
        """Take an object of one of the collections; None: it is gone."""
        role = collection == COLLECTIONS[0]
        held: dict[str, dict[str, Message]] = self._roles if role else self._bindings  # type: ignore[assignment]
        if spec is None:
            held.get(namespace, {}).pop(name, None)
        else:
            held.setdefault(namespace, {})[name] = spec

    def allow(self, access: Access) -> bool:
        """Whether a binding of the action's namespace gives a role that allows it."""
        roles = self._roles.get(access.namespace, {})
        allowed = {
            name for name, role in roles.items() if any(_may(rule, access) for rule in role.rules)
        }
        return any(
            binding.roleRef.name in allowed and any(_is(each, access) for each in binding.subjects)
            for binding in self._bindings.get(access.namespace, {}).values()
        )


def _may(rule: AccessRule, access: Access) -> bool:
    """Services and methods must be named, paths and constraints may be."""
    return (
        _matches(rule.services, access.service)
        and _matches(rule.methods, access.method)
        and (not rule.paths or _matches(rule.paths, access.path))
        and all(
            each.key in access.action_properties
            and _matches(each.values, text(access.action_properties[each.key]))
            for each in rule.constraints
        )
    )


def _is(subject: Subject, access: Access) -> bool:
    """All that a subject names; one that names nothing is nobody."""
    if not (subject.user or subject.group or subject.properties):
        return False
    return (
        subject.user in {"", "*", access.user}
        and subject.group in {"", "*", access.groups}
        and _has(subject.properties, access.subject_properties)
    )


def _has(wanted: Mapping[str, str], properties: Properties) -> bool:
    return all(
        name in properties and _matches([value], text(properties[name]))
        for name, value in wanted.items()
    )


def _matches(patterns: Iterable[str], value: str) -> bool:
    """Exact, ``*``, ``pre*`` or ``*suf``."""
    return any(_match(pattern, value) for pattern in patterns)


def _match(pattern: str, value: str) -> bool:
    if pattern.endswith("*"):
        return value.startswith(pattern[:-1])
    if pattern.startswith("*"):
        return value.endswith(pattern[1:])
    return pattern == value
