"""Whom a connection manager takes for the caller (Envoy, "x-forwarded-for")."""

from __future__ import annotations

import pytest
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (  # noqa: E501
    HttpConnectionManager,
)

from mast.cli.explain.addresses import remote_address
from mast.cli.explain.traffic import Connection, Request
from mast.common.envoy.matchers import NotUnderstood

PEER = Connection(address="10.0.0.1", port=80, source_address="192.0.2.1")


@pytest.mark.parametrize(
    ("edge", "hops", "header", "caller"),
    [
        pytest.param(False, 0, None, "192.0.2.1", id="no-header"),
        pytest.param(False, 0, "1.1.1.1, 2.2.2.2", "2.2.2.2", id="the-last"),
        pytest.param(False, 1, "1.1.1.1, 2.2.2.2", "1.1.1.1", id="one-before"),
        pytest.param(False, 2, "1.1.1.1, 2.2.2.2", "192.0.2.1", id="too-few"),
        pytest.param(False, 0, "1.1.1.1, x", "192.0.2.1", id="no-address"),
        pytest.param(False, 0, "2001:db8::1", "2001:db8::1", id="version-6"),
        pytest.param(True, 0, "1.1.1.1", "192.0.2.1", id="edge"),
        pytest.param(True, 1, "1.1.1.1, 2.2.2.2", "2.2.2.2", id="edge-behind-a-proxy"),
        pytest.param(True, 2, "1.1.1.1, 2.2.2.2", "1.1.1.1", id="edge-behind-two"),
        pytest.param(True, 1, None, "192.0.2.1", id="edge-without-header"),
    ],
)
def test_remote_address(edge: bool, hops: int, header: str | None, caller: str) -> None:
    manager = HttpConnectionManager(xff_num_trusted_hops=hops)
    manager.use_remote_address.value = edge
    headers = [] if header is None else [("x-forwarded-for", header)]
    assert remote_address(manager, Request(authority="a", headers=headers), PEER) == caller


def test_extensions_that_find_out_are_refused() -> None:
    manager = HttpConnectionManager()
    manager.original_ip_detection_extensions.add(name="custom")
    with pytest.raises(NotUnderstood):
        remote_address(manager, Request(authority="a"), PEER)
