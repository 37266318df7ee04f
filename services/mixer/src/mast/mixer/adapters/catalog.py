"""All compiled adapters, with the edges that they need."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from mast.common.etcd import Store
from mast.mixer.adapters import (
    denier,
    etcdquota,
    kubernetesenv,
    listchecker,
    memquota,
    noop,
    prometheus,
    stdio,
)
from mast.mixer.adapters.lines import sink_of
from mast.mixer.adapters.listchecker import Fetch
from mast.mixer.core.adapter import Adapter
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
    store: Store | None = None


def adapters(edges: Edges) -> Mapping[str, Adapter]:
    """The adapters by name."""
    shared = (etcdquota.adapter(edges.store, edges.now),) if edges.store else ()
    found = (
        *shared,
        denier.ADAPTER,
        noop.ADAPTER,
        kubernetesenv.adapter(edges.workloads),
        listchecker.adapter(edges.fetch, edges.clock),
        memquota.adapter(edges.clock),
        prometheus.adapter(edges.registry, edges.clock),
        stdio.adapter(partial(sink_of, now=edges.now), lambda: Timestamp.of(edges.now())),
    )
    return {adapter.name: adapter for adapter in found}
