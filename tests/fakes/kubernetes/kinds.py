"""The kinds that a fake API server has without any definition."""

from __future__ import annotations

from mast.common.kubernetes.objects import (
    CERTIFICATE_SIGNING_REQUESTS,
    CONFIG_MAPS,
    MUTATING_WEBHOOK_CONFIGURATIONS,
    NAMESPACES,
    NODES,
    PODS,
    SECRETS,
    SERVICE_ACCOUNTS,
    VALIDATING_WEBHOOK_CONFIGURATIONS,
    Resource,
)


def _cluster(group: str, plural: str, kind: str) -> Resource:
    return Resource(group, "v1", plural, kind, namespaced=False)


CRDS = _cluster("apiextensions.k8s.io", "customresourcedefinitions", "CustomResourceDefinition")
SERVICES = Resource("", "v1", "services", "Service")
ENDPOINTS = Resource("", "v1", "endpoints", "Endpoints")
ENDPOINT_SLICES = Resource("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice")
INGRESSES = Resource("networking.k8s.io", "v1", "ingresses", "Ingress")
INGRESS_CLASSES = _cluster("networking.k8s.io", "ingressclasses", "IngressClass")
LEASES = Resource("coordination.k8s.io", "v1", "leases", "Lease")
EVENTS = Resource("", "v1", "events", "Event")
DEPLOYMENTS = Resource("apps", "v1", "deployments", "Deployment")
REPLICA_SETS = Resource("apps", "v1", "replicasets", "ReplicaSet")
STATEFUL_SETS = Resource("apps", "v1", "statefulsets", "StatefulSet")
DAEMON_SETS = Resource("apps", "v1", "daemonsets", "DaemonSet")
JOBS = Resource("batch", "v1", "jobs", "Job")
CRON_JOBS = Resource("batch", "v1", "cronjobs", "CronJob")
NETWORK_POLICIES = Resource("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy")
DISRUPTION_BUDGETS = Resource("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget")
AUTOSCALERS = Resource("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler")
CLAIMS = Resource("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim")
_RBAC = "rbac.authorization.k8s.io"
ROLES = Resource(_RBAC, "v1", "roles", "Role")
ROLE_BINDINGS = Resource(_RBAC, "v1", "rolebindings", "RoleBinding")
CLUSTER_ROLES = _cluster(_RBAC, "clusterroles", "ClusterRole")
CLUSTER_ROLE_BINDINGS = _cluster(_RBAC, "clusterrolebindings", "ClusterRoleBinding")

WORKLOADS = (DEPLOYMENTS, REPLICA_SETS, STATEFUL_SETS, DAEMON_SETS, JOBS, CRON_JOBS)

BUILT_IN = (
    NAMESPACES,
    CONFIG_MAPS,
    SECRETS,
    SERVICE_ACCOUNTS,
    PODS,
    SERVICES,
    NODES,
    ENDPOINTS,
    ENDPOINT_SLICES,
    INGRESSES,
    INGRESS_CLASSES,
    LEASES,
    EVENTS,
    *WORKLOADS,
    NETWORK_POLICIES,
    DISRUPTION_BUDGETS,
    AUTOSCALERS,
    CLAIMS,
    ROLES,
    ROLE_BINDINGS,
    CLUSTER_ROLES,
    CLUSTER_ROLE_BINDINGS,
    CERTIFICATE_SIGNING_REQUESTS,
    CRDS,
    MUTATING_WEBHOOK_CONFIGURATIONS,
    VALIDATING_WEBHOOK_CONFIGURATIONS,
)
# Kinds whose status only the status subresource changes.
WITH_STATUS = {
    NAMESPACES,
    PODS,
    SERVICES,
    NODES,
    INGRESSES,
    *WORKLOADS,
    DISRUPTION_BUDGETS,
    AUTOSCALERS,
    CLAIMS,
    CERTIFICATE_SIGNING_REQUESTS,
    CRDS,
}
# Kinds that have a generation, which counts changes of their specification.
WITH_GENERATION = {
    INGRESSES,
    *WORKLOADS,
    NETWORK_POLICIES,
    DISRUPTION_BUDGETS,
    CRDS,
    MUTATING_WEBHOOK_CONFIGURATIONS,
    VALIDATING_WEBHOOK_CONFIGURATIONS,
}


def has_generation(resource: Resource) -> bool:
    """Whether changes of a specification are counted: always for kinds that CRDs define."""
    return resource in WITH_GENERATION or resource not in BUILT_IN


def qualified(resource: Resource) -> str:
    """``plural.group``, as messages name kinds."""
    return f"{resource.plural}.{resource.group}" if resource.group else resource.plural
