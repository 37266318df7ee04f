"""PeerAuthentication, AuthorizationPolicy (B3)."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from mast.common import path_templates
from mast.galley.core.metadata import dns_label
from mast.galley.core.objects import ConfigObject
from mast.galley.core.problem import Finding, Path, warning
from mast.galley.core.rules import common, values
from mast.galley.core.rules.table import (
    SPEC,
    Family,
    is_set,
    json_name,
    prefixed,
    required,
    when,
)

DRY_RUN = "istio.io/dry-run"
SERVICE_ACCOUNTS_LIMIT = 16

_HTTP_ONLY_SOURCE = ("request_principals", "not_request_principals")
_HTTP_ONLY_OPERATION = (
    "hosts", "not_hosts", "methods", "not_methods", "paths", "not_paths",
)  # fmt: skip
# Identities come from mutual TLS, which an external authorizer's trigger cannot look at.
_NOT_FOR_CUSTOM = (
    "principals", "not_principals", "namespaces", "not_namespaces", "service_accounts",
    "not_service_accounts", "trust_domains", "not_trust_domains", "request_principals",
    "not_request_principals",
)  # fmt: skip
_CONDITIONS = frozenset(
    {
        "source.ip", "source.namespace", "source.principal", "source.serviceAccount",
        "source.trustDomain", "remote.ip", "request.auth.principal", "request.auth.audiences",
        "request.auth.presenter", "destination.ip", "destination.port", "connection.sni",
    }
)  # fmt: skip
_HEADER = re.compile(r"request\.headers\[:?([^\[\]]+)\]")
_CLAIMS = re.compile(r"request\.auth\.claims(\[[^\[\]]+\])+")
_ENVOY_FILTERS = re.compile(r"experimental\.envoy\.filters\.[^\[\]]+(\[[^\[\]]+\])+")
_IDENTITY_LIMIT = 2048  # bytes of a SPIFFE ID
_PART_LIMIT = 255  # bytes of a trust domain; namespaces and service accounts are shorter
_SLASHES_LIMIT = 32


def _peer_authentication(obj: ConfigObject) -> Iterator[Finding]:
    spec = obj.spec
    yield from _written_empty(obj, spec.port_level_mtls, (*SPEC, "portLevelMtls"))
    if spec.port_level_mtls and not spec.selector.match_labels:
        message = "settings of ports need a selector: ports differ from workload to workload"
        yield Finding((*SPEC, "portLevelMtls"), "selector", message)


def _authorization_policy(obj: ConfigObject) -> Iterator[Finding]:
    spec = obj.spec
    yield from common.attachment(obj)
    yield from _waypoints(spec)
    yield from _dry_run(obj)
    for index, rule in enumerate(spec.rules):
        at = (*SPEC, "rules", index)
        yield from _written_empty(obj, rule_sources(rule), (*at, "from"))
        yield from _written_empty(obj, rule.to, (*at, "to"))
    if spec.action == spec.CUSTOM:
        if not spec.provider.name:
            yield required((*SPEC, "provider", "name"), "name")
        if not spec.rules:
            yield required((*SPEC, "rules"), "rules")
        yield from _custom(spec)
    elif spec.HasField("provider"):
        message = "'provider' is only allowed for action CUSTOM"
        yield Finding((*SPEC, "provider"), "not-allowed", message)
    if spec.action == spec.DENY:
        if not spec.rules:
            message = "DENY without rules never denies; write rules: [{}] to deny everything"
            yield Finding((*SPEC, "rules"), "required", message)
        for index, rule in enumerate(spec.rules):
            if _http_only(rule):
                message = "the rule looks at HTTP only, and so denies all plain TCP traffic"
                yield warning((*SPEC, "rules", index), "http-only", message)


def _written_empty(obj: ConfigObject, content: Collection[Any], at: Path) -> Iterator[Finding]:
    """What was written but is empty: it would mean everybody, as if it had been left out."""
    if at in obj.positions and not content:
        message = f"{at[-1]!r} is empty; leave it out, or write at least one"
        yield Finding(at, "empty-list", message)


def _waypoints(spec: Any) -> Iterator[Finding]:
    """Only Gateways are targets that there are proxies of."""
    given = [((*SPEC, "targetRefs", index), each) for index, each in enumerate(spec.targetRefs)]
    if spec.HasField("targetRef"):
        given.append(((*SPEC, "targetRef"), spec.targetRef))
    for at, target in given:
        if target.kind and target.kind != "Gateway":
            message = f"policies for a {target.kind} are for waypoints, which this mesh has not"
            yield warning((*at, "kind"), "nobody", message)


def _dry_run(obj: ConfigObject) -> Iterator[Finding]:
    if DRY_RUN not in obj.meta.annotations:
        return
    if obj.spec.action not in {obj.spec.ALLOW, obj.spec.DENY}:
        message = "a dry run is only possible for ALLOW and DENY"
        yield Finding(("metadata", "annotations", DRY_RUN), "dry-run", message)


def _custom(spec: Any) -> Iterator[Finding]:
    why = "is not allowed for action CUSTOM"
    for index, rule in enumerate(spec.rules):
        at = (*SPEC, "rules", index)
        for number, origin in enumerate(rule_sources(rule)):
            for name in _NOT_FOR_CUSTOM:
                if is_set(origin, name):
                    shown = json_name(origin, name)
                    where = (*at, "from", number, "source", shown)
                    yield Finding(where, "not-allowed", f"{shown!r} {why}")
        for number, condition in enumerate(rule.when):
            if condition.key.startswith("request.auth."):
                where = (*at, "when", number, "key")
                yield Finding(where, "not-allowed", f"{condition.key!r} {why}")


def rule_sources(rule: Any) -> list[Any]:
    """The sources of a rule; their field is named by a word of Python."""
    return [entry.source for entry in getattr(rule, "from")]


def _http_only(rule: Any) -> bool:
    """Whether every field of a rule needs HTTP: it then matches all TCP (B3)."""
    sources = rule_sources(rule)
    operations = [entry.operation for entry in rule.to]
    fields = [(m, f.name) for m in (*sources, *operations) for f, _ in m.ListFields()]
    conditions = [c.key.startswith("request.") for c in rule.when]
    return bool(fields or conditions) and all(
        [name in (*_HTTP_ONLY_SOURCE, *_HTTP_ONLY_OPERATION) for _, name in fields] + conditions
    )


def _from(entry: Any, at: Path) -> Iterator[Finding]:
    if not entry.source.ListFields():
        yield Finding((*at, "source"), "empty", "the source is empty; leave 'from' out for any")


def _to(entry: Any, at: Path) -> Iterator[Finding]:
    if not entry.operation.ListFields():
        message = "the operation is empty; leave 'to' out for any"
        yield Finding((*at, "operation"), "empty", message)


def _rule(rule: Any, at: Path) -> Iterator[Finding]:
    """Conditions have values, of the kind that their key wants."""
    for index, condition in enumerate(rule.when):
        here = (*at, "when", index)
        if not condition.values and not condition.not_values:
            yield required((*here, "values"), "values", "notValues")
        if condition.key:
            yield from when(_condition_key(condition.key), (*here, "key"), "condition")
            for name in ("values", "not_values"):
                for number, value in enumerate(getattr(condition, name)):
                    where = (*here, json_name(condition, name), number)
                    yield from when(_condition_value(condition.key, value), where, "condition")


def _condition_key(key: str) -> str | None:
    if key in _CONDITIONS or _CLAIMS.fullmatch(key) or _ENVOY_FILTERS.fullmatch(key):
        return None
    if (header := _HEADER.fullmatch(key)) is not None:
        return values.token(header[1])
    allowed = [
        *sorted(_CONDITIONS),
        *("request.headers[name]", "request.auth.claims[name]"),
        "experimental.envoy.filters.filter[key]",
    ]
    return f"{key!r} is unknown; allowed: {', '.join(allowed)}"


def _condition_value(key: str, value: str) -> str | None:
    check = _CONDITION_VALUES.get(key, values.nonempty)
    return check(value)


def _port(text: str) -> str | None:
    number = values.digits(text)
    if number is not None and number <= 65535:
        return None
    return f"{text!r} is not a port; allowed: 0 to 65535"


def _source(source: Any, at: Path) -> Iterator[Finding]:
    for name in ("service_accounts", "not_service_accounts"):
        accounts = getattr(source, name)
        if len(accounts) > SERVICE_ACCOUNTS_LIMIT:
            message = f"{len(accounts)} entries; allowed: {SERVICE_ACCOUNTS_LIMIT}"
            yield Finding((*at, json_name(source, name)), "too-many", message)
    if is_set(source, "service_accounts") or is_set(source, "not_service_accounts"):
        for name in ("principals", "not_principals", "namespaces", "not_namespaces"):
            if is_set(source, name):
                shown = json_name(source, name)
                message = f"{shown!r} is not allowed together with service accounts"
                yield Finding((*at, shown), "one-of", message)
    for name, told in _TOLD.items():
        for index, value in enumerate(getattr(source, name)):
            if (why := told(value)) is not None:
                yield warning((*at, json_name(source, name), index), "nobody", why)


def _with_scheme(principal: str) -> str | None:
    if not principal.startswith("spiffe://"):
        return None
    return f"{principal!r} is nobody's identity; leave out spiffe://"


def _without_subject(principal: str) -> str | None:
    if not principal or "/" in principal or "*" in (principal[0], principal[-1]):
        return None
    return f"{principal!r} is nobody's identity; write ISSUER/SUBJECT"


_TOLD = {
    "principals": _with_scheme,
    "not_principals": _with_scheme,
    "request_principals": _without_subject,
    "not_request_principals": _without_subject,
}


def _service_account(text: str) -> str | None:
    """``[namespace/]account``."""
    namespace, slash, account = text.rpartition("/")
    if not account or (slash and dns_label(namespace)) or "/" in namespace:
        return f"{text!r} must be [namespace/]account"
    if "*" in account:
        return f"{text!r}: '*' is not allowed here; name the account"
    return _short(account)


def _trust_domain(text: str) -> str | None:
    if not text:
        return "must not be empty"
    middle = text[1:] if text.startswith("*") else text.removesuffix("*")
    if "/" in text or "*" in middle:
        return f"{text!r}: no '/', and '*' only at one end"
    return _short(text)


def _namespace(text: str) -> str | None:
    return _short(text) if text else "must not be empty"


def _identity(text: str) -> str | None:
    """A peer's SPIFFE ID without its scheme, or a pattern of such."""
    if not text:
        return "must not be empty"
    size = len(text.encode())
    return None if size <= _IDENTITY_LIMIT else _too_long(text, size, _IDENTITY_LIMIT)


