"""Structural rules of every kind (galley-and-kubernetes.md B): one module per family of kinds."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from mast.galley.core.decode import FINDINGS_LIMIT, TOO_MANY
from mast.galley.core.objects import Compat, ConfigObject
from mast.galley.core.problem import Finding, Path, Severity
from mast.galley.core.rules import (
    access_roles,
    annotation_rules,
    authentication_policy,
    common,
    compat_1_4,
    credentials,
    destination_rule,
    envoy_filter,
    gateway,
    gateway_api,
    gateway_routes,
    http_route,
    ingress,
    kubernetes,
    legacy,
    mesh,
    mixer,
    providers,
    request_authentication,
    route_filters,
    security,
    service_entry,
    sidecar,
    telemetry,
    virtual_service,
)
from mast.galley.core.rules.table import Rulebook

RULEBOOK = Rulebook(
    common.FAMILY,
    virtual_service.FAMILY,
    http_route.FAMILY,
    destination_rule.FAMILY,
    gateway.FAMILY,
    kubernetes.FAMILY,
    credentials.FAMILY,
    gateway_api.FAMILY,
    gateway_routes.FAMILY,
    route_filters.FAMILY,
    ingress.FAMILY,
    service_entry.FAMILY,
    sidecar.FAMILY,
    envoy_filter.FAMILY,
    security.FAMILY,
    request_authentication.FAMILY,
    telemetry.FAMILY,
    mesh.FAMILY,
    providers.FAMILY,
    authentication_policy.FAMILY,
    access_roles.FAMILY,
    legacy.FAMILY,
    mixer.FAMILY,
)


# What a field that could not be decoded makes look missing.
_ABSENCES = frozenset({"required", "empty", "empty-list"})


def check(obj: ConfigObject, compat: Compat = Compat.CURRENT) -> Iterator[Finding]:
    """Everything wrong with an object; what could not be decoded is not judged a second time.

    Of very many errors, and of very many warnings, the first ones.
    """
    told = {Severity.ERROR: 0, Severity.WARNING: 0}
    for finding in _findings(obj, compat):
        told[finding.severity] += 1
        if told[finding.severity] <= FINDINGS_LIMIT:
            yield finding
        elif finding.severity is Severity.ERROR:
            message = f"more than {FINDINGS_LIMIT} errors; the rest is not told"
            yield Finding(finding.path, TOO_MANY, message)
            return


def _findings(obj: ConfigObject, compat: Compat) -> Iterator[Finding]:
    undecoded = frozenset(obj.undecoded)
    above = frozenset(path[:end] for path in undecoded for end in range(len(path) + 1))
    for rules in (annotation_rules.check, RULEBOOK.check):
        for finding in rules(obj):
            if compat is Compat.ISTIO_1_4 and finding.severity is Severity.WARNING:
                continue
            if not _explained(finding, undecoded, above):
                yield finding
    if compat is Compat.ISTIO_1_4:
        yield from compat_1_4.check(obj)


def _explained(finding: Finding, undecoded: Collection[Path], above: Collection[Path]) -> bool:
    """Whether it is about something within a field that could not be decoded, or looks missing."""
    path = finding.path
    if undecoded and any(path[:end] in undecoded for end in range(len(path) + 1)):
        return True
    return finding.rule in _ABSENCES and path in above
