"""Who may do what in a namespace: roles joined with their bindings (Istio RBAC v1alpha1)."""

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from istio.rbac.v1alpha1.rbac_pb2 import (
    PERMISSIVE,
    AccessRule,
    ServiceRole,
    ServiceRoleBinding,
    Subject,
)
from mast.pilot.core.model import collection_names
from mast.pilot.core.model.finding import Fault, Finding
from mast.pilot.core.model.model import Config
from mast.pilot.core.scope.scope import Scope

_ROOT: Final = "/"
"""Stands before the names of roles of the root namespace."""


class Grant(NamedTuple):
    """Rules and the subjects that they are for.

    `name` is that of the role, with a `/` before if it is one of the root namespace, or
    `binding[NAME]` for rules that stand in a binding itself. `namespace` is that of the rules.
    Grants that are not `enforced` are only told of.
    """

    name: str
    namespace: str
    rules: Sequence[AccessRule]
    subjects: Sequence[Subject]
    enforced: bool


def grants(scope: Scope, namespace: str) -> Sequence[Grant]:
    """What the bindings of a namespace grant, oldest role first, whoever asks (pilot.md J7).

    Bindings of one role and mode are one grant. A binding names a role of its own namespace
    (`roleRef`, `role`), one of the root namespace (`role: /NAME`), or has rules of its own
    (`actions`). One that names a role nobody has grants nothing.
    """
    return scope.shared(("role grants", namespace), lambda inner: tuple(_build(inner, namespace)))


def _build(scope: Scope, namespace: str) -> Iterator[Grant]:
    bindings: Sequence[Config[ServiceRoleBinding]] = scope.configs(
        collection_names.SERVICE_ROLE_BINDINGS, namespace
    )
    known = set()
    for prefix, where in (("", namespace), (_ROOT, scope.mesh.root_namespace)):
        roles: Sequence[Config[ServiceRole]] = scope.configs(collection_names.SERVICE_ROLES, where)
        for role in roles:
            name = prefix + role.meta.name
            known.add(name)
            bound = [each.spec for each in bindings if _role(each.spec) == name]
            yield from _grants(name, where, role.spec.rules, bound)
    for each in bindings:
        if each.spec.actions:
            name = f"binding[{each.meta.name}]"
            yield from _grants(name, namespace, each.spec.actions, [each.spec])
        elif _role(each.spec) not in known:
            scope.report(_lost(each, scope.mesh.root_namespace))


def _grants(
    name: str, namespace: str, rules: Any, bindings: Sequence[ServiceRoleBinding]
) -> Iterator[Grant]:
    for enforced in (True, False):
        subjects = tuple(
            subject
            for each in bindings
            if (each.mode != PERMISSIVE) == enforced
            for subject in each.subjects
        )
        if subjects:
            yield Grant(name, namespace, tuple(rules), subjects, enforced)


def _role(binding: ServiceRoleBinding) -> str:
    """Name of the role that a binding is for, empty if it has rules of its own."""
    return binding.roleRef.name or binding.role


def _lost(binding: Config[ServiceRoleBinding], root: str) -> Finding:
    """A binding of a role that nobody has."""
    meta, role = binding.meta, _role(binding.spec)
    where = root if role.startswith(_ROOT) else meta.namespace
    return Finding(
        fault=Fault.UNENFORCEABLE,
        key=f"{meta.namespace}/{meta.name}",
        message=(
            f"{meta} grants nothing: there is no ServiceRole {where}/{role.removeprefix(_ROOT)}."
        ),
        subject=meta.object_name,
    )