def _request_principal(text: str) -> str | None:
    """An issuer and a subject, divided by one of its slashes, or a pattern of such."""
    if not text:
        return "must not be empty"
    if text.count("/") > _SLASHES_LIMIT:
        return f"{text[:60]!r}… has {text.count('/')} slashes; allowed: {_SLASHES_LIMIT}"
    size = len(text.encode())
    return None if size <= _IDENTITY_LIMIT else _too_long(text, size, _IDENTITY_LIMIT)


def _short(text: str) -> str | None:
    size = len(text.encode())
    return None if size <= _PART_LIMIT else _too_long(text, size, _PART_LIMIT)


def _too_long(text: str, size: int, limit: int) -> str:
    return f"{text[:60]!r}… has {size} bytes; allowed: {limit}"


def _path(text: str) -> str | None:
    """A path, or a template in which ``{*}`` is one part and ``{**}`` any number of them."""
    if not text:
        return "must not be empty"
    if path_templates.is_template(text):
        try:
            path_templates.uri_template(text)
        except ValueError as error:
            return str(error)
    return None


_CONDITION_VALUES: Mapping[str, values.Check] = {
    **dict.fromkeys(("source.ip", "remote.ip", "destination.ip"), values.cidr),
    "source.namespace": _namespace,
    "source.principal": _identity,
    "source.serviceAccount": _service_account,
    "source.trustDomain": _trust_domain,
    "request.auth.principal": _request_principal,
    "destination.port": _port,
}

