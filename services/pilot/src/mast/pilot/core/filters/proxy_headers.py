"""Headers that proxies add by themselves, as ProxyConfig's `proxyHeaders` wants them."""

from typing import Final

from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (  # noqa: E501
    HttpConnectionManager,
)

from istio.mesh.v1alpha1.proxy_pb2 import ForwardClientCertDetails, ProxyConfig
from mast.pilot.core.filters.extensions import Direction

_FORWARDING: Final = {
    ForwardClientCertDetails.SANITIZE: HttpConnectionManager.SANITIZE,
    ForwardClientCertDetails.FORWARD_ONLY: HttpConnectionManager.FORWARD_ONLY,
    ForwardClientCertDetails.APPEND_FORWARD: HttpConnectionManager.APPEND_FORWARD,
    ForwardClientCertDetails.SANITIZE_SET: HttpConnectionManager.SANITIZE_SET,
    ForwardClientCertDetails.ALWAYS_FORWARD_ONLY: HttpConnectionManager.ALWAYS_FORWARD_ONLY,
}


def apply_headers(
    manager: HttpConnectionManager, headers: ProxyConfig.ProxyHeaders, direction: Direction
) -> None:
    """Change what a manager does by default (Istio ProxyConfig, "proxyHeaders").

    What is told of client certificates is for sidecars of servers; gateways have their topology.
    """
    if direction is Direction.INBOUND:
        _tell_of_clients(manager, headers)
    if headers.server.disabled.value:
        manager.ClearField("server_name")
        manager.server_header_transformation = HttpConnectionManager.PASS_THROUGH
    elif headers.server.value and manager.server_name:
        manager.server_name = headers.server.value
    if headers.request_id.disabled.value:
        manager.generate_request_id.value = False
    if headers.x_forwarded_port.enabled.value:
        manager.append_x_forwarded_port = True


def _tell_of_clients(manager: HttpConnectionManager, headers: ProxyConfig.ProxyHeaders) -> None:
    chosen = _FORWARDING.get(headers.forwarded_client_cert)
    if chosen is not None:
        manager.forward_client_cert_details = chosen
    wanted, details = (
        headers.set_current_client_cert_details,
        manager.set_current_client_cert_details,
    )
    if wanted.HasField("subject"):
        details.subject.CopyFrom(wanted.subject)
    if wanted.HasField("cert"):
        details.cert = wanted.cert.value
    if wanted.HasField("chain"):
        details.chain = wanted.chain.value
    if wanted.HasField("dns"):
        details.dns = wanted.dns.value
    if wanted.HasField("uri"):
        details.uri = wanted.uri.value
