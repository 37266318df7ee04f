"""Puts together what Galley does in several clusters (wiring, with main)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from random import random
from typing import Final

from mast.common.etcd import Store
from mast.common.etcd.on_lease import publish_latest
from mast.common.keys import clusters_status_key
from mast.common.kubernetes import Api, Resource
from mast.common.kubernetes.objects import (
    MUTATING_WEBHOOK_CONFIGURATIONS,
    VALIDATING_WEBHOOK_CONFIGURATIONS,
)
from mast.galley.config import Config
from mast.galley.core.discovery.settings import Settings
from mast.galley.core.remote_clusters import Status, Sync
from mast.galley.core.root_maps import MapNames
from mast.galley.kubernetes.leading import NAMESPACES, Leading, lease_of
from mast.galley.kubernetes.metrics import ClusterMetrics, WebhookMetrics
from mast.galley.kubernetes.root_maps import RootMaps
from mast.galley.kubernetes.webhooks import WebhookConfigurations
from mast.galley.store.clusters import Clusters
from mastapi.status.v1.status_pb2 import ClustersStatus, ClusterStatus

_STATUS_TTL: Final = timedelta(seconds=30)
# What another cluster has of ours: objects of the mesh are written, and judged, in its own one.
_INJECTORS: Final = (MUTATING_WEBHOOK_CONFIGURATIONS,)


def clusters(
    config: Config, store: Store, identity: str, metrics: WebhookMetrics
) -> Clusters | None:
    """Where services of Kubernetes come from, if they are wanted and there is a Kubernetes."""
    if not config.kubernetes_services or not (config.in_cluster or config.kubeconfig):
        return None

    async def duties(cluster: str, api: Api) -> None:
        """Its namespaces have the roots of the mesh, and its injectors are trusted by them."""
        async with asyncio.TaskGroup() as tasks:
            if config.root_maps:
                leading = Leading(store, identity, config.revision, cluster)
                maps = root_maps(config, store, api)
                work = leading.run(NAMESPACES, lambda _: maps().run())
                tasks.create_task(work, name=f"root maps of {cluster}")
            if config.webhook_listen and config.webhook_configurations:
                injectors = webhook_configurations(config, store, api, metrics, _INJECTORS)
                what = lease_of(webhooks_lease(config), cluster)
                work = store.lead(what, identity, lambda _: injectors().run())
                tasks.create_task(work, name=f"webhook configurations of {cluster}")

    return Clusters(
        store,
        own=Settings(config.cluster, config.domain, config.namespace),
        identity=identity,
        timeout=config.remote_cluster_timeout,
        duties=duties,
        random=random,
    )


def root_maps(config: Config, store: Store, api: Api) -> Callable[[], RootMaps]:
    """What keeps the roots of the mesh in a cluster; only the mesh's own has the map of 1.4."""
    names = MapNames(
        config.ca_cert_configmap,
        config.crl_configmap,
        config.namespace if config.legacy_security_map else "",
    )
    return lambda: RootMaps(api, store, config.trust_domain, names, random)


def webhook_configurations(
    config: Config,
    store: Store,
    api: Api,
    metrics: WebhookMetrics,
    kinds: tuple[Resource, ...] = (*_INJECTORS, VALIDATING_WEBHOOK_CONFIGURATIONS),
) -> Callable[[], WebhookConfigurations]:
    """What keeps webhook configurations of our revision working."""
    return lambda: WebhookConfigurations(
        api=api,
        store=store,
        trust_domain=config.trust_domain,
        namespace=config.namespace,
        revision=config.revision,
        random=random,
        metrics=metrics,
        kinds=kinds,
    )


def webhooks_lease(config: Config) -> str:
    """Every revision has a leader of its own for its configurations."""
    return f"galley-webhooks-{config.revision}"


async def count(known: Clusters, metrics: ClusterMetrics) -> None:
    """Count the clusters, and those that were not listed in time; for ever."""
    late: set[str] = set()
    seen: tuple[Status, ...] | None = None
    while True:
        seen = await known.statuses.after(seen)
        read = [each for each in seen if each.sync in {Sync.SYNCED, Sync.SYNCING, Sync.TIMEOUT}]
        local = sum(not each.secret for each in read)
        metrics.managed(local, len(read) - local)
        now = {each.cluster for each in read if each.sync is Sync.TIMEOUT}
        metrics.timed_out(len(now - late))
        late = now


async def publish_statuses(config: Config, store: Store, identity: str, known: Clusters) -> None:
    """Tell how far the clusters have got, for ever (``mastctl remote-clusters``)."""

    def entry(statuses: tuple[Status, ...]) -> tuple[str, bytes]:
        told = ClustersStatus(
            replica=identity,
            revision=config.revision,
            clusters=[
                ClusterStatus(
                    cluster=each.cluster, secret=each.secret, status=each.sync, detail=each.detail
                )
                for each in statuses
            ],
        )
        return clusters_status_key(identity), told.SerializeToString()

    await publish_latest(
        store, _STATUS_TTL, known.statuses, entry, random=random, what="clusters status"
    )
