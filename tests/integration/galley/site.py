"""A cluster with two Galleys on it, what they keep there, and who asks their webhooks."""

from __future__ import annotations

import base64
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mast.common.etcd import EtcdConfig, Store, connect
from mast.common.kubernetes import Api
from mast.common.kubernetes import connect as connect_kubernetes
from mast.common.kubernetes.objects import (
    CONFIG_MAPS,
    MUTATING_WEBHOOK_CONFIGURATIONS,
    NAMESPACES,
    PODS,
    SECRETS,
    SERVICE_ACCOUNTS,
    VALIDATING_WEBHOOK_CONFIGURATIONS,
    Object,
    Resource,
)
from tests.fakes.kubernetes.objects import CRDS
from tests.fakes.kubernetes.server import Cluster, api_server
from tests.fakes.kubernetes.status import Status
from tests.integration.citadel.process import Citadel, citadel
from tests.support.custom_resources import definitions
from tests.support.documented import documented_webhooks
from tests.support.etcd_server import etcd_server, free_port
from tests.support.galley_server import RunningGalley, galley_server
from tests.support.until import until

GALLEY = "istio-galley-service-account"
ROOT_MAP = "istio-ca-root-cert"
RULES = Resource("networking.istio.io", "v1", "destinationrules", "DestinationRule")
VALIDATORS = ("istio-validator-istio-system", "istiod-default-validator")
INJECTOR = "istio-sidecar-injector"
SERVICE = ("istio-system", "istio-galley", 443)

_WEBHOOKS = {
    kind.kind: kind for kind in (MUTATING_WEBHOOK_CONFIGURATIONS, VALIDATING_WEBHOOK_CONFIGURATIONS)
}


@dataclass
class Site:
    """Of the Galleys one leads; ``api`` is how users reach the cluster."""

    cluster: Cluster
    api: Api
    ca: Citadel
    store: Store
    galleys: list[RunningGalley]
    roots: bytes

    def get(self, resource: Any, namespace: str, name: str) -> Object | None:
        try:
            return self.cluster.objects.get(resource, namespace, name)
        except Status:
            return None

    def roots_in(self, namespace: str) -> str | None:
        """What the map of a namespace says."""
        found = self.get(CONFIG_MAPS, namespace, ROOT_MAP)
        return found["data"].get("root-cert.pem") if found else None

    def namespace(self, name: str, **metadata: Any) -> None:
        self.cluster.objects.create(NAMESPACES, "", {"metadata": {"name": name, **metadata}})

    def account(self, namespace: str, name: str) -> None:
        self.cluster.objects.create(SERVICE_ACCOUNTS, namespace, {"metadata": {"name": name}})

    def secret(self, namespace: str, account: str) -> dict[str, bytes] | None:
        found = self.get(SECRETS, namespace, f"istio.{account}")
        return found and {n: base64.b64decode(v) for n, v in found["data"].items()}

    async def a_secret(self, namespace: str, account: str) -> dict[str, bytes]:
        """The Secret of an account, once it is there."""
        await until(lambda: self.secret(namespace, account) is not None)
        return self.secret(namespace, account) or {}

    async def rule(self, name: str, **spec: Any) -> None:
        """Create a DestinationRule."""
        body = {"metadata": {"name": name, "namespace": "shop"}, "spec": spec}
        await self.api.create(RULES, body)

    async def containers(self, namespace: str, **labels: str) -> list[str]:
        """What a new pod would have."""
        metadata = {"name": "web", "namespace": namespace, "labels": labels}
        pod = {"metadata": metadata, "spec": {"containers": [{"name": "web", "image": "web"}]}}
        made = await self.api.create(PODS, pod, dry_run=True)
        return [each["name"] for each in made["spec"]["containers"]]

    def webhooks_of(self, galley: RunningGalley | None) -> None:
        """Whom the Service of the webhooks leads to from now on."""
        services = self.cluster.admission.services
        services.pop(SERVICE, None)
        if galley is not None:
            host, _, port = galley.config.webhook_listen.rpartition(":")
            services[SERVICE] = (host, int(port))

    def policies(self) -> set[str]:
        """Failure policies of the validators."""
        return {each["failurePolicy"] for each in self._validating()}

    def bundles(self) -> set[bytes]:
        """What the API server trusts our webhooks by."""
        injecting = self.cluster.objects.get(MUTATING_WEBHOOK_CONFIGURATIONS, "", INJECTOR)
        found = [*self._validating(), *injecting["webhooks"]]
        return {base64.b64decode(each["clientConfig"].get("caBundle", "")) for each in found}

    def changes(self, validator: str) -> int:
        """How often a validator became another one."""
        found = (VALIDATING_WEBHOOK_CONFIGURATIONS, validator)
        history = self.cluster.objects.history
        return sum((e.resource, e.object["metadata"]["name"]) == found for e in history)

    def _validating(self) -> list[Object]:
        kind = VALIDATING_WEBHOOK_CONFIGURATIONS
        found = (self.cluster.objects.get(kind, "", name) for name in VALIDATORS)
        return [webhook for each in found for webhook in each["webhooks"]]


@asynccontextmanager
async def running_site() -> AsyncIterator[Site]:
    """Real etcd and Citadel, a fake API server with our webhooks installed as documented."""
    with tempfile.TemporaryDirectory(prefix="gk-") as name:
        directory = Path(name)
        registrar = f"spiffe://cluster.local/ns/istio-system/sa/{GALLEY}"
        async with (
            api_server() as cluster,
            etcd_server(directory) as etcd,
            connect(EtcdConfig(endpoints=(etcd.endpoint,))) as store,
            citadel(etcd.endpoint, directory, ["--registrars", registrar]) as ca,
        ):
            _install(cluster)
            kubeconfig = directory / "kubeconfig"
            kubeconfig.write_text(cluster.kubeconfig())
            roots = await ca.roots()
            (directory / "root.pem").write_bytes(roots)
            settings: dict[str, Any] = {
                "kubeconfig": kubeconfig,
                "legacy_security_map": True,
                "workload_secrets": True,
                "workload_key_algorithm": "P256",
                "ca_address": await ca.service.address("ca"),
                "ca_root_file": directory / "root.pem",
            }
            for each in ("one", "two"):
                (directory / each).mkdir()
                token = directory / each / "token"
                token.write_text(await ca.join_token("istio-system", GALLEY))
            async with (
                _galley(directory / "one", etcd.endpoint, settings) as one,
                _galley(directory / "two", etcd.endpoint, settings) as two,
                connect_kubernetes(cluster.access()) as api,
            ):
                site = Site(cluster, api, ca, store, [one, two], roots)
                site.webhooks_of(one)
                yield site


def _install(cluster: Cluster) -> None:
    for namespace in ("istio-system", "shop"):
        cluster.objects.create(NAMESPACES, "", {"metadata": {"name": namespace}})
    for name in ("Gateway", "DestinationRule"):
        cluster.objects.create(CRDS, "", dict(definitions()[f"networking.istio.io/{name}"]))
    for configuration in documented_webhooks():
        cluster.objects.create(_WEBHOOKS[configuration["kind"]], "", configuration)


@asynccontextmanager
async def _galley(
    directory: Path, etcd: str, settings: dict[str, Any]
) -> AsyncIterator[RunningGalley]:
    async with galley_server(
        directory,
        etcd,
        **settings,
        listen=f"127.0.0.1:{free_port()}",
        webhook_listen=f"127.0.0.1:{free_port()}",
        ca_token_file=directory / "token",
    ) as running:
        yield running
