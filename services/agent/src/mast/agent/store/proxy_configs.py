"""Asks Pilot, before Envoy starts, for the ProxyConfig of this proxy (pilot.md B, PCDS)."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import structlog
from envoy.config.core.v3.base_pb2 import Node

from mast.agent.core import proxy_config
from mast.agent.store.first_answers import PATIENCE, Dial, NoAnswer, first_answer

log = structlog.get_logger()


async def fetch(
    dial: Dial, node: Node, random: Callable[[], float], patience: timedelta = PATIENCE
) -> Mapping[str, Any] | None:
    """Fields of ProxyConfig as JSON, see `told_in`; None if Pilot does not answer."""
    request = proxy_config.request(node)
    try:
        return await first_answer(dial, request, proxy_config.told_in, random, patience)
    except NoAnswer as error:
        log.warning("proxy_config.unknown", waited=patience.total_seconds(), error=str(error))
        return None
