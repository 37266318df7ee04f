"""Asks Pilot, before Envoy starts, what users want in the bootstrap (pilot.md B, K1)."""

from collections.abc import Callable
from datetime import timedelta

import structlog
from envoy.config.bootstrap.v3.bootstrap_pb2 import Bootstrap
from envoy.config.core.v3.base_pb2 import Node

from mast.agent.core import bootstrap_patches
from mast.agent.store.first_answers import PATIENCE, Dial, NoAnswer, first_answer

log = structlog.get_logger()


async def fetch(
    dial: Dial, node: Node, random: Callable[[], float], patience: timedelta = PATIENCE
) -> Bootstrap | None:
    """What Pilot wants merged into the bootstrap; None if nothing, or if Pilot does not answer."""
    request = bootstrap_patches.request(node)
    try:
        return await first_answer(dial, request, bootstrap_patches.patch_in, random, patience)
    except NoAnswer as error:
        log.warning("bootstrap.unpatched", waited=patience.total_seconds(), error=str(error))
        return None
