"""The mesh of this machine as objects for an analysis."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from mast.cli.config_commands import CALL_SECONDS
from mast.cli.connect import galley
from mast.cli.live_mesh import live_entries
from mast.cli.local.home import Home
from mast.common.keys import REGISTRY_SERVICES, REGISTRY_WORKLOADS
from mast.galley.core.analysis.kinds import SECRET
from mast.galley.core.analysis.reading import registered, stored
from mast.galley.core.analysis.snapshot import Item
from mastapi.galley.v1 import config_pb2
from mastapi.registry.v1 import registry_pb2


def live_items() -> list[Item]:
    """Configuration from Galley, services and workloads from the registry."""
    address = Home.default().running().addresses["galley-admin"]
    listed = asyncio.run(_listed(address))
    return [*(item for each in listed for item in stored(each)), *_registry()]


async def _listed(address: str) -> list[config_pb2.Object]:
    """Everything that is stored; Secrets are shown to those only who ask for them."""
    found: list[config_pb2.Object] = []
    async with galley(address) as api:
        for kinds in ([], [SECRET]):
            answer = await api.List(config_pb2.ListRequest(kinds=kinds), timeout=CALL_SECONDS)
            found += answer.objects
    return found


def _registry() -> Iterator[Item]:
    for entry in live_entries((REGISTRY_SERVICES, REGISTRY_WORKLOADS)):
        if entry.value is None:
            continue
        is_service = entry.key.startswith(REGISTRY_SERVICES)
        message = registry_pb2.Service() if is_service else registry_pb2.Workload()
        message.ParseFromString(entry.value)
        yield registered(message)
