"""Policies of Istio 1.0 to 1.4: authentication, RBAC, quotas and API descriptions (B4)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from mast.galley.core.metadata import dns_label
from mast.galley.core.objects import ConfigObject
from mast.galley.core.problem import Finding, Path
from mast.galley.core.rules import common, values
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

# Properties of a subject that have a field of their own.
_PROPERTY_FIELDS = {
    "source.principal": "names",
    "source.namespace": "namespaces",
    "source.ip": "ips",
    "request.auth.claims[groups]": "groups",
}


def _policy(obj: ConfigObject) -> Iterator[Finding]:
    """The policy of a namespace or mesh has no targets and the name ``default``."""
    spec, name = obj.spec, obj.meta.name
    if obj.kind.cluster_scoped:
        yield from _named_default(obj)
        if spec.targets:
            message = "'targets' is not allowed in a MeshPolicy: it is for every service"
            yield Finding((*SPEC, "targets"), "not-allowed", message)
    elif not spec.targets and name != DEFAULT:
        message = f"a policy without 'targets' must be named {DEFAULT!r}"
        yield Finding((*SPEC, "targets"), "required", message)
    elif spec.targets and name == DEFAULT:
        message = f"a policy named {DEFAULT!r} is for the whole namespace: no 'targets'"
        yield Finding((*SPEC, "targets"), "not-allowed", message)
    yield from _issuers(spec)
    for index, method in enumerate(spec.peers):
        if method.WhichOneof("params") is None:
            yield required((*SPEC, "peers", index), "mtls", "jwt")
    for index, origin in enumerate(spec.origins):
        if not origin.HasField("jwt"):
            yield required((*SPEC, "origins", index, "jwt"), "jwt")


def _issuers(spec: Any) -> Iterator[Finding]:
    seen: set[str] = set()
    for index, origin in enumerate(spec.origins):
        issuer = origin.jwt.issuer
        if issuer and issuer in seen:
            at = (*SPEC, "origins", index, "jwt", "issuer")
            yield Finding(at, "duplicate", f"issuer {issuer!r} is given twice")
        seen.add(issuer)


def _named_default(obj: ConfigObject) -> Iterator[Finding]:
    if obj.meta.name != DEFAULT:
        message = f"a {obj.kind.name} must be named {DEFAULT!r}"
        yield Finding(("metadata", "name"), "name", message)


def _jwt(jwt: Any, at: Path) -> Iterator[Finding]:
    if not jwt.issuer:
        yield required((*at, "issuer"), "issuer")


def _access_rule(rule: Any, at: Path) -> Iterator[Finding]:
    yield from exclusive(rule, at, "methods", "not_methods")
    yield from exclusive(rule, at, "ports", "not_ports")
    for index, constraint in enumerate(rule.constraints):
        here = (*at, "constraints", index)
        for name in ("key", "values"):
            if not is_set(constraint, name):
                yield required((*here, name), name)


def _subject(subject: Any, at: Path) -> Iterator[Finding]:
    if not subject.ListFields():
        yield Finding(at, "empty", 'the subject is empty; use names: ["*"] or user: "*"')
    for key, field in _PROPERTY_FIELDS.items():
        if key in subject.properties and is_set(subject, field):
            message = f"{key!r} repeats the field {field!r}"
            yield Finding((*at, "properties", key), "duplicate", message)
    for name in ("names", "not_names"):
        for index, entry in enumerate(getattr(subject, name)):
            if entry == "*":
                message = "'*' is not allowed here; use user: \"*\""
                yield Finding((*at, json_name(subject, name), index), "not-allowed", message)


def _binding(obj: ConfigObject) -> Iterator[Finding]:
    """One way of saying what is allowed."""
    spec = obj.spec
    ways = ("roleRef", "role", "actions")
    yield from exclusive(spec, SPEC, *ways)
    if not any(is_set(spec, way) for way in ways):
        yield required(SPEC, *ways)
    if spec.HasField("roleRef") and spec.roleRef.kind and spec.roleRef.kind != "ServiceRole":
        message = f"{spec.roleRef.kind!r} is not allowed; allowed: ServiceRole"
        yield Finding((*SPEC, "roleRef", "kind"), "kind", message)
    if spec.role.endswith("/"):
        yield Finding((*SPEC, "role"), "name", "the role has no name after '/'")


def _rbac_config(obj: ConfigObject) -> Iterator[Finding]:
    yield from _named_default(obj)
    spec = obj.spec
    for mode, name in (
        (spec.ON_WITH_INCLUSION, "inclusion"),
        (spec.ON_WITH_EXCLUSION, "exclusion"),
    ):
        if spec.mode == mode and not is_set(spec, name):
            yield required((*SPEC, name), name)


def _quota_spec(obj: ConfigObject) -> Iterator[Finding]:
    if not obj.spec.rules:
        yield required((*SPEC, "rules"), "rules")
    for index, rule in enumerate(obj.spec.rules):
        if not rule.quotas:
            yield required((*SPEC, "rules", index, "quotas"), "quotas")


def _attribute_match(match: Any, at: Path) -> Iterator[Finding]:
    if not match.clause:
        yield required((*at, "clause"), "clause")
    for key, clause in match.clause.items():
        if clause.WhichOneof("match_type") is None:
            yield required((*at, "clause", key), "exact", "prefix", "regex")


def _quota(quota: Any, at: Path) -> Iterator[Finding]:
    if not quota.quota:
        yield required((*at, "quota"), "quota")
    if quota.charge <= 0:
        message = f"charge {quota.charge} is not allowed; allowed: more than 0"
        yield Finding((*at, "charge"), "charge", message)


def _services(services: Sequence[Any], at: Path) -> Iterator[Finding]:
    """Services by short name or by host."""
    for index, service in enumerate(services):
        here = (*at, index)
        if bool(service.name) == bool(service.service):
            message = "exactly one of 'name' and 'service' must be set"
            yield Finding(here, "one-of", message)
        if service.namespace and service.service:
            message = "'namespace' is not allowed with 'service'"
            yield Finding((*here, "namespace"), "not-allowed", message)
        yield from common.labels(service.labels, (*here, "labels"))


def _spec_binding(obj: ConfigObject) -> Iterator[Finding]:
    yield from _services(obj.spec.services, (*SPEC, "services"))


def _api_spec(obj: ConfigObject) -> Iterator[Finding]:
    if not obj.spec.patterns and not obj.spec.api_keys:
        yield required((*SPEC, "patterns"), "patterns", "apiKeys")


def _pattern(pattern: Any, at: Path) -> Iterator[Finding]:
    if not pattern.http_method:
        yield required((*at, "httpMethod"), "httpMethod")
    chosen = pattern.WhichOneof("pattern")
    if chosen is None:
        yield required(at, "uriTemplate", "regex")
    elif chosen == "regex":
        yield from when(values.regex(pattern.regex), (*at, "regex"), "regex")


def _api_key(key: Any, at: Path) -> Iterator[Finding]:
    chosen = key.WhichOneof("key")
    if chosen is None or not getattr(key, chosen):
        yield required(at, "query", "header", "cookie")


_AUTHENTICATION = "istio.authentication.v1alpha1"
_RBAC = "istio.rbac.v1alpha1"
_CLIENT = "istio.mixer.v1.config.client"

FAMILY = Family(
    fields={
        **prefixed(
            _AUTHENTICATION,
            {
                "TargetSelector.name": ("name", dns_label),
                "PortSelector.number": ("port", values.port),
                "PortSelector.name": ("port-name", values.port_name),
                "Jwt.jwks_uri": ("url", values.url("http", "https")),
                "Jwt.audiences": ("empty", values.nonempty),
                "Jwt.jwt_headers": ("header", values.token),
                "Jwt.jwt_params": ("empty", values.nonempty),
            },
        ),
        **prefixed(
            _RBAC,
            {
                "AccessRule.services": ("empty", values.nonempty),
                "AccessRule.ports": ("port", values.port),
                "AccessRule.not_ports": ("port", values.port),
            },
        ),
    },
    messages={
        f"{_AUTHENTICATION}.Jwt": _jwt,
        **prefixed(_RBAC, {"AccessRule": _access_rule, "Subject": _subject}),
        **prefixed(
            _CLIENT,
            {
                "AttributeMatch": _attribute_match,
                "Quota": _quota,
                "HTTPAPISpecPattern": _pattern,
                "APIKey": _api_key,
            },
        ),
    },
    objects={
        "Policy": _policy,
        "MeshPolicy": _policy,
        "ServiceRoleBinding": _binding,
        "RbacConfig": _rbac_config,
        "ClusterRbacConfig": _rbac_config,
        "QuotaSpec": _quota_spec,
        "QuotaSpecBinding": _spec_binding,
        "HTTPAPISpec": _api_spec,
        "HTTPAPISpecBinding": _spec_binding,
    },
    # One of roleRef, role and actions: `_binding`.
    optional=frozenset(
        {f"{_RBAC}.ServiceRoleBinding.roleRef", f"{_RBAC}.ServiceRoleBinding.actions"}
    ),
)
