"""What several clusters have of services, for an analysis."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from mast.cli.kubernetes_access import ClusterChoice
from mast.common.kubernetes import Api, Listing, Resource
from mast.galley.core.analysis.reading import registered
from mast.galley.core.analysis.snapshot import Item
from mast.galley.core.discovery.objects import Service
from mast.galley.core.discovery.reading import read
from mast.galley.core.discovery.services import canonical_service
from mast.galley.core.discovery.settings import Settings

SERVICES = Resource("", "v1", "services", "Service")


def services_of(contexts: Sequence[str], kubeconfig: Path | None = None) -> Iterator[Item]:
    """The Services of the clusters of some contexts, which are their ids here."""

    async def listed(api: Api) -> Listing:
        return await api.list(SERVICES)

    for context in contexts:
        settings = Settings(cluster=context)
        for each in ClusterChoice(kubeconfig, context).ask(listed).objects:
            found = read(each).item
            if isinstance(found, Service):
                yield registered(canonical_service(found, settings))
