"""Webhook configurations kept working: against a fake API server that calls real webhooks (A3.4).

Section numbers are those of galley-and-kubernetes.md.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

import pytest

from mast.common.etcd import Batch, Change, Store
from mast.common.kubernetes import Api, ApiError, Resource, connect
from mast.common.kubernetes.objects import (
    MUTATING_WEBHOOK_CONFIGURATIONS,
    NAMESPACES,
    VALIDATING_WEBHOOK_CONFIGURATIONS,
)
from mast.common.process.telemetry import Metrics
from mast.galley.kubernetes.metrics import WebhookMetrics
from mast.galley.kubernetes.webhooks import GATEWAYS, WebhookConfigurations
from mastapi.trust.v1 import trust_pb2
from tests.fakes.kubernetes.callers import Rule
from tests.fakes.kubernetes.server import Cluster, api_server
from tests.support.until import until
from tests.support.webhook_server import NAMESPACE, SERVICE, RunningWebhooks, running_webhooks

PROBE = "POST /apis/networking.istio.io/v1/namespaces/istio-system/gateways"
RULES = {
    "operations": ["CREATE", "UPDATE"],
    "apiGroups": ["networking.istio.io"],
    "apiVersions": ["*"],
    "resources": ["*"],
}


@dataclass(frozen=True)
class FakeTrust:
    """A store that has one bundle."""

    roots: str

    async def follow_key(self, key: str) -> AsyncIterator[Batch]:
        bundle = trust_pb2.TrustBundle()
        if self.roots:
            bundle.roots.add(pem=self.roots, state=trust_pb2.Root.ACTIVE)
        yield Batch((Change(key, bundle.SerializeToString(), 1, 1, None),), 1, True)
        await asyncio.Event().wait()


@dataclass
class Site:
    """An API server, the webhooks it may call, and what keeps the configurations."""

    cluster: Cluster
    webhooks: RunningWebhooks
    api: Api
    metrics: Metrics

    def reachable(self) -> None:
        """From now on the Service has an endpoint."""
        self.cluster.admission.services[NAMESPACE, SERVICE, 443] = ("127.0.0.1", self.webhooks.port)

    def configure(self, kind: Resource, name: str, webhook: str, **changes: Any) -> None:
        entry = {
            "name": webhook,
            "clientConfig": {
                "service": {"name": SERVICE, "namespace": NAMESPACE, "path": "/validate"}
            },
            "rules": [RULES],
            "failurePolicy": "Ignore",
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
            **changes,
        }
        labels = {"istio.io/rev": "default"}
        content = {"metadata": {"name": name, "labels": labels}, "webhooks": [entry]}
        self.cluster.objects.create(kind, "", content)

    def validator(self) -> None:
        self.configure(VALIDATING_WEBHOOK_CONFIGURATIONS, "v", "rev.validation.istio.io")

    def webhook(self, kind: Resource, name: str) -> Any:
        (found,) = self.cluster.objects.get(kind, "", name)["webhooks"]
        return found

    @property
    def policy(self) -> str:
        return str(self.webhook(VALIDATING_WEBHOOK_CONFIGURATIONS, "v")["failurePolicy"])

    @property
    def trusted(self) -> bool:
        found = self.webhook(VALIDATING_WEBHOOK_CONFIGURATIONS, "v")["clientConfig"]
        return found.get("caBundle") == base64.b64encode(self.webhooks.ca.pem).decode()

    @asynccontextmanager
    async def kept(self, roots: bytes | None = None) -> AsyncIterator[None]:
        """While this lasts the configurations are kept."""
        found = self.webhooks.ca.pem if roots is None else roots
        keeper = WebhookConfigurations(
            api=self.api,
            store=cast(Store, FakeTrust(found.decode())),
            trust_domain="cluster.local",
            namespace=NAMESPACE,
            revision="default",
            random=lambda: 0.5,
            metrics=WebhookMetrics(self.metrics),
            kinds=(VALIDATING_WEBHOOK_CONFIGURATIONS, MUTATING_WEBHOOK_CONFIGURATIONS),
        )
        async with asyncio.TaskGroup() as tasks:
            keeping = tasks.create_task(keeper.run())
            yield
            keeping.cancel()


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with api_server() as cluster, running_webhooks() as webhooks:
        cluster.objects.create(NAMESPACES, "", {"metadata": {"name": NAMESPACE}})
        cluster.objects.serve(GATEWAYS)
        async with connect(cluster.access()) as api:
            yield Site(cluster, webhooks, api, Metrics("galley"))


async def test_nothing_is_refused_before_the_webhook_is_seen_to_judge(site: Site) -> None:
    """Trust first; Fail only after a probe was denied; then invalid objects stay out."""
    site.validator()
    bad = {"metadata": {"name": "bad", "namespace": NAMESPACE}, "spec": {"servers": []}}
    async with site.kept():
        await until(lambda: site.trusted and site.cluster.asked(PROBE) > 1)
        assert site.policy == "Ignore"
        await site.api.create(GATEWAYS, bad)
        site.reachable()
        await until(lambda: site.policy == "Fail")
        await until(lambda: "galley_validation_config_updates 2" in site.metrics.render())
    with pytest.raises(ApiError, match=r'"rev.validation.istio.io" denied the request: config'):
        await site.api.create(GATEWAYS, {**bad, "metadata": {**bad["metadata"], "name": "worse"}})
    assert len(site.cluster.objects.list(GATEWAYS, "", lambda _: True)) == 1


async def test_who_changes_a_configuration_is_overruled(site: Site) -> None:
    """As an upgrade of the chart that installed it does."""
    site.validator()
    site.reachable()
    change = {
        "webhooks": [
            {
                "name": "rev.validation.istio.io",
                "failurePolicy": "Ignore",
                "clientConfig": {"caBundle": None},
            }
        ]
    }
    async with site.kept():
        for _ in range(2):
            await until(lambda: site.policy == "Fail")
            site.cluster.objects.patch(
                VALIDATING_WEBHOOK_CONFIGURATIONS,
                "",
                "v",
                change,
                "application/strategic-merge-patch+json",
            )
        await until(lambda: site.policy == "Fail" and site.trusted)


@pytest.mark.parametrize(
    ("rule", "foreign"),
    [
        pytest.param(Rule("create", "gateways"), False, id="no-right-to-try"),
        pytest.param(None, True, id="refused-by-another-webhook"),
    ],
)
async def test_a_refusal_that_is_not_ours_proves_nothing(
    site: Site, rule: Rule | None, foreign: bool
) -> None:
    site.validator()
    if rule:
        site.reachable()
        site.cluster.callers.refused.append(rule)
    if foreign:
        site.configure(
            VALIDATING_WEBHOOK_CONFIGURATIONS,
            "foreign",
            "policy.example.com",
            clientConfig={"url": "https://127.0.0.1:1/"},
            failurePolicy="Fail",
        )
    async with site.kept():
        await until(lambda: site.cluster.asked(PROBE) > 1)
        assert site.trusted
        assert site.policy == "Ignore"


async def test_without_gateways_nothing_invalid_can_be_stored(site: Site) -> None:
    """A missing CRD counts as denied; a missing namespace does not."""
    site.validator()
    site.cluster.objects.delete(NAMESPACES, "", NAMESPACE)
    async with site.kept():
        await until(lambda: site.cluster.asked(PROBE) > 1)
        assert site.policy == "Ignore"
        site.cluster.objects.unserve(GATEWAYS)
        await until(lambda: site.policy == "Fail")


async def test_injectors_get_roots_and_keep_their_policy(site: Site) -> None:
    for name in ("rev.namespace.sidecar-injector.istio.io", "theirs.example.com"):
        site.configure(MUTATING_WEBHOOK_CONFIGURATIONS, name, name)
    site.validator()
    site.reachable()
    async with site.kept():
        await until(lambda: site.policy == "Fail")
        injector = "rev.namespace.sidecar-injector.istio.io"
        await until(
            lambda: (
                "caBundle"
                in site.webhook(MUTATING_WEBHOOK_CONFIGURATIONS, injector)["clientConfig"]
            )
        )
    assert site.webhook(MUTATING_WEBHOOK_CONFIGURATIONS, injector)["failurePolicy"] == "Ignore"
    foreign = site.webhook(MUTATING_WEBHOOK_CONFIGURATIONS, "theirs.example.com")
    assert "caBundle" not in foreign["clientConfig"]


async def test_other_revisions_are_left_alone(site: Site) -> None:
    site.validator()
    change = {"metadata": {"labels": {"istio.io/rev": "canary"}}}
    merge = "application/merge-patch+json"
    site.cluster.objects.patch(VALIDATING_WEBHOOK_CONFIGURATIONS, "", "v", change, merge)
    site.configure(MUTATING_WEBHOOK_CONFIGURATIONS, "m", "object.sidecar-injector.istio.io")
    async with site.kept():
        await until(
            lambda: "caBundle" in site.webhook(MUTATING_WEBHOOK_CONFIGURATIONS, "m")["clientConfig"]
        )
    assert not site.trusted


async def test_what_goes_wrong_is_counted(site: Site) -> None:
    site.validator()
    async with site.kept(roots=b""):
        error = 'galley_validation_config_load_error{reason="no roots"}'
        await until(lambda: error in site.metrics.render())
    site.cluster.callers.refused.append(Rule("patch", "validatingwebhookconfigurations"))
    async with site.kept():
        error = 'galley_validation_config_update_error{reason="Forbidden"}'
        await until(lambda: error in site.metrics.render())
        site.cluster.callers.refused.clear()
        await until(lambda: site.trusted)
