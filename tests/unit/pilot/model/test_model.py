"""Small rules of the model."""

import pytest

from mast.pilot.core.model.model import (
    PUBLIC,
    ConfigMeta,
    Endpoint,
    Labels,
    Port,
    Protocol,
    Resolution,
    Service,
    ServiceKey,
    Visibility,
    selects,
    visibility,
)


@pytest.mark.parametrize(
    ("protocol", "http", "http2", "tls", "tcp"),
    [
        (Protocol.AUTO, False, False, False, False),
        (Protocol.HTTP, True, False, False, False),
        (Protocol.HTTP2, True, True, False, False),
        (Protocol.GRPC, True, True, False, False),
        (Protocol.GRPC_WEB, True, True, False, False),
        (Protocol.HTTPS, False, False, True, True),
        (Protocol.TLS, False, False, True, True),
        (Protocol.TCP, False, False, False, True),
        (Protocol.MONGO, False, False, False, True),
        (Protocol.UDP, False, False, False, False),
    ],
)
def test_protocol(protocol: Protocol, http: bool, http2: bool, tls: bool, tcp: bool) -> None:
    found = (protocol.is_http, protocol.is_http2, protocol.is_tls, protocol.is_tcp)
    assert found == (http, http2, tls, tcp)


def test_resolution_by_name() -> None:
    assert [each for each in Resolution if each.is_dns] == [
        Resolution.DNS,
        Resolution.DNS_ROUND_ROBIN,
    ]


@pytest.mark.parametrize(
    ("export_to", "default", "expected"),
    [
        pytest.param([], ["*"], PUBLIC, id="default"),
        pytest.param([], ["."], Visibility(False, frozenset({"shop"})), id="private-by-default"),
        pytest.param(["*"], ["."], PUBLIC, id="public"),
        pytest.param(["~"], ["*"], Visibility(False, frozenset()), id="nobody"),
        pytest.param([".", "web"], ["*"], Visibility(False, frozenset({"shop", "web"})), id="list"),
    ],
)
def test_visibility(export_to: list[str], default: list[str], expected: Visibility) -> None:
    assert visibility(export_to, "shop", default) == expected


def test_who_is_included() -> None:
    assert PUBLIC.includes("anybody")
    assert Visibility(False, frozenset({"shop"})).includes("shop")
    assert not Visibility(False, frozenset({"shop"})).includes("web")


@pytest.mark.parametrize(
    ("selector", "labels", "expected"),
    [
        ({}, {"a": "1"}, True),
        ({"a": "1"}, {"a": "1", "b": "2"}, True),
        ({"a": "1"}, {"a": "2"}, False),
        ({"a": ""}, {}, False),
    ],
)
def test_selects(selector: Labels, labels: Labels, expected: bool) -> None:
    assert selects(selector, labels) is expected


def test_service() -> None:
    ports = tuple(Port(name=f"p{each}", number=each, target_port=each) for each in (80, 81))
    service = Service(
        host="a.test", namespace="shop", ports=ports, auto_addresses=("240.240.0.1",), created=7
    )
    assert service.key == ServiceKey("shop", "a.test")
    assert service.age == (7, "a.test", "shop")
    assert service.port(81) is ports[1]
    assert service.port(82) is None
    assert service.vips("", automatic=True) == ("240.240.0.1",)
    assert service.vips("", automatic=False) == ()
    assert not service.from_kubernetes
    assert not service.persistent_session


@pytest.mark.parametrize(
    ("address", "is_ip", "dialable"),
    [
        ("10.0.0.1", True, True),
        ("fd00::1", True, True),
        ("unix:///x", False, True),
        ("a.test", False, False),
    ],
)
def test_endpoint_address(address: str, is_ip: bool, dialable: bool) -> None:
    endpoint = Endpoint(address=address, ports={}, namespace="shop")
    assert (endpoint.is_ip, endpoint.is_dialable) == (is_ip, dialable)


def test_a_config_is_named_in_messages() -> None:
    meta = ConfigMeta(
        collection="c", group="g", api_version="v1", kind="Sidecar", namespace="shop", name="a"
    )
    assert str(meta) == "Sidecar shop/a"
