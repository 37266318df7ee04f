"""Puts together what writes statuses into Kubernetes (wiring, with main)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from random import random

from mast.common.etcd import Leadership, Store
from mast.common.kubernetes import Api
from mast.galley.config import Config
from mast.galley.core.cluster import source_of
from mast.galley.kubernetes.analysis import Analysis, Scope
from mast.galley.kubernetes.gateway_statuses import GatewayStatuses
from mast.galley.kubernetes.ingress_statuses import IngressStatuses
from mast.galley.kubernetes.leading import ANALYSIS, GATEWAYS, INGRESS, Leading
from mast.galley.kubernetes.metrics import KubernetesMetrics
from mast.galley.store.kubernetes import KubernetesSource


async def write_statuses(
    config: Config,
    store: Store,
    api: Api,
    source: KubernetesSource,
    leading: Leading,
    metrics: KubernetesMetrics,
    now: Callable[[], datetime],
) -> None:
    """Write the statuses of everything that ``source`` follows whenever this process leads."""

    async def gateways(leadership: Leadership) -> None:
        job = GatewayStatuses(
            api,
            store,
            source.observed,
            source_of(config.cluster),
            config.revision,
            metrics.statuses,
            now,
            random,
        )
        await job.run(leadership)

    async def ingresses(leadership: Leadership) -> None:
        job = IngressStatuses(
            api,
            store,
            source.observed,
            config.namespace,
            config.revision,
            metrics.statuses,
            random,
        )
        await job.run(leadership)

    async def analysis(leadership: Leadership) -> None:
        job = Analysis(
            api,
            store,
            source.observed,
            Scope(
                namespace=config.namespace,
                revision=config.revision,
                domain=config.domain,
                cluster=config.cluster,
                secrets=config.secrets_key_file is None,
            ),
            config.analysis_interval,
            metrics.analysis,
            metrics.statuses,
            random,
        )
        await job.run(leadership)

    await source.listed.wait()
    jobs = {GATEWAYS: gateways, INGRESS: ingresses}
    if config.enable_analysis:
        jobs[ANALYSIS] = analysis
    async with asyncio.TaskGroup() as tasks:
        for what, job in jobs.items():
            tasks.create_task(leading.run(what, job), name=what)
