"""All compiled adapters, with the edges that they need."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from random import random

from mast.common.etcd import Store
from mast.mixer.adapters import (
    denier,
    dogstatsd,
    etcdquota,
    fluentd,
    kubernetesenv,
    listchecker,
    memquota,
    noop,
    opa,
    prometheus,
    rbac,
    redisquota,
    statsd,
    stdio,
    zipkin,
)
from mast.mixer.adapters.fetching import post
from mast.mixer.adapters.lines import sink_of
from mast.mixer.adapters.listchecker import Fetch
from mast.mixer.adapters.opentelemetry import adapter as opentelemetry
from mast.mixer.adapters.remote.builder import bypass
from mast.mixer.adapters.zipkin import Post
from mast.mixer.core.adapter import Adapter
from mast.mixer.core.roles import Roles
from mast.mixer.core.series import Registry
from mast.mixer.core.values import Timestamp
from mast.mixer.core.workloads import Workloads


@dataclass(frozen=True, slots=True)
class Edges:
    """What adapters touch of the world: time of day, seconds that never go back, HTTP, state.

    ``store`` is the state that replicas share; without it there are no shared quotas.
    """

    now: Callable[[], datetime]
    clock: Callable[[], float]
    fetch: Fetch
    registry: Registry
    workloads: Workloads
    roles: Roles = field(default_factory=Roles)
    store: Store | None = None
    post: Post = post
    random: Callable[[], float] = random
    new_id: Callable[[], str] = str


def adapters(edges: Edges) -> Mapping[str, Adapter]:
    """The adapters by name."""
    shared = (etcdquota.adapter(edges.store, edges.now),) if edges.store else ()

    def timestamp() -> Timestamp:
        return Timestamp.of(edges.now())

    found = (
        *shared,
        bypass(edges.new_id),
        denier.ADAPTER,
        dogstatsd.adapter(edges.random),
        fluentd.adapter(timestamp),
        noop.ADAPTER,
        kubernetesenv.adapter(edges.workloads),
        listchecker.adapter(edges.fetch, edges.clock),
        memquota.adapter(edges.clock),
        prometheus.adapter(edges.registry, edges.clock),
        opa.ADAPTER,
        opentelemetry.adapter(timestamp, edges.clock),
        rbac.adapter(edges.roles),
        redisquota.adapter(),
        statsd.adapter(edges.random),
        stdio.adapter(partial(sink_of, now=edges.now), timestamp),
        zipkin.adapter(edges.post),
    )
    return {adapter.name: adapter for adapter in found}
