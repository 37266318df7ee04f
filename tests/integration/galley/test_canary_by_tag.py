"""Canary by tag (galley-and-kubernetes.md C1, G18): two revisions, moves, and no failed request.

Pods are created all the while; each goes through the API server to the webhook of a revision.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from mast.cli.main import app
from mast.common.kubernetes import Api, connect
from mast.common.kubernetes.objects import MUTATING_WEBHOOK_CONFIGURATIONS, NAMESPACES, PODS
from mast.galley.core.injection.settings import settings
from mast.galley.core.injection.webhooks import webhooks
from tests.fakes.kubernetes.server import Cluster, api_server
from tests.support.until import until
from tests.support.webhook_server import RunningWebhooks, injecting, running_webhooks

# How many pods have to be created between two steps, by each of so many at a time.
PODS_EACH, CREATORS = 2, 2


@dataclass
class Site:
    """A cluster with two revisions; ``created`` are namespace, creator and revision of new pods."""

    cluster: Cluster
    api: Api
    kubeconfig: Path
    galleys: dict[str, AsyncExitStack] = field(default_factory=dict)
    created: list[tuple[str, int, str]] = field(default_factory=list)

    def label(self, namespace: str, **labels: str | None) -> None:
        change = {"metadata": {"labels": {"istio.io/rev": labels.get("rev")}}}
        kind = "application/merge-patch+json"
        self.cluster.objects.patch(NAMESPACES, "", namespace, change, kind)

    async def create_for_ever(self, namespace: str, creator: int) -> None:
        """Whatever goes wrong ends the test."""
        while True:
            body = {
                "metadata": {"generateName": "web-", "namespace": namespace},
                "spec": {"containers": [{"name": "web", "image": "web"}]},
            }
            pod = await self.api.create(PODS, body)
            metadata = pod["metadata"]
            revision = metadata["annotations"]["istio.io/rev"]
            self.created.append((namespace, creator, revision))
            assert _control_plane(pod).startswith(f"istiod-{revision}.")
            await self.api.delete(PODS, metadata["name"], namespace)

    async def revisions(self, namespace: str) -> set[str]:
        """Of the pods that are created from now on; not of those that are on their way."""
        begun = len(self.created)

        def new() -> list[list[str]]:
            """By creator, without the first, which may have been asked for before."""
            seen: dict[int, list[str]] = {}
            for where, creator, revision in self.created[begun:]:
                if where == namespace:
                    seen.setdefault(creator, []).append(revision)
            return [each[1:] for each in seen.values() if len(each) > PODS_EACH]

        await until(lambda: len(new()) == CREATORS, seconds=60)
        return {revision for each in new() for revision in each}

    async def mastctl(self, *arguments: str) -> str:
        runner = CliRunner()
        told = [*arguments, "--kubeconfig", str(self.kubeconfig)]
        result = await asyncio.to_thread(runner.invoke, app, told)
        assert result.exit_code == 0, result.output
        return result.output


def _control_plane(pod: dict[str, Any]) -> str:
    (proxy,) = (each for each in pod["spec"]["containers"] if each["name"] == "istio-proxy")
    (config,) = (each["value"] for each in proxy["env"] if each["name"] == "PROXY_CONFIG")
    return str(json.loads(config)["discoveryAddress"])


def _configuration(revision: str, galley: RunningWebhooks) -> dict[str, Any]:
    service = {"name": f"istio-galley-{revision}", "namespace": "istio-system", "path": "/inject"}
    bundle = base64.b64encode(galley.ca.pem).decode()
    rule = {"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"]}
    return {
        "metadata": {
            "name": f"istio-sidecar-injector-{revision}",
            "labels": {"istio.io/rev": revision},
        },
        "webhooks": [
            {
                "name": each.name,
                "clientConfig": {"service": service, "caBundle": bundle},
                "rules": [{**rule, "resources": ["pods"]}],
                "namespaceSelector": each.namespaces,
                "objectSelector": each.pods,
                "sideEffects": "None",
                "admissionReviewVersions": ["v1"],
            }
            for each in webhooks(revision)
        ],
    }


@asynccontextmanager
async def running_site(directory: Path) -> AsyncIterator[Site]:
    async with api_server() as cluster, connect(cluster.access()) as api, AsyncExitStack() as ends:
        site = Site(cluster, api, directory / "kubeconfig")
        site.kubeconfig.write_text(cluster.kubeconfig())
        cluster.objects.create(NAMESPACES, "", {"metadata": {"name": "istio-system"}})
        for revision in ("one", "two"):
            service = f"istio-galley-{revision}"
            site.galleys[revision] = own = await ends.enter_async_context(AsyncExitStack())
            galley = await own.enter_async_context(
                running_webhooks(
                    f"{service}.istio-system.svc",
                    injection=injecting(settings(revision=revision)),
                )
            )
            place = ("istio-system", service, 443)
            cluster.admission.services[place] = ("127.0.0.1", galley.port)
            body = _configuration(revision, galley)
            cluster.objects.create(MUTATING_WEBHOOK_CONFIGURATIONS, "", body)
        yield site


async def test_no_request_fails_while_revisions_change(tmp_path: Path) -> None:
    async with running_site(tmp_path) as site:
        await site.mastctl("tag", "set", "prod", "--revision", "one")
        for namespace, revision in (("by-tag", "prod"), ("by-label", "one")):
            body = {"metadata": {"name": namespace, "labels": {"istio.io/rev": revision}}}
            site.cluster.objects.create(NAMESPACES, "", body)
        async with asyncio.TaskGroup() as tasks:
            creating = [
                tasks.create_task(site.create_for_ever(namespace, creator))
                for namespace in ("by-tag", "by-label")
                for creator in range(CREATORS)
            ]
            assert await site.revisions("by-tag") == {"one"}
            await site.mastctl("tag", "set", "prod", "-r", "two", "--overwrite", "-y")
            assert await site.revisions("by-tag") == {"two"}
            assert await site.revisions("by-label") == {"one"}
            site.label("by-label", rev="two")
            assert await site.revisions("by-label") == {"two"}
            # Nobody is left who needs revision one: its configuration goes, then its Galley.
            name = "istio-sidecar-injector-one"
            await site.api.delete(MUTATING_WEBHOOK_CONFIGURATIONS, name)
            await site.galleys["one"].aclose()
            assert await site.revisions("by-tag") == {"two"}
            assert await site.revisions("by-label") == {"two"}
            for each in creating:
                each.cancel()
        assert site.cluster.admission.ignored == []
        listed = await site.mastctl("tag", "list")
        assert listed.splitlines()[1].split() == ["prod", "two", "by-tag"]
