"""A cluster of any size, as an API server writes it: objects that are as large as real ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

NODES, NAMESPACES = 500, 50
ZONES = 3
CREATED = "2026-11-01T08:00:00Z"

Object = dict[str, Any]


@dataclass(frozen=True)
class Size:
    """Services with as many Pods, each an endpoint, and objects of configuration."""

    services: int = 5000
    pods_per_service: int = 10
    configs: int = 2000

    @property
    def endpoints(self) -> int:
        """Pods of all services."""
        return self.services * self.pods_per_service


def namespace_of(number: int) -> str:
    """Where a service and what belongs to it is."""
    return f"ns-{number % NAMESPACES}"


def address(number: int, index: int, size: Size) -> str:
    """The IP address of a Pod of a service."""
    whole = number * size.pods_per_service + index
    return f"10.{128 + (whole >> 16)}.{whole >> 8 & 255}.{whole & 255}"


def pod_name(number: int, index: int) -> str:
    """As a ReplicaSet names its Pods."""
    return f"app-{number}-7d9f8c6b54-{index:05d}"


def namespace(number: int) -> Object:
    labels = {"kubernetes.io/metadata.name": f"ns-{number}", "istio-injection": "enabled"}
    return {"metadata": {"name": f"ns-{number}", "labels": labels}}


def node(number: int) -> Object:
    labels = {
        "kubernetes.io/hostname": f"node-{number}",
        "topology.kubernetes.io/region": "eu",
        "topology.kubernetes.io/zone": f"eu-{number % ZONES}",
    }
    images = [
        {"names": [f"registry.local/app-{each}@sha256:{each:064x}"], "sizeBytes": 90_000_000 + each}
        for each in range(50)
    ]
    status = {
        "addresses": [{"type": "InternalIP", "address": f"172.16.{number >> 8}.{number & 255}"}],
        "nodeInfo": {"kubeletVersion": "v1.34.1"},
        "images": images,
    }
    return {"metadata": {"name": f"node-{number}", "labels": labels}, "status": status}


def service(number: int) -> Object:
    labels = {"app": f"app-{number}"}
    ports = [
        {"name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080},
        {"name": "grpc", "port": 81, "protocol": "TCP", "targetPort": 8081},
    ]
    cluster_ip = f"10.96.{number >> 8}.{number & 255}"
    return {
        "metadata": {
            **_metadata(f"app-{number}", namespace_of(number), labels),
            "managedFields": _managed("kubectl-client-side-apply", ("ports", "selector", "type")),
        },
        "spec": {
            "clusterIP": cluster_ip,
            "clusterIPs": [cluster_ip],
            "internalTrafficPolicy": "Cluster",
            "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack",
            "ports": ports,
            "selector": labels,
            "sessionAffinity": "None",
            "type": "ClusterIP",
        },
        "status": {"loadBalancer": {}},
    }


def endpoint_slice(number: int, size: Size, not_ready: Mapping[int, bool] | None = None) -> Object:
    """Endpoints of a service; those of ``not_ready`` are not."""
    name, where = f"app-{number}", namespace_of(number)
    labels = {
        "app": name,
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
        "kubernetes.io/service-name": name,
    }
    return {
        "metadata": {
            **_metadata(f"{name}-x7k2p", where, labels),
            "generateName": f"{name}-",
            "managedFields": _managed("kube-controller-manager", ("addressType", "endpoints")),
        },
        "addressType": "IPv4",
        "ports": [
            {"name": "http", "port": 8080, "protocol": "TCP"},
            {"name": "grpc", "port": 8081, "protocol": "TCP"},
        ],
        "endpoints": [
            _endpoint(number, index, size, ready=not (not_ready and not_ready.get(index)))
            for index in range(size.pods_per_service)
        ],
    }


def _endpoint(number: int, index: int, size: Size, *, ready: bool) -> Object:
    on = (number + index) % NODES
    return {
        "addresses": [address(number, index, size)],
        "conditions": {"ready": ready, "serving": ready, "terminating": False},
        "nodeName": f"node-{on}",
        "targetRef": {
            "kind": "Pod",
            "name": pod_name(number, index),
            "namespace": namespace_of(number),
            "uid": f"00000000-0000-4000-8000-{number * size.pods_per_service + index:012d}",
        },
        "zone": f"eu-{on % ZONES}",
    }


def pod(number: int, index: int, size: Size) -> Object:
    """A Pod with a sidecar, after all the controllers that wrote to it: about 9 KB."""
    name, where, ip = f"app-{number}", namespace_of(number), address(number, index, size)
    labels = {
        "app": name,
        "version": "v1",
        "pod-template-hash": "7d9f8c6b54",
        "security.istio.io/tlsMode": "istio",
        "service.istio.io/canonical-name": name,
        "service.istio.io/canonical-revision": "v1",
    }
    annotations = {
        "istio.io/rev": "default",
        "kubectl.kubernetes.io/default-container": "app",
        "kubectl.kubernetes.io/default-logs-container": "app",
        "prometheus.io/path": "/stats/prometheus",
        "prometheus.io/port": "15020",
        "prometheus.io/scrape": "true",
        "sidecar.istio.io/status": (
            '{"initContainers":["istio-init"],"containers":["istio-proxy"],"volumes":'
            '["workload-socket","istio-envoy","istio-data","istio-podinfo","istio-token"],'
            '"imagePullSecrets":null,"revision":"default"}'
        ),
    }
    owner = {
        "apiVersion": "apps/v1",
        "blockOwnerDeletion": True,
        "controller": True,
        "kind": "ReplicaSet",
        "name": f"{name}-7d9f8c6b54",
        "uid": "7a0d9b7e-1b9e-4f7e-9a8e-0d8f2a5d9c11",
    }
    kinds = ("Initialized", "Ready", "ContainersReady", "PodScheduled")
    conditions = [
        {"lastProbeTime": None, "lastTransitionTime": CREATED, "status": "True", "type": kind}
        for kind in kinds
    ]
    return {
        "metadata": {
            **_metadata(pod_name(number, index), where, labels),
            "annotations": annotations,
            "generateName": f"{name}-7d9f8c6b54-",
            "ownerReferences": [owner],
            "managedFields": [
                *_managed("kube-controller-manager", ("containers", "volumes", "securityContext")),
                *_managed("kubelet", ("conditions", "containerStatuses", "podIP", "phase")),
            ],
        },
        "spec": {
            "containers": [_container("app", 8080), _container("istio-proxy", 15090)],
            "initContainers": [{**_container("istio-init", 0), "ports": []}],
            "dnsPolicy": "ClusterFirst",
            "nodeName": f"node-{(number + index) % NODES}",
            "restartPolicy": "Always",
            "serviceAccount": name,
            "serviceAccountName": name,
            "tolerations": [
                {"effect": "NoExecute", "key": f"node.kubernetes.io/{why}", "operator": "Exists"}
                for why in ("not-ready", "unreachable")
            ],
            "volumes": [{"emptyDir": {}, "name": f"volume-{each}"} for each in range(8)],
        },
        "status": {
            "conditions": conditions,
            "containerStatuses": [_container_status(each) for each in ("app", "istio-proxy")],
            "hostIP": "172.16.0.1",
            "phase": "Running",
            "podIP": ip,
            "podIPs": [{"ip": ip}],
            "qosClass": "Burstable",
            "startTime": CREATED,
        },
    }


def _container(name: str, port: int) -> Object:
    env = [
        {"name": f"SETTING_{each}", "value": f"value of the setting {each} of {name}"}
        for each in range(16)
    ]
    mounts = [{"mountPath": f"/v/{each}", "name": f"volume-{each}"} for each in range(8)]
    return {
        "name": name,
        "image": f"registry.local/{name}@sha256:{port:064x}",
        "env": env,
        "ports": [{"containerPort": port, "name": f"http-{name}"[:15], "protocol": "TCP"}],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 15021}, "periodSeconds": 15},
        "resources": {"limits": {"cpu": "2", "memory": "1Gi"}, "requests": {"cpu": "100m"}},
        "terminationMessagePath": "/dev/termination-log",
        "volumeMounts": mounts,
    }


def _container_status(name: str) -> Object:
    return {
        "containerID": f"containerd://{name:0>64}",
        "image": f"registry.local/{name}:1",
        "imageID": f"registry.local/{name}@sha256:{7:064x}",
        "lastState": {},
        "name": name,
        "ready": True,
        "restartCount": 0,
        "started": True,
        "state": {"running": {"startedAt": CREATED}},
    }


def _metadata(name: str, where: str, labels: Mapping[str, str]) -> Object:
    return {
        "name": name,
        "namespace": where,
        "labels": dict(labels),
        "creationTimestamp": CREATED,
        "uid": "2f1b6d3e-8a55-4c0e-b1d7-0c9a4f6e7d21",
    }


def _managed(manager: str, names: tuple[str, ...]) -> list[Object]:
    """Who wrote which field: a third of what a Pod is on the wire."""
    fields = {f"f:{name}": {f"f:{part}": {} for part in ("a", "b", "c", "d")} for name in names}
    return [
        {
            "apiVersion": "v1",
            "fieldsType": "FieldsV1",
            "fieldsV1": {"f:metadata": {"f:labels": {"f:app": {}}}, "f:spec": fields},
            "manager": manager,
            "operation": "Update",
            "time": CREATED,
        }
    ]


def virtual_service(number: int, timeout: str = "5s") -> Object:
    """A VirtualService as they are: two matches, a split, retries."""
    host = f"app-{number}"
    destinations = [
        {"destination": {"host": host, "subset": version}, "weight": weight}
        for version, weight in (("v1", 90), ("v2", 10))
    ]
    spec = {
        "hosts": [host],
        "http": [
            {
                "match": [{"uri": {"prefix": "/api"}}, {"headers": {"x-user": {"exact": "me"}}}],
                "route": [{"destination": {"host": host, "subset": "v2"}}],
                "timeout": timeout,
                "retries": {"attempts": 3, "perTryTimeout": "1s"},
            },
            {"route": destinations},
        ],
    }
    return {"metadata": _metadata(host, namespace_of(number), {"app": host}), "spec": spec}


def destination_rule(number: int) -> Object:
    """The subsets that the VirtualService of the same number divides its requests among."""
    host = f"app-{number}"
    subsets = [{"name": version, "labels": {"version": version}} for version in ("v1", "v2")]
    pool = {"http": {"http2MaxRequests": 1000, "maxRequestsPerConnection": 10}}
    spec = {"host": host, "trafficPolicy": {"connectionPool": pool}, "subsets": subsets}
    return {"metadata": _metadata(host, namespace_of(number), {"app": host}), "spec": spec}


def everything(size: Size) -> Iterator[Object]:
    """What service discovery reads, each object with its apiVersion and kind."""
    for number in range(NODES):
        yield {"apiVersion": "v1", "kind": "Node", **node(number)}
    for number in range(size.services):
        yield {"apiVersion": "v1", "kind": "Service", **service(number)}
        sliced = endpoint_slice(number, size)
        yield {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", **sliced}
        for index in range(size.pods_per_service):
            yield {"apiVersion": "v1", "kind": "Pod", **pod(number, index, size)}


def new_pod(number: int) -> Object:
    """A Pod as its ReplicaSet creates it: probes, settings, volumes, the token; about 4 KB."""
    name = f"app-{number}"
    labels = {"app": name, "version": "v1", "pod-template-hash": "7d9f8c6b54"}
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": f"{name}-7d9f8c6b54"}
    container = _container("app", 8080)
    container["livenessProbe"] = {"httpGet": {"path": "/live", "port": "http-app"}}
    token = {"name": "kube-api-access", "projected": {"sources": [{"serviceAccountToken": {}}]}}
    return {
        "metadata": {
            "generateName": f"{name}-7d9f8c6b54-",
            "labels": labels,
            "annotations": {"prometheus.io/scrape": "true", "prometheus.io/port": "8080"},
            "ownerReferences": [{**owner, "uid": "7", "controller": True}],
        },
        "spec": {
            "containers": [container],
            "serviceAccountName": name,
            "volumes": [*({"emptyDir": {}, "name": f"volume-{each}"} for each in range(8)), token],
            "tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists"}],
        },
    }


def deployment(number: int) -> Object:
    """What makes the Pods of a service."""
    labels = {"app": f"app-{number}", "version": "v1"}
    pod = {"metadata": {"labels": labels}, "spec": new_pod(number)["spec"]}
    spec = {"replicas": 2, "selector": {"matchLabels": labels}, "template": pod}
    return {"metadata": _metadata(f"app-{number}", namespace_of(number), labels), "spec": spec}
