"""Authorization by Role, ClusterRole and their bindings ("Using RBAC Authorization")."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mast.common.kubernetes.objects import Object, Resource
from tests.fakes.kubernetes.kinds import (
    CLUSTER_ROLE_BINDINGS,
    CLUSTER_ROLES,
    ROLE_BINDINGS,
    ROLES,
)
from tests.fakes.kubernetes.objects import Objects


@dataclass(frozen=True)
class Asked:
    """A call that is to be authorized; ``plural`` is ``pods/status`` for a subresource.

    For what is no resource ``path`` is set instead, as in ``/version``.
    """

    verb: str
    group: str = ""
    plural: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""

    def refusal(self, user: str) -> str:
        """Why it is forbidden, as the API says it."""
        if self.path:
            return f'forbidden: User "{user}" cannot {self.verb} path "{self.path}"'
        plural = self.plural.partition("/")[0]
        what = f"{plural}.{self.group}" if self.group else plural
        named = f' "{self.name}"' if self.name else ""
        where = f'in the namespace "{self.namespace}"' if self.namespace else "at the cluster scope"
        return (
            f'{what}{named} is forbidden: User "{user}" cannot {self.verb} resource'
            f' "{self.plural}" in API group "{self.group}" {where}'
        )


def allowed(objects: Objects, user: str, groups: Sequence[str], asked: Asked) -> bool:
    """Whether a role that is bound to the user, or to a group of his, allows a call."""
    if "system:masters" in groups:
        return True
    return any(_allows(rule, asked) for rule in _rules(objects, user, groups, asked.namespace))


def _rules(objects: Objects, user: str, groups: Sequence[str], namespace: str) -> Iterator[Object]:
    bindings = [*objects.shown(CLUSTER_ROLE_BINDINGS, "", lambda _: True)]
    if namespace:
        bindings += objects.shown(ROLE_BINDINGS, namespace, lambda _: True)
    for binding in bindings:
        home = binding["metadata"].get("namespace", "")
        if any(_is(subject, user, groups, home) for subject in binding.get("subjects") or ()):
            role = binding["roleRef"]
            kind: Resource = ROLES if role["kind"] == "Role" else CLUSTER_ROLES
            place = home if kind == ROLES else ""
            yield from objects.stored.get((kind, place, role["name"]), {}).get("rules") or ()


def _is(subject: Object, user: str, groups: Sequence[str], home: str) -> bool:
    match subject["kind"]:
        case "User":
            return bool(subject["name"] == user)
        case "Group":
            return subject["name"] in groups
        case _:
            namespace = subject.get("namespace") or home
            return user == f"system:serviceaccount:{namespace}:{subject['name']}"


def _allows(rule: Object, asked: Asked) -> bool:
    if not _has(rule.get("verbs"), asked.verb):
        return False
    if asked.path:
        patterns = rule.get("nonResourceURLs") or ()
        return any(
            each == asked.path or (each.endswith("*") and asked.path.startswith(each[:-1]))
            for each in patterns
        )
    subresource = asked.plural.partition("/")[2]
    plurals = rule.get("resources") or ()
    named = asked.plural in plurals or "*" in plurals
    named |= bool(subresource) and f"*/{subresource}" in plurals
    names = rule.get("resourceNames") or ()
    return named and _has(rule.get("apiGroups"), asked.group) and (not names or asked.name in names)


def _has(values: Sequence[str] | None, value: str) -> bool:
    return value in (values or ()) or "*" in (values or ())
