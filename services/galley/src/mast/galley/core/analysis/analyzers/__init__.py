"""Every analyzer, in the order they are listed and run: one module per subject."""

from __future__ import annotations

from mast.galley.core.analysis.analysis import Analyzer
from mast.galley.core.analysis.analyzers import (
    access,
    annotation_use,
    clusters,
    conditions,
    credentials,
    definitions,
    deployments,
    destination_rules,
    envoy_filters,
    gateways,
    injection,
    legacy,
    networks,
    selections,
    service_entries,
    service_ports,
    telemetry,
    tokens,
    validity,
    virtual_services,
    vs_hosts,
    webhooks,
)

ANALYZERS: tuple[Analyzer, ...] = (
    *validity.ANALYZERS,
    *annotation_use.ANALYZERS,
    *conditions.ANALYZERS,
    *virtual_services.ANALYZERS,
    *vs_hosts.ANALYZERS,
    *destination_rules.ANALYZERS,
    *service_entries.ANALYZERS,
    *gateways.ANALYZERS,
    *credentials.ANALYZERS,
    *selections.ANALYZERS,
    *access.ANALYZERS,
    *tokens.ANALYZERS,
    *telemetry.ANALYZERS,
    *envoy_filters.ANALYZERS,
    *service_ports.ANALYZERS,
    *deployments.ANALYZERS,
    *injection.ANALYZERS,
    *webhooks.ANALYZERS,
    *networks.ANALYZERS,
    *clusters.ANALYZERS,
    *definitions.ANALYZERS,
    *legacy.ANALYZERS,
)

VERBOSE: tuple[Analyzer, ...] = annotation_use.VERBOSE
"""What is told only to those who ask for it, as by Istio's own tool."""
