"""Hosts that the proxy resolves for each request (pilot.md D)."""

import pytest
from envoy.config.listener.v3.listener_components_pb2 import FilterChain

from tests.support.mesh_yaml import sidecar_proxy
from tests.support.messages import plain
from tests.support.outbound_listeners import made, service, unbound


def filters(found: FilterChain) -> list[str]:
    """Names of the network filters, and of the HTTP filters in place of a connection manager."""
    listed = []
    for each in found.filters:
        config = plain(each)["typed_config"]
        inner = [filter_["name"] for filter_ in config.get("http_filters", [])]
        listed += inner or [each.name]
    return [name.rpartition(".")[2] for name in listed]


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        pytest.param([service("a", "80/HTTP")], ["stateful_session", "router"], id="nobody-asks"),
        pytest.param(
            [service("a", "80/HTTP"), service("b", "80/HTTP", resolution="DYNAMIC_DNS")],
            ["dynamic_forward_proxy", "router"],
            id="one-of-several",
        ),
        pytest.param(
            [service("b", "80/HTTP", resolution="DYNAMIC_DNS"), service("a", "80")],
            ["dynamic_forward_proxy", "router"],
            id="the-first",
        ),
    ],
)
def test_dynamic_hosts(texts: list[str], expected: list[str]) -> None:
    """Rule D, SE DYNAMIC_DNS: the proxy resolves the host of each request."""
    assert filters(made(*texts)["0.0.0.0_80"].filter_chains[0])[-2:] == expected
    forward = made(*texts, proxy=sidecar_proxy(HTTP_PROXY_PORT="15080"))["127.0.0.1_15080"]
    assert filters(forward.filter_chains[0])[-2:] == expected


def test_unknown_hosts_without_capture() -> None:
    """Nobody dialled an address that could be passed on: the proxy resolves the host."""
    found = made(service("a", "80/HTTP"), proxy=unbound(HTTP_PROXY_PORT="15080"))
    for name in ("127.0.0.1_80", "127.0.0.1_15080"):
        assert filters(found[name].filter_chains[0])[-2:] == ["dynamic_forward_proxy", "router"]


def test_dynamic_server_names() -> None:
    texts = [
        service("a", "443/TLS", "90/TCP", resolution="DYNAMIC_DNS"),
        service("b", "443/TLS"),
    ]
    found = made(*texts)
    a, b = found["0.0.0.0_443"].filter_chains
    assert filters(a) == ["sni_dynamic_forward_proxy", "tcp_proxy"]
    assert plain(a.filters[0])["typed_config"]["port_value"] == 443
    assert filters(b) == ["tcp_proxy"]
    assert filters(found["0.0.0.0_90"].filter_chains[0]) == ["tcp_proxy"]