_PACKAGE = "istio.security.v1beta1"


def _both(message: str, name: str, rule: str, check: values.Check) -> dict[str, Any]:
    """The same check for a field and its negation."""
    return {f"{message}.{name}": (rule, check), f"{message}.not_{name}": (rule, check)}


FAMILY = Family(
    fields=prefixed(
        _PACKAGE,
        {
            **_both("Source", "principals", "principal", _identity),
            **_both("Source", "request_principals", "principal", _request_principal),
            **_both("Source", "namespaces", "namespace", _namespace),
            **_both("Source", "ip_blocks", "cidr", values.cidr),
            **_both("Source", "remote_ip_blocks", "cidr", values.cidr),
            **_both("Source", "service_accounts", "service-account", _service_account),
            **_both("Source", "trust_domains", "trust-domain", _trust_domain),
            **_both("Operation", "hosts", "empty", values.nonempty),
            **_both("Operation", "methods", "empty", values.nonempty),
            **_both("Operation", "ports", "port", _port),
            **_both("Operation", "paths", "path", _path),
        },
    ),
    keys={
        f"{_PACKAGE}.PeerAuthentication.port_level_mtls": ("port", values.port),
    },
    messages=prefixed(
        _PACKAGE,
        {
            "Rule": _rule,
            "Rule.From": _from,
            "Rule.To": _to,
            "Source": _source,
        },
    ),
    objects={
        "PeerAuthentication": _peer_authentication,
        "AuthorizationPolicy": _authorization_policy,
    },
)
