"""The table of stock Envoy's extensions is what the Envoy at hand says of itself."""

from __future__ import annotations

import json
from pathlib import Path

from envoy.config.bootstrap.v3.bootstrap_pb2 import Bootstrap

from mast.common.envoy.extensions import HTTP_FILTERS, LISTENER_FILTERS, NETWORK_FILTERS, stock
from tests.support.envoy_server import envoy_server

OLD_NAMES = {HTTP_FILTERS, NETWORK_FILTERS, LISTENER_FILTERS}


async def test_the_table_is_envoys_own(tmp_path: Path) -> None:
    async with envoy_server(Bootstrap(), tmp_path) as envoy:
        told = json.loads(await envoy.get("/server_info"))
    found: dict[str, dict[str, tuple[str, ...]]] = {}
    for each in told["node"]["extensions"]:
        types = tuple(sorted(each.get("type_urls", ())))
        if types or each["category"] in OLD_NAMES:
            found.setdefault(each["category"], {})[each["name"]] = types
    assert stock() == found
