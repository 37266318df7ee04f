"""Role-based access control of Istio 1.0 to 1.4: roles, bindings and their switch (B4).

What Pilot cannot express in Envoy's terms, and what can never match, is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from mast.galley.core.metadata import dns_label, label_key
from mast.galley.core.objects import ConfigObject
from mast.galley.core.problem import Finding, Path, warning
from mast.galley.core.rules import values
from mast.galley.core.rules.table import (
    SPEC,
    Family,
    exclusive,
    is_set,
    json_name,
    prefixed,
    required,
    when,
)

DEFAULT = "default"
ANYBODY = "*"

_INSTEAD = "write an AuthorizationPolicy"

# Properties of a subject that have a field of their own.
_PROPERTY_FIELDS = {
    "source.principal": ("names", "user"),
    "source.namespace": ("namespaces",),
    "source.ip": ("ips",),
    "request.auth.claims[groups]": ("groups", "group"),
}
_PROPERTIES = (
    "source.ip", "source.namespace", "source.principal", "source.user",
    "request.auth.principal", "request.auth.audiences", "request.auth.presenter",
)  # fmt: skip
_CONSTRAINTS = (
    "destination.ip", "destination.port", "destination.name", "destination.namespace",
    "destination.user", "connection.sni",
)  # fmt: skip
_HEADER = re.compile(r"request\.headers\[([^\[\]]+)\]")
_CLAIM = re.compile(r"request\.auth\.claims\[[^\[\]]+\]")
_LABEL = re.compile(r"destination\.labels\[([^\[\]]+)\]")
_METADATA = re.compile(r"experimental\.envoy\.filters\.[^\[\]]+\[[^\[\]]+\]")


def deprecated(instead: str) -> Finding:
    """A kind that newer ones have replaced; it still holds."""
    return warning(("kind",), "deprecated", f"the kind is deprecated since Istio 1.5; {instead}")


def _role(obj: ConfigObject) -> Iterator[Finding]:
    yield deprecated(_INSTEAD)


def _binding(obj: ConfigObject) -> Iterator[Finding]:
    """One way of saying what is allowed."""
    yield deprecated(_INSTEAD)
    spec = obj.spec
    ways = ("roleRef", "role", "actions")
    yield from exclusive(spec, SPEC, *ways)
    if not any(is_set(spec, way) for way in ways):
        yield required(SPEC, *ways)
    if spec.HasField("roleRef") and spec.roleRef.kind and spec.roleRef.kind != "ServiceRole":
        message = f"{spec.roleRef.kind!r} is not allowed; allowed: ServiceRole"
        yield Finding((*SPEC, "roleRef", "kind"), "kind", message)
    if spec.role and "/" in spec.role.removeprefix("/"):
        message = f"{spec.role!r} is not allowed; allowed: NAME, or /NAME of the root namespace"
        yield Finding((*SPEC, "role"), "name", message)
    elif spec.role == "/":
        yield Finding((*SPEC, "role"), "name", "the role has no name after '/'")


def _config(obj: ConfigObject) -> Iterator[Finding]:
    yield deprecated(_INSTEAD)
    if obj.meta.name != DEFAULT:
        message = f"a {obj.kind.name} must be named {DEFAULT!r}"
        yield Finding(("metadata", "name"), "name", message)
    spec = obj.spec
    for mode, name in (
        (spec.ON_WITH_INCLUSION, "inclusion"),
        (spec.ON_WITH_EXCLUSION, "exclusion"),
    ):
        if spec.mode == mode and not is_set(spec, name):
            yield required((*SPEC, name), name)
        elif spec.mode != mode and is_set(spec, name):
            shown = spec.Mode.Name(spec.mode)
            yield warning(
                (*SPEC, name), "without-effect", f"{name!r} has no effect in mode {shown}"
            )


def _access_rule(rule: Any, at: Path) -> Iterator[Finding]:
    yield from exclusive(rule, at, "methods", "not_methods")
    yield from exclusive(rule, at, "ports", "not_ports")
    seen: set[str] = set()
    for index, constraint in enumerate(rule.constraints):
        here = (*at, "constraints", index)
        for name in ("key", "values"):
            if not is_set(constraint, name):
                yield required((*here, name), name)
        if constraint.key:
            if constraint.key in seen:
                message = f"{constraint.key!r} is given twice; put the values into one list"
                yield Finding((*here, "key"), "duplicate", message)
            seen.add(constraint.key)
            yield from when(_constraint_key(constraint.key), (*here, "key"), "constraint")
            for number, value in enumerate(constraint.values):
                complaint = _constraint_value(constraint.key, value)
                yield from when(complaint, (*here, "values", number), "constraint")


def _constraint_key(key: str) -> str | None:
    if key in _CONSTRAINTS or _METADATA.fullmatch(key):
        return None
    if found := _LABEL.fullmatch(key):
        return label_key(found[1])
    if found := _HEADER.fullmatch(key):
        return values.token(found[1])
    allowed = ", ".join([*_CONSTRAINTS, "destination.labels[name]", "request.headers[name]"])
    return f"{key!r} is unknown; allowed: {allowed}"


def _constraint_value(key: str, value: str) -> str | None:
    if key == "destination.ip":
        return values.cidr(value)
    if key == "destination.port":
        number = values.digits(value)
        is_port = number is not None and number <= 65535
        return None if is_port else f"{value!r} is not a port; allowed: 0 to 65535"
    return _pattern(value)


def _subject(subject: Any, at: Path) -> Iterator[Finding]:
    if not subject.ListFields():
        yield Finding(at, "empty", 'the subject is empty; use user: "*" for anybody')
    for key, fields in _PROPERTY_FIELDS.items():
        for field in fields:
            if key in subject.properties and is_set(subject, field):
                message = f"{key!r} repeats the field {field!r}"
                yield Finding((*at, "properties", key), "duplicate", message)
    for key, value in subject.properties.items():
        here = (*at, "properties", key)
        complaint = _property_key(key) or _property_value(key, value)
        yield from when(complaint, here, "property")
    yield from exclusive(subject, at, "group", "groups")
    for name in ("names", "not_names"):
        for index, entry in enumerate(getattr(subject, name)):
            if entry == ANYBODY:
                message = "'*' is not allowed here; use user: \"*\""
                yield Finding((*at, json_name(subject, name), index), "not-allowed", message)


def _property_key(key: str) -> str | None:
    if key in _PROPERTIES or _CLAIM.fullmatch(key):
        return None
    if found := _HEADER.fullmatch(key):
        return values.token(found[1])
    allowed = ", ".join([*_PROPERTIES, "request.headers[name]", "request.auth.claims[name]"])
    return f"{key!r} is unknown; allowed: {allowed}"


def _property_value(key: str, value: str) -> str | None:
    return values.cidr(value) if key == "source.ip" else _pattern(value)


def _pattern(text: str) -> str | None:
    """A text, ``a*``, ``*a`` or ``*``."""
    if not text:
        return "must not be empty"
    if "*" in text.removesuffix("*") and "*" in text.removeprefix("*"):
        return f"{text!r}: '*' is allowed at one end only"
    return None


def _full_name(host: str) -> str | None:
    """A service whose namespace is told, since the object is for the whole mesh."""
    if "*" in host:
        return f"{host!r}: '*' is not allowed here; list services, or namespaces"
    if "." not in host:
        return f"{host!r} has no namespace; allowed: NAME.NAMESPACE.svc.cluster.local"
    return values.fqdn(host)


_RBAC = "istio.rbac.v1alpha1"
_PATTERN = ("pattern", _pattern)

FAMILY = Family(
    fields=prefixed(
        _RBAC,
        {
            "AccessRule.services": _PATTERN,
            "AccessRule.ports": ("port", values.port),
            "AccessRule.not_ports": ("port", values.port),
            **{
                f"AccessRule.{prefix}{name}": _PATTERN
                for prefix in ("", "not_")
                for name in ("hosts", "paths", "methods")
            },
            "Subject.user": _PATTERN,
            "Subject.group": _PATTERN,
            **{
                f"Subject.{prefix}{name}": _PATTERN
                for prefix in ("", "not_")
                for name in ("names", "groups", "namespaces")
            },
            "Subject.ips": ("cidr", values.cidr),
            "Subject.not_ips": ("cidr", values.cidr),
            "RbacConfig.Target.services": ("service", _full_name),
            "RbacConfig.Target.namespaces": ("namespace", dns_label),
        },
    ),
    messages=prefixed(_RBAC, {"AccessRule": _access_rule, "Subject": _subject}),
    objects={
        "ServiceRole": _role,
        "ServiceRoleBinding": _binding,
        "RbacConfig": _config,
        "ClusterRbacConfig": _config,
    },
    # One of roleRef, role and actions: `_binding`.
    optional=frozenset(
        {f"{_RBAC}.ServiceRoleBinding.roleRef", f"{_RBAC}.ServiceRoleBinding.actions"}
    ),
)
