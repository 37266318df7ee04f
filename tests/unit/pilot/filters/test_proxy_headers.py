"""Headers that proxies add by themselves (Istio ProxyConfig, "proxyHeaders")."""

from typing import Any

import pytest
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (  # noqa: E501
    HttpConnectionManager,
)

from istio.mesh.v1alpha1.proxy_pb2 import ProxyConfig
from mast.pilot.core.filters.extensions import Direction
from mast.pilot.core.filters.proxy_headers import apply_headers
from tests.support.messages import made, plain

IN, OUT = Direction.INBOUND, Direction.OUTBOUND


def applied(text: str, direction: Direction = IN) -> dict[str, Any]:
    manager = HttpConnectionManager(
        server_name="istio-envoy" if direction is IN else "",
        forward_client_cert_details=HttpConnectionManager.APPEND_FORWARD,
    )
    manager.set_current_client_cert_details.dns = True
    apply_headers(manager, made(ProxyConfig.ProxyHeaders, text), direction)
    found: dict[str, Any] = plain(manager)
    return found


USUAL = {
    "server_name": "istio-envoy",
    "forward_client_cert_details": "APPEND_FORWARD",
    "set_current_client_cert_details": {"dns": True},
}


@pytest.mark.parametrize(
    ("text", "changes"),
    [
        pytest.param("{}", {}, id="nothing"),
        pytest.param("server: {value: mine}", {"server_name": "mine"}, id="server"),
        pytest.param("requestId: {disabled: true}", {"generate_request_id": False}, id="ids"),
        pytest.param(
            "xForwardedPort: {enabled: true}", {"append_x_forwarded_port": True}, id="port"
        ),
        pytest.param(
            "forwardedClientCert: SANITIZE_SET",
            {"forward_client_cert_details": "SANITIZE_SET"},
            id="forwarding",
        ),
        pytest.param(
            "setCurrentClientCertDetails: {subject: true, cert: true, chain: true, dns: false,"
            " uri: true}",
            {
                "set_current_client_cert_details": {
                    "subject": True,
                    "cert": True,
                    "chain": True,
                    "uri": True,
                }
            },
            id="details",
        ),
    ],
)
def test_inbound(text: str, changes: dict[str, Any]) -> None:
    assert applied(text) == {**USUAL, **changes}


def test_no_server_header() -> None:
    found = applied("server: {disabled: true}")
    assert found["server_header_transformation"] == "PASS_THROUGH"
    assert "server_name" not in found


def test_what_is_for_servers_only() -> None:
    text = "{forwardedClientCert: SANITIZE, setCurrentClientCertDetails: {uri: true},"
    found = applied(text + " server: {value: x}}", OUT)
    assert found == {key: USUAL[key] for key in USUAL if key != "server_name"}
