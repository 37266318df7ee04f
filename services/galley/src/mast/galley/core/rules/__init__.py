"""Structural rules of every kind (galley-and-kubernetes.md B): one module per family of kinds."""

from __future__ import annotations

from collections.abc import Iterator

from mast.galley.core.objects import ConfigObject
from mast.galley.core.problem import Finding, Path
from mast.galley.core.rules import (
    access_roles,
    annotation_rules,
    authentication_policy,
    common,
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
_ABSENCES = frozenset({"required", "empty"})


def check(obj: ConfigObject) -> Iterator[Finding]:
    """Everything wrong with an object; what could not be decoded is not judged a second time."""
    for finding in (*annotation_rules.check(obj), *RULEBOOK.check(obj)):
        if not any(_explained(finding, path) for path in obj.undecoded):
            yield finding


def _explained(finding: Finding, undecoded: Path) -> bool:
    if finding.path[: len(undecoded)] == undecoded:
        return True
    return finding.rule in _ABSENCES and undecoded[: len(finding.path)] == finding.path
