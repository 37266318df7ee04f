"""What the chart renders, run for real: etcd, Job, Citadel, Galley, Pilot, by their own arguments.

The API server is a fake one that allows what the chart's roles allow; etcd is real.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from mast.common.etcd import EtcdConfig, connect
from mast.common.kubernetes import connect as connect_kubernetes
from mast.common.kubernetes.objects import (
    CONFIG_MAPS,
    MUTATING_WEBHOOK_CONFIGURATIONS,
    NAMESPACES,
    PODS,
    SECRETS,
    SERVICE_ACCOUNTS,
    VALIDATING_WEBHOOK_CONFIGURATIONS,
    Resource,
)
from tests.fakes.kubernetes.kinds import (
    CLUSTER_ROLE_BINDINGS,
    CLUSTER_ROLES,
    CRDS,
    ROLE_BINDINGS,
    ROLES,
)
from tests.fakes.kubernetes.server import Cluster, api_server
from tests.integration.chart.kubelet import Kubelet
from tests.support.chart import NAMESPACE, Object, profile, rendered
from tests.support.custom_resources import definitions
from tests.support.etcd_server import etcd_server
from tests.support.service_process import ServiceProcess
from tests.support.until import until

INSTALLED: Mapping[str, Resource] = {
    "ServiceAccount": SERVICE_ACCOUNTS,
    "ConfigMap": CONFIG_MAPS,
    "ClusterRole": CLUSTER_ROLES,
    "ClusterRoleBinding": CLUSTER_ROLE_BINDINGS,
    "Role": ROLES,
    "RoleBinding": ROLE_BINDINGS,
    "ValidatingWebhookConfiguration": VALIDATING_WEBHOOK_CONFIGURATIONS,
    "MutatingWebhookConfiguration": MUTATING_WEBHOOK_CONFIGURATIONS,
}


def install(cluster: Cluster, found: list[Object]) -> None:
    """What `helm install` does, for kinds that matter here."""
    for namespace in (NAMESPACE, "shop"):
        labels = {"istio-injection": "enabled"} if namespace == "shop" else {}
        metadata = {"name": namespace, "labels": labels}
        cluster.objects.create(NAMESPACES, "", {"metadata": metadata})
    cluster.objects.create(CRDS, "", dict(definitions()["networking.istio.io/Gateway"]))
    for each in found:
        if resource := INSTALLED.get(each["kind"]):
            namespace = NAMESPACE if resource.namespaced else ""
            cluster.objects.create(resource, namespace, each)
    cluster.callers.by_roles = True


async def ready(service: ServiceProcess) -> bool:
    """As the kubelet asks."""
    return (await service.get("/ready"))[0] == 200


def policies(cluster: Cluster) -> set[str]:
    """What happens to objects while the validators do not answer."""
    found = cluster.objects.shown(VALIDATING_WEBHOOK_CONFIGURATIONS, "", lambda _: True)
    return {webhook["failurePolicy"] for each in found for webhook in each["webhooks"]}


async def containers_of_a_new_pod(cluster: Cluster) -> list[str]:
    """As a user would get it, in a namespace of the mesh."""
    pod: dict[str, Any] = {
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"containers": [{"name": "web", "image": "web:1"}]},
    }
    async with connect_kubernetes(cluster.access()) as api:
        made = await api.create(PODS, pod, dry_run=True)
    return [each["name"] for each in made["spec"]["containers"]]


async def test_a_control_plane_from_nothing(tmp_path: Path) -> None:
    """Nobody waits for anybody by hand: whoever lacks something waits for it."""
    found = rendered(profile("minimal"))
    async with AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(api_server())
        install(cluster, found)
        kubelet = Kubelet(cluster, found, tmp_path)
        (job,) = (f"Job/{each['metadata']['name']}" for each in found if each["kind"] == "Job")

        # The certificates come before etcd, which comes before its users.
        kubelet.addresses = {"--endpoints": "127.0.0.1:1"}
        assert "users of etcd are not made" in await kubelet.job(job, "--timeout=1")
        pki = _pki(kubelet, tmp_path)
        etcd = await stack.enter_async_context(etcd_server(tmp_path, flags=pki, scheme="https"))
        kubelet.addresses = {"--endpoints": etcd.endpoint, "--etcd-endpoints": etcd.endpoint}
        citadel = await stack.enter_async_context(kubelet.service("istio-citadel", "citadel"))
        assert await kubelet.job(job) == ""
        kubelet.addresses["--ca-address"] = await citadel.address("ca")
        galley = await stack.enter_async_context(kubelet.service("istio-galley", "galley"))
        pilot = await stack.enter_async_context(kubelet.service("istio-pilot", "pilot"))

        host, _, port = (await galley.address("webhooks")).rpartition(":")
        cluster.admission.services[NAMESPACE, "istio-galley", 443] = (host, int(port))
        for service in (citadel, galley, pilot):
            await until(lambda service=service: ready(service))
        await pilot.address("grpc-tls")

        # Roots everywhere, webhooks that are trusted and closed, pods with proxies.
        await until(lambda: kubelet.get(CONFIG_MAPS, "istio-ca-root-cert", "shop") is not None)
        await until(lambda: policies(cluster) == {"Fail"})
        assert await containers_of_a_new_pod(cluster) == ["web", "istio-proxy"]

        # The mesh's settings are those of the ConfigMap; each service has its own user of etcd.
        async with connect(_user(tmp_path, etcd.endpoint)) as store:
            listing = await store.list("config/istio/mesh/v1alpha1/MeshConfig/")
            assert [entry.key.rpartition("/")[2] for entry in listing.entries] == ["default"]

        for service in (citadel, galley, pilot):
            assert [line for line in service.log if "forbidden" in str(line)] == []


def _pki(kubelet: Kubelet, directory: Path) -> list[str]:
    """Flags of an etcd with the certificates that the Job made."""
    secret = kubelet.get(SECRETS, "mast-etcd-server")
    place = directory / "pki"
    place.mkdir()
    for name, value in secret["data"].items():
        (place / name).write_bytes(base64.b64decode(value))
    return [
        *("--cert-file", str(place / "tls.crt"), "--key-file", str(place / "tls.key")),
        *("--trusted-ca-file", str(place / "ca.crt"), "--client-cert-auth"),
        "--max-txn-ops=10000",
    ]


def _user(directory: Path, endpoint: str) -> EtcdConfig:
    place = directory / "istio-galley" / "etcd"
    return EtcdConfig(
        endpoints=(endpoint,),
        ca=place / "ca.crt",
        cert=place / "tls.crt",
        key=place / "tls.key",
    )
