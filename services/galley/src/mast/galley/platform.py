"""Puts Galley's edge to Kubernetes together (wiring, with main)."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from random import random
from typing import cast

from mast.common.etcd import Store
from mast.common.identity.ca_client import (
    Algorithm,
    CaClient,
    Certificate,
    KeyPair,
    WorkloadCertificates,
    ca_roots,
)
from mast.common.identity.spiffe import SpiffeId
from mast.common.kubernetes import Access, Api, connect, in_cluster, kubeconfig
from mast.common.latest import Latest
from mast.galley.api.metrics import GalleyMetrics
from mast.galley.api.webhooks import Injection, Webhooks, webhook_server
from mast.galley.config import Config
from mast.galley.core.cluster import source_of
from mast.galley.core.objects import Compat, Defaults
from mast.galley.core.workload_secrets import SecretPolicy
from mast.galley.kubernetes.kubelets import follow_kubelets
from mast.galley.kubernetes.leading import NAMESPACES, Leading, lease_of
from mast.galley.kubernetes.metrics import KubernetesMetrics, SecretMetrics
from mast.galley.kubernetes.workload_secrets import Sign, WorkloadSecrets
from mast.galley.several_clusters import (
    count,
    publish_statuses,
    root_maps,
    webhook_configurations,
    webhooks_lease,
)
from mast.galley.status_jobs import write_statuses
from mast.galley.store.clusters import Clusters
from mast.galley.store.configs import Configs
from mast.galley.store.kubernetes import KubernetesSource


def access(config: Config) -> Access | None:
    """The API server that is configured, None if there is no Kubernetes; else InvalidAccess."""
    if config.in_cluster:
        return in_cluster(os.environ)
    if config.kubeconfig is None:
        return None
    path = config.kubeconfig
    return kubeconfig(path.read_text(), config.kube_context, base=path.parent)


def registrar(
    config: Config,
    certificates: WorkloadCertificates,
    mesh_roots: Callable[[], bytes],
    now: Callable[[], datetime],
) -> CaClient:
    """Calls Citadel by our own certificate only: what it proves makes us a registrar."""

    def own() -> tuple[bytes, bytes] | None:
        pair = certificates.current
        return (pair.chain_pem, pair.key_pem) if pair else None

    return CaClient(
        address=config.ca_address,
        root_pem=lambda: ca_roots(config.ca_root_file, mesh_roots),
        token=lambda: None,
        client_cert=own,
        now=now,
    )


@asynccontextmanager
async def webhooks(
    config: Config,
    certificates: WorkloadCertificates,
    first: KeyPair,
    injection: Injection,
    metrics: GalleyMetrics,
    leaving: Callable[[], bool],
) -> AsyncIterator[None]:
    """Answer admission reviews by our own certificate, if there is a port for them."""
    if not config.webhook_listen:
        yield
        return
    defaults = Defaults(config.default_namespace, compat=Compat(config.compat))
    answering = Webhooks(defaults, metrics, injection)
    async with webhook_server(
        config.webhook_listen,
        first,
        certificates.changed,
        answering,
        leaving=leaving,
        grace=config.drain,
    ):
        yield


def config_source(
    config: Config,
    configs: Configs,
    report: Callable[[str, int, int], None],
    later: tuple[str, ...] = (),
) -> KubernetesSource | None:
    """Where configuration in Kubernetes comes from, if it is wanted and there is a Kubernetes."""
    if not config.reads_kubernetes or not (config.in_cluster or config.kubeconfig):
        return None
    return KubernetesSource(
        configs,
        source=source_of(config.cluster),
        namespace=config.namespace,
        revision=config.revision,
        defaults=Defaults(secrets=configs.keeps_secrets, compat=Compat(config.compat)),
        report=report,
        random=random,
        later=later,
    )


async def keep_kubernetes(
    config: Config,
    store: Store,
    identity: str,
    source: KubernetesSource | None,
    services: Clusters | None,
    caller: Latest[CaClient | None],
    kubelets: dict[str, str],
    metrics: KubernetesMetrics,
    now: Callable[[], datetime],
) -> None:
    """Read what there is, and do what the leader among Galleys does in Kubernetes; for ever.

    ``caller`` calls Citadel by our own certificate, as soon as there is one. For the injector
    ``kubelets`` gets the versions of the nodes.
    """
    found = access(config)
    if found is None:
        return
    async with connect(found) as api, asyncio.TaskGroup() as tasks:
        leading = Leading(store, identity, config.revision, config.cluster)
        tasks.create_task(leading.follow_tag(api), name="default revision")
        if source is not None:
            tasks.create_task(source.run(api, leading.run), name="kubernetes configuration")
            if config.kubernetes_statuses:
                statuses = write_statuses(config, store, api, source, leading, metrics, now)
                tasks.create_task(statuses, name="kubernetes statuses")
        if services is not None:
            tasks.create_task(services.run(api), name="kubernetes services")
            telling = publish_statuses(config, store, identity, services)
            tasks.create_task(telling, name="clusters status")
            tasks.create_task(count(services, metrics.clusters), name="clusters count")
        if config.root_maps:
            maps = root_maps(config, store, api)
            tasks.create_task(leading.run(NAMESPACES, lambda _: maps().run()), name="root maps")
        if config.workload_secrets:
            secrets = _workload_secrets(config, store, api, caller, metrics.secrets, now)
            what = lease_of("galley-workload-secrets", config.cluster)
            work = store.lead(what, identity, lambda _: secrets().run())
            tasks.create_task(work, name="workload secrets")
        if config.webhook_listen:
            tasks.create_task(follow_kubelets(api, kubelets), name="kubelets")
        if config.webhook_listen and config.webhook_configurations:
            webhooks = webhook_configurations(config, store, api, metrics.webhooks)
            what = lease_of(webhooks_lease(config), config.cluster)
            work = store.lead(what, identity, lambda _: webhooks().run())
            tasks.create_task(work, name="webhook configurations")


def _workload_secrets(
    config: Config,
    store: Store,
    api: Api,
    caller: Latest[CaClient | None],
    metrics: SecretMetrics,
    now: Callable[[], datetime],
) -> Callable[[], WorkloadSecrets]:
    policy = SecretPolicy(
        namespace=config.namespace,
        by_default=config.enable_namespaces_by_default,
        only=frozenset(config.listened_namespaces),
        ttl=config.workload_cert_ttl,
        grace_ratio=config.workload_cert_grace_period_ratio,
        least_grace=config.workload_cert_min_grace_period,
    )
    return lambda: WorkloadSecrets(
        api=api,
        store=store,
        trust_domain=config.trust_domain,
        policy=policy,
        sign=_signer(caller),
        now=now,
        random=random,
        metrics=metrics,
        algorithm=cast(Algorithm, config.workload_key_algorithm),
        pkcs8=config.pkcs8_keys,
    )


def _signer(caller: Latest[CaClient | None]) -> Sign:
    """Asks Citadel for somebody else's certificate, which it gives to registrars only."""

    async def sign(identity: SpiffeId, csr_pem: bytes, ttl: timedelta) -> Certificate:
        client = await caller.after(None)
        asking = replace(
            cast(CaClient, client), request_metadata={"ImpersonatedIdentity": str(identity)}
        )
        return await asking.sign(csr_pem, ttl)

    return sign
