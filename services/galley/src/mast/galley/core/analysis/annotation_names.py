"""Annotations of the mesh: where they belong, and how far they can be relied on (C3, D1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from mast.galley.core.analysis import kinds
from mast.galley.core.analysis.snapshot import SUPPRESS


class Standing(Enum):
    """What becomes of an annotation."""

    STABLE = "stable"
    ALPHA = "alpha"
    DEPRECATED = "deprecated"


ANYWHERE: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Known:
    """Kinds that an annotation means something on, any kind if there are none, and its standing.

    ``instead`` is what to use in place of a deprecated one.
    """

    on: frozenset[str] = ANYWHERE
    standing: Standing = Standing.STABLE
    instead: str = ""


_POD = frozenset({kinds.POD})
_SERVICE = frozenset({kinds.SERVICE})
_ENTRY = frozenset({kinds.WORKLOAD_ENTRY})

_SIDECAR = (
    "proxyImage",
    "proxyImageType",
    "proxyCPU",
    "proxyCPULimit",
    "proxyMemory",
    "proxyMemoryLimit",
    "interceptionMode",
    "bootstrapOverride",
    "logLevel",
    "componentLogLevel",
    "agentLogLevel",
    "userVolume",
    "userVolumeMount",
    "statsInclusionPrefixes",
    "statsInclusionSuffixes",
    "statsInclusionRegexps",
    "statsHistogramBuckets",
    "statsFlushInterval",
    "statsEvictionInterval",
    "statsCompression",
    "extraStatTags",
    "capNetBindService",
    "nativeSidecar",
)
_TRAFFIC = (
    "includeOutboundIPRanges",
    "excludeOutboundIPRanges",
    "includeInboundPorts",
    "excludeInboundPorts",
    "includeOutboundPorts",
    "excludeOutboundPorts",
    "excludeInterfaces",
    "kubevirtInterfaces",
)
_READINESS = ("initialDelaySeconds", "periodSeconds", "failureThreshold", "applicationPorts")
_CHECKS = ("check", "checkRetries", "checkBaseRetryWaitTime", "checkMaxRetryWaitTime", "lang")

_STABLE_ON_PODS = Known(_POD)
_ALPHA_ON_PODS = Known(_POD, Standing.ALPHA)

ANNOTATIONS: Mapping[str, Known] = {
    SUPPRESS: Known(),
    "istio.io/rev": Known(),
    "istio.io/dry-run": Known(frozenset({kinds.AUTHORIZATION_POLICY})),
    "sidecar.istio.io/inject": Known(
        _POD, Standing.DEPRECATED, "the label sidecar.istio.io/inject"
    ),
    "sidecar.istio.io/status": _STABLE_ON_PODS,
    "sidecar.istio.io/rewriteAppHTTPProbers": _STABLE_ON_PODS,
    "sidecar.istio.io/discoveryAddress": Known(
        _POD, Standing.DEPRECATED, "discoveryAddress in proxy.istio.io/config"
    ),
    "sidecar.istio.io/controlPlaneAuthPolicy": Known(
        _POD, Standing.DEPRECATED, "controlPlaneAuthPolicy in proxy.istio.io/config"
    ),
    **{f"sidecar.istio.io/{name}": _ALPHA_ON_PODS for name in _SIDECAR},
    **{f"traffic.sidecar.istio.io/{name}": _ALPHA_ON_PODS for name in _TRAFFIC},
    **{f"readiness.status.sidecar.istio.io/{name}": _ALPHA_ON_PODS for name in _READINESS},
    **{f"policy.istio.io/{name}": _STABLE_ON_PODS for name in _CHECKS},
    "status.sidecar.istio.io/port": _ALPHA_ON_PODS,
    "istio.io/reroute-virtual-interfaces": _ALPHA_ON_PODS,
    "inject.istio.io/templates": _ALPHA_ON_PODS,
    "prometheus.istio.io/merge-metrics": _ALPHA_ON_PODS,
    "proxy.istio.io/config": _STABLE_ON_PODS,
    "proxy.istio.io/overrides": _ALPHA_ON_PODS,
    "ambient.istio.io/redirection": _ALPHA_ON_PODS,
    "alpha.istio.io/kubernetes-serviceaccounts": Known(_SERVICE, Standing.ALPHA),
    "alpha.istio.io/canonical-serviceaccounts": Known(_SERVICE, Standing.ALPHA),
    "networking.istio.io/exportTo": Known(_SERVICE, Standing.ALPHA),
    "traffic.istio.io/nodeSelector": Known(_SERVICE),
    "experimental.istio.io/disable-gateway-port-translation": Known(_SERVICE, Standing.ALPHA),
    "networking.istio.io/traffic-distribution": Known(
        frozenset({kinds.SERVICE, kinds.NAMESPACE, kinds.SERVICE_ENTRY})
    ),
    "networking.istio.io/cluster": Known(frozenset({kinds.SECRET})),
    "networking.istio.io/service-type": Known(frozenset({"gateway.networking.k8s.io/Gateway"})),
    "networking.istio.io/address-type": Known(frozenset({"gateway.networking.k8s.io/Gateway"})),
    "gateway.istio.io/name-override": Known(frozenset({"gateway.networking.k8s.io/Gateway"})),
    "gateway.istio.io/service-account": Known(frozenset({"gateway.networking.k8s.io/Gateway"})),
    "gateway.istio.io/controller-version": Known(
        frozenset({"gateway.networking.k8s.io/Gateway", kinds.DEPLOYMENT})
    ),
    "topology.istio.io/controlPlaneClusters": Known(frozenset({kinds.NAMESPACE}), Standing.ALPHA),
    "istio.io/autoRegistrationGroup": Known(_ENTRY),
    "istio.io/workloadController": Known(_ENTRY),
    "istio.io/connectedAt": Known(_ENTRY),
    "istio.io/disconnectedAt": Known(_ENTRY),
    **{
        f"networking.alpha.istio.io/{name}": Known(frozenset({kinds.SERVICE_ENTRY}))
        for name in ("serviceVersion", "endpointsVersion", "notReadyEndpoints")
    },
}

INTERNAL = ("internal.istio.io/", "install.operator.istio.io/", "ca.istio.io/")
"""Beginnings of names that others judge."""
