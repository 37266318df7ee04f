"""Policies of Istio 1.0 to 1.4 for Mixer's clients: quotas and API descriptions (B4)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from mast.galley.core.objects import ConfigObject
from mast.galley.core.problem import Finding, Path
from mast.galley.core.rules import common, values
from mast.galley.core.rules.table import (
    SPEC,
    Family,
    prefixed,
    required,
    when,
)


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


_CLIENT = "istio.mixer.v1.config.client"

FAMILY = Family(
    messages=prefixed(
        _CLIENT,
        {
            "AttributeMatch": _attribute_match,
            "Quota": _quota,
            "HTTPAPISpecPattern": _pattern,
            "APIKey": _api_key,
        },
    ),
    objects={
        "QuotaSpec": _quota_spec,
        "QuotaSpecBinding": _spec_binding,
        "HTTPAPISpec": _api_spec,
        "HTTPAPISpecBinding": _spec_binding,
    },
)
