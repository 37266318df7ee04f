"""Names and types of stock Envoy's extensions."""

from __future__ import annotations

import pytest

from mast.common.envoy.extensions import (
    HTTP_FILTERS,
    LISTENER_FILTERS,
    NETWORK_FILTERS,
    all_types,
    canonical,
    config_type,
    config_types,
)


@pytest.mark.parametrize(
    ("category", "old", "present"),
    [
        pytest.param(HTTP_FILTERS, "envoy.lua", "envoy.filters.http.lua", id="http"),
        pytest.param(
            HTTP_FILTERS, "envoy.rate_limit", "envoy.filters.http.ratelimit", id="renamed-twice"
        ),
        pytest.param(
            NETWORK_FILTERS,
            "envoy.http_connection_manager",
            "envoy.filters.network.http_connection_manager",
            id="network",
        ),
        pytest.param(
            LISTENER_FILTERS,
            "envoy.listener.tls_inspector",
            "envoy.filters.listener.tls_inspector",
            id="listener",
        ),
        pytest.param(HTTP_FILTERS, "istio.alpn", "istio.alpn", id="not-envoys"),
        pytest.param(
            HTTP_FILTERS, "envoy.filters.http.lua", "envoy.filters.http.lua", id="present"
        ),
    ],
)
def test_canonical(category: str, old: str, present: str) -> None:
    assert canonical(category, old) == present


def test_an_extension_has_one_type_of_its_own() -> None:
    lua = "envoy.extensions.filters.http.lua.v3."
    assert config_type(HTTP_FILTERS, "envoy.lua") == f"{lua}Lua"
    assert config_type(HTTP_FILTERS, "nobody's") is None
    assert f"{lua}LuaPerRoute" in all_types()
    assert f"{lua}LuaPerRoute" not in config_types(HTTP_FILTERS)
