"""Names of the fields that manifests may have where Mast reads them (Kubernetes API 1.34)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from itertools import islice
from typing import Any, Final, TypeAlias

from mast.galley.core.problem import Finding, Path, warning

Shape: TypeAlias = Mapping[str, "Shape | None"]
"""Fields of an object, or of each object of a list; None for what nobody looks into."""

_MOST: Final = 1000


def unknown_fields(content: Mapping[str, Any]) -> Iterator[Finding]:
    """A warning for each field that Kubernetes does not have; newer ones may have more.

    Of very many the first ones.
    """
    shape = _SHAPES.get((content.get("apiVersion", ""), content.get("kind", "")))
    if shape is not None:
        yield from islice(_unknown(content, shape, ()), _MOST)


def _unknown(value: Any, shape: Shape, at: Path) -> Iterator[Finding]:
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _unknown(item, shape, (*at, index))
    elif isinstance(value, Mapping):
        for key, item in value.items():
            inner = shape.get(key)
            if key not in shape:
                near = get_close_matches(key, shape, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                message = f"unknown field {key!r}: Kubernetes refuses or drops it{hint}"
                yield warning((*at, key), "unknown-field", message)
            elif inner is not None:
                yield from _unknown(item, inner, (*at, key))


def _fields(names: str, **inner: Shape) -> Shape:
    return {**dict.fromkeys(names.split()), **inner}


_METADATA: Final = _fields(
    "name generateName namespace selfLink uid resourceVersion generation creationTimestamp"
    " deletionTimestamp deletionGracePeriodSeconds labels annotations ownerReferences finalizers"
    " managedFields clusterName"
)
_PORT: Final = _fields("name hostPort containerPort protocol hostIP")
_CONTAINER: Final = _fields(
    "name image command args workingDir envFrom env resources resizePolicy restartPolicy"
    " restartPolicyRules volumeMounts volumeDevices livenessProbe readinessProbe startupProbe"
    " lifecycle terminationMessagePath terminationMessagePolicy imagePullPolicy securityContext"
    " stdin stdinOnce tty",
    ports=_PORT,
)
_POD_SPEC: Final = _fields(
    "volumes ephemeralContainers restartPolicy terminationGracePeriodSeconds activeDeadlineSeconds"
    " dnsPolicy nodeSelector serviceAccountName serviceAccount automountServiceAccountToken"
    " nodeName hostNetwork hostPID hostIPC shareProcessNamespace securityContext imagePullSecrets"
    " hostname subdomain affinity schedulerName tolerations hostAliases priorityClassName priority"
    " dnsConfig readinessGates runtimeClassName enableServiceLinks preemptionPolicy overhead"
    " topologySpreadConstraints setHostnameAsFQDN os hostUsers schedulingGates resourceClaims"
    " resources hostnameOverride",
    containers=_CONTAINER,
    initContainers=_CONTAINER,
)
_TEMPLATE: Final = _fields("", metadata=_METADATA, spec=_POD_SPEC)
_SERVICE_SPEC: Final = _fields(
    "selector clusterIP clusterIPs type externalIPs sessionAffinity loadBalancerIP"
    " loadBalancerSourceRanges externalName externalTrafficPolicy healthCheckNodePort"
    " publishNotReadyAddresses sessionAffinityConfig ipFamilies ipFamilyPolicy ipFamily"
    " allocateLoadBalancerNodePorts loadBalancerClass internalTrafficPolicy topologyKeys"
    " trafficDistribution",
    ports=_fields("name protocol appProtocol port targetPort nodePort"),
)
_JOB_SPEC: Final = _fields(
    "parallelism completions activeDeadlineSeconds podFailurePolicy successPolicy backoffLimit"
    " backoffLimitPerIndex maxFailedIndexes selector manualSelector ttlSecondsAfterFinished"
    " completionMode suspend podReplacementPolicy managedBy",
    template=_TEMPLATE,
)
_ADDRESS: Final = _fields("ip hostname nodeName targetRef")
_ENDPOINT_PORT: Final = _fields("name protocol port appProtocol")
_REPLICAS: Final = _fields("replicas minReadySeconds selector", template=_TEMPLATE)


def _object(spec: Shape) -> Shape:
    return _fields("apiVersion kind status", metadata=_METADATA, spec=spec)


_ENDPOINT_SLICE: Final = _fields(
    "apiVersion kind addressType",
    metadata=_METADATA,
    endpoints=_fields(
        "addresses conditions hostname targetRef deprecatedTopology topology nodeName zone hints"
    ),
    ports=_ENDPOINT_PORT,
)
_SHAPES: Final[Mapping[tuple[str, str], Shape]] = {
    ("v1", "Service"): _object(_SERVICE_SPEC),
    ("v1", "Pod"): _object(_POD_SPEC),
    ("v1", "ReplicationController"): _object(_REPLICAS),
    ("v1", "Endpoints"): _fields(
        "apiVersion kind",
        metadata=_METADATA,
        subsets=_fields("", addresses=_ADDRESS, notReadyAddresses=_ADDRESS, ports=_ENDPOINT_PORT),
    ),
    ("discovery.k8s.io/v1", "EndpointSlice"): _ENDPOINT_SLICE,
    ("discovery.k8s.io/v1beta1", "EndpointSlice"): _ENDPOINT_SLICE,
    ("apps/v1", "Deployment"): _object(
        {
            **_fields("strategy revisionHistoryLimit paused progressDeadlineSeconds rollbackTo"),
            **_REPLICAS,
        }
    ),
    ("apps/v1", "ReplicaSet"): _object(_REPLICAS),
    ("apps/v1", "StatefulSet"): _object(
        {
            **_fields(
                "volumeClaimTemplates serviceName podManagementPolicy updateStrategy"
                " revisionHistoryLimit persistentVolumeClaimRetentionPolicy ordinals"
            ),
            **_REPLICAS,
        }
    ),
    ("apps/v1", "DaemonSet"): _object(
        _fields(
            "selector updateStrategy minReadySeconds revisionHistoryLimit templateGeneration",
            template=_TEMPLATE,
        )
    ),
    ("batch/v1", "Job"): _object(_JOB_SPEC),
    ("batch/v1", "CronJob"): _object(
        _fields(
            "schedule timeZone startingDeadlineSeconds concurrencyPolicy suspend"
            " successfulJobsHistoryLimit failedJobsHistoryLimit",
            jobTemplate=_fields("", metadata=_METADATA, spec=_JOB_SPEC),
        )
    ),
}
