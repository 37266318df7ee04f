"""Names of the kinds that analyzers look at: ``group/Kind``, ``Kind`` in the core group."""

from __future__ import annotations

from mast.common.kinds import KINDS

NETWORKING = "networking.istio.io"
SECURITY = "security.istio.io"

VIRTUAL_SERVICE = f"{NETWORKING}/VirtualService"
DESTINATION_RULE = f"{NETWORKING}/DestinationRule"
GATEWAY = f"{NETWORKING}/Gateway"
SERVICE_ENTRY = f"{NETWORKING}/ServiceEntry"
SIDECAR = f"{NETWORKING}/Sidecar"
WORKLOAD_ENTRY = f"{NETWORKING}/WorkloadEntry"
WORKLOAD_GROUP = f"{NETWORKING}/WorkloadGroup"
ENVOY_FILTER = f"{NETWORKING}/EnvoyFilter"
AUTHORIZATION_POLICY = f"{SECURITY}/AuthorizationPolicy"
PEER_AUTHENTICATION = f"{SECURITY}/PeerAuthentication"
REQUEST_AUTHENTICATION = f"{SECURITY}/RequestAuthentication"
TELEMETRY = "telemetry.istio.io/Telemetry"
WASM_PLUGIN = "extensions.istio.io/WasmPlugin"
TRAFFIC_EXTENSION = "extensions.istio.io/TrafficExtension"
PROXY_CONFIG = f"{NETWORKING}/ProxyConfig"
MESH_CONFIG = "mesh.istio.io/MeshConfig"
MESH_NETWORKS = "mesh.istio.io/MeshNetworks"
AUTHENTICATION_POLICY = "authentication.istio.io/Policy"
SERVICE_ROLE = "rbac.istio.io/ServiceRole"
SERVICE_ROLE_BINDING = "rbac.istio.io/ServiceRoleBinding"
MIXER_RULE = "config.istio.io/rule"
QUOTA_SPEC = "config.istio.io/QuotaSpec"
QUOTA_SPEC_BINDING = "config.istio.io/QuotaSpecBinding"

NAMESPACE = "Namespace"
SERVICE = "Service"
POD = "Pod"
SECRET = "Secret"  # noqa: S105 - a kind
CONFIG_MAP = "ConfigMap"
CRD = "apiextensions.k8s.io/CustomResourceDefinition"
MUTATING_WEBHOOKS = "admissionregistration.k8s.io/MutatingWebhookConfiguration"
VALIDATING_WEBHOOKS = "admissionregistration.k8s.io/ValidatingWebhookConfiguration"

DEPLOYMENT = "apps/Deployment"
CRON_JOB = "batch/CronJob"
TEMPLATED = (
    DEPLOYMENT,
    "apps/StatefulSet",
    "apps/DaemonSet",
    "apps/ReplicaSet",
    "batch/Job",
    CRON_JOB,
    "ReplicationController",
)
"""Kinds that hold a template of pods."""

REGISTRY_SERVICE = "registry.mast/Service"
REGISTRY_WORKLOAD = "registry.mast/Workload"

STORED = frozenset(str(kind) for kind in KINDS)
"""Kinds that Mast stores: their bodies are messages."""
KUBERNETES = frozenset(
    {
        SERVICE,
        POD,
        CRD,
        MUTATING_WEBHOOKS,
        VALIDATING_WEBHOOKS,
        REGISTRY_SERVICE,
        REGISTRY_WORKLOAD,
        *TEMPLATED,
    }
)
"""Kinds that are read as plain documents."""
