"""Authentication Policy and MeshPolicy of Istio 1.0 to 1.4 (B4)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mast.galley.core.metadata import dns_label
from mast.galley.core.objects import ConfigObject
from mast.galley.core.problem import Finding, Path
from mast.galley.core.rules import common, request_authentication, values
from mast.galley.core.rules.access_roles import deprecated
from mast.galley.core.rules.table import SPEC, Family, prefixed, required, when, without_effect

DEFAULT = "default"
# A proxy has rules for every combination of them (pilot.md J8).
TRIGGERS_LIMIT = 6

_INSTEAD = "write a PeerAuthentication or a RequestAuthentication"


def _policy(obj: ConfigObject) -> Iterator[Finding]:
    """The policy of a namespace or mesh has no targets and the name ``default``."""
    yield deprecated(_INSTEAD)
    spec, name = obj.spec, obj.meta.name
    if obj.kind.cluster_scoped:
        if name != DEFAULT:
            message = f"a {obj.kind.name} must be named {DEFAULT!r}"
            yield Finding(("metadata", "name"), "name", message)
        if spec.targets:
            message = "'targets' is not allowed in a MeshPolicy: it is for every service"
            yield Finding((*SPEC, "targets"), "not-allowed", message)
    elif not spec.targets and name != DEFAULT:
        message = f"a policy without 'targets' must be named {DEFAULT!r}"
        yield Finding((*SPEC, "targets"), "required", message)
    elif spec.targets and name == DEFAULT:
        message = f"a policy named {DEFAULT!r} is for the whole namespace: no 'targets'"
        yield Finding((*SPEC, "targets"), "not-allowed", message)
    yield from _peers(spec)
    yield from _origins(spec)


def _peers(spec: Any) -> Iterator[Finding]:
    for index, method in enumerate(spec.peers):
        if method.WhichOneof("params") is None:
            yield required((*SPEC, "peers", index), "mtls")
    if not spec.peers:
        yield from without_effect(spec, SPEC, "there are no 'peers'", "peer_is_optional")


def _origins(spec: Any) -> Iterator[Finding]:
    seen: set[str] = set()
    for index, origin in enumerate(spec.origins):
        if not origin.HasField("jwt"):
            yield required((*SPEC, "origins", index, "jwt"), "jwt")
        issuer = origin.jwt.issuer
        if issuer and issuer in seen:
            at = (*SPEC, "origins", index, "jwt", "issuer")
            yield Finding(at, "duplicate", f"issuer {issuer!r} is given twice")
        seen.add(issuer)
    if not spec.origins:
        if spec.principal_binding:
            message = "'origins' is required for principalBinding USE_ORIGIN"
            yield Finding((*SPEC, "origins"), "required", message)
        yield from without_effect(spec, SPEC, "there are no 'origins'", "origin_is_optional")
    lists = {
        tuple(rule.SerializeToString() for rule in each.jwt.trigger_rules) for each in spec.origins
    }
    if len(lists - {()}) > TRIGGERS_LIMIT:
        message = f"{len(lists - {()})} different 'triggerRules'; allowed: {TRIGGERS_LIMIT}"
        yield Finding((*SPEC, "origins"), "too-many", message)


def _jwt(jwt: Any, at: Path) -> Iterator[Finding]:
    if not jwt.issuer:
        yield required((*at, "issuer"), "issuer")
    if jwt.jwks:
        yield from without_effect(jwt, at, "'jwks' holds the keys", "jwks_uri")
        yield from request_authentication.keys(jwt.jwks, (*at, "jwks"))
    elif not jwt.jwks_uri and jwt.issuer:
        yield from request_authentication.discovery(jwt.issuer, (*at, "issuer"))


def _trigger_rule(rule: Any, at: Path) -> Iterator[Finding]:
    if not rule.ListFields():
        message = "the rule is empty and fits every path; leave 'triggerRules' out for that"
        yield Finding(at, "empty", message)


def _path(match: Any, at: Path) -> Iterator[Finding]:
    """Paths are compared without their query."""
    chosen = match.WhichOneof("match_type")
    if chosen is None:
        yield required(at, "exact", "prefix", "suffix", "regex")
        return
    text = getattr(match, chosen)
    here = (*at, chosen)
    if chosen == "regex":
        yield from when(values.regex(text), here, "regex")
    elif not text:
        yield Finding(here, "string-match", f"{chosen} must not be empty")
    elif set(text) & {"?", "#"}:
        message = f"{text!r} never fits: paths are compared without query and fragment"
        yield Finding(here, "string-match", message)


def _port(selector: Any, at: Path) -> Iterator[Finding]:
    if selector.WhichOneof("port") is None:
        yield required(at, "number", "name")


def _target(target: Any, at: Path) -> Iterator[Finding]:
    yield from common.labels(target.labels, (*at, "labels"))


_PACKAGE = "istio.authentication.v1alpha1"

FAMILY = Family(
    fields=prefixed(
        _PACKAGE,
        {
            "TargetSelector.name": ("name", dns_label),
            "PortSelector.number": ("port", values.port),
            "PortSelector.name": ("port-name", values.port_name),
            "Jwt.jwks_uri": ("url", request_authentication.jwks_uri),
            "Jwt.audiences": ("empty", values.nonempty),
            "Jwt.jwt_headers": ("header", values.token),
            "Jwt.jwt_params": ("empty", values.nonempty),
        },
    ),
    messages=prefixed(
        _PACKAGE,
        {
            "Jwt": _jwt,
            "Jwt.TriggerRule": _trigger_rule,
            "StringMatch": _path,
            "PortSelector": _port,
            "TargetSelector": _target,
        },
    ),
    objects={"Policy": _policy, "MeshPolicy": _policy},
    unsupported={
        f"{_PACKAGE}.PeerAuthenticationMethod.jwt": "no version of Istio had it; use 'origins'"
    },
)
