"""Protocols of ports: transport, appProtocol, name, number (galley-and-kubernetes.md D1)."""

from __future__ import annotations

import pytest

from mast.galley.core.discovery.objects import ServicePort
from mast.galley.core.discovery.protocols import protocol


@pytest.mark.parametrize(
    ("name", "app_protocol", "number", "transport", "expected"),
    [
        pytest.param("http", None, 1, "TCP", "HTTP", id="name"),
        pytest.param("http-web", None, 1, "TCP", "HTTP", id="up-to-dash"),
        pytest.param("HTTP2-web", None, 1, "TCP", "HTTP2", id="any-case"),
        pytest.param("https", None, 1, "TCP", "HTTPS", id="https"),
        pytest.param("grpc-api", None, 1, "TCP", "GRPC", id="grpc"),
        pytest.param("grpc-web-api", None, 1, "TCP", "GRPC_WEB", id="grpc-web"),
        pytest.param("gRPC-Web", None, 1, "TCP", "GRPC_WEB", id="grpc-web-any-case"),
        pytest.param("tls", None, 1, "TCP", "TLS", id="tls"),
        pytest.param("tcp-x", None, 1, "TCP", "TCP", id="tcp"),
        pytest.param("mongo", None, 1, "TCP", "MONGO", id="mongo"),
        pytest.param("mysql", None, 1, "TCP", "MYSQL", id="mysql"),
        pytest.param("redis", None, 1, "TCP", "REDIS", id="redis"),
        pytest.param("udp-x", None, 1, "TCP", "UDP", id="udp-by-name"),
        pytest.param("http", "http", 1, "UDP", "UDP", id="udp-by-transport"),
        pytest.param("", None, 1, "TCP", "", id="sniffed"),
        pytest.param("web", None, 8080, "TCP", "", id="unknown-name"),
        pytest.param("httpx", None, 1, "TCP", "", id="longer-name"),
        pytest.param("", None, 25, "TCP", "TCP", id="smtp"),
        pytest.param("web", None, 53, "TCP", "TCP", id="dns"),
        pytest.param("", None, 3306, "TCP", "TCP", id="mysql-port"),
        pytest.param("", None, 27017, "TCP", "TCP", id="mongo-port"),
        pytest.param("http", None, 3306, "TCP", "HTTP", id="name-before-number"),
        pytest.param("http", "grpc", 1, "TCP", "GRPC", id="app-protocol-before-name"),
        pytest.param("http", "example.com/own", 1, "TCP", "", id="foreign-app-protocol"),
        pytest.param("tcp", "kubernetes.io/h2c", 1, "TCP", "HTTP2", id="h2c"),
        pytest.param("tcp", "kubernetes.io/ws", 1, "TCP", "HTTP", id="ws"),
        pytest.param("tcp", "kubernetes.io/wss", 1, "TCP", "HTTPS", id="wss"),
        pytest.param("kubernetes.io/h2c", None, 1, "TCP", "", id="h2c-is-no-name"),
    ],
)
def test_protocol(
    name: str, app_protocol: str | None, number: int, transport: str, expected: str
) -> None:
    port = ServicePort(name=name, number=number, transport=transport, app_protocol=app_protocol)
    assert protocol(port) == expected
