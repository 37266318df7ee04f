"""Outbound listeners of egress listeners and of proxies without capture (pilot.md E, F)."""

import pytest

from tests.support.mesh_yaml import sidecar_proxy
from tests.support.messages import plain
from tests.support.outbound_listeners import (
    HTTP_80,
    SIDECAR,
    THROUGH,
    TO_A,
    chains,
    conflicts,
    made,
    names,
    service,
    unbound,
)


def sidecar(*egress: str) -> str:
    return (
        f"{{{SIDECAR}, metadata: {{name: s, namespace: shop}},"
        f" spec: {{egress: [{', '.join(egress)}]}}}}"
    )


@pytest.mark.parametrize(
    ("egress", "expected"),
    [
        pytest.param(
            "port: {number: 80, name: p, protocol: HTTP}",
            {"0.0.0.0_80": [HTTP_80, THROUGH]},
            id="http",
        ),
        pytest.param(
            "port: {number: 80, name: p, protocol: TCP}",
            {"10.9.0.1_80": [f"-> {TO_A}"]},
            id="protocol-of-the-listener",
        ),
        pytest.param(
            "port: {number: 80, name: p, protocol: HTTP}, bind: 127.0.0.1, captureMode: NONE",
            {"127.0.0.1_80": ["-> RDS 80"]},
            id="bound",
        ),
        pytest.param(
            "port: {number: 80, name: p, protocol: HTTP}, captureMode: NONE",
            {"127.0.0.1_80": ["-> RDS 80"]},
            id="bound-to-loopback",
        ),
        pytest.param(
            "port: {number: 80, name: p, protocol: HTTP}, bind: 10.5.5.5",
            {"10.5.5.5_80": ["-> RDS 80"]},
            id="captured-address",
        ),
        pytest.param(
            "port: {number: 80, name: p, protocol: HTTP}, bind: 'unix:///run/x'",
            {"/run/x": ["-> RDS /run/x"]},
            id="unix-socket",
        ),
        pytest.param("port: {number: 99, name: p, protocol: HTTP}", {}, id="nobody-there"),
    ],
)
def test_egress_listener_with_a_port(egress: str, expected: dict[str, list[str]]) -> None:
    texts = [
        service("a", "80/HTTP", "81/HTTP", addresses="10.9.0.1"),
        sidecar(f"{{{egress}, hosts: ['*/*']}}"),
    ]
    assert names(*texts) == expected


def test_egress_listener_on_another_port_than_its_only_service() -> None:
    """With one port only there is no doubt which is meant."""
    rule = """
    {apiVersion: networking.istio.io/v1, kind: VirtualService,
     metadata: {name: r, namespace: shop},
     spec: {hosts: [front.test],
            http: [{route: [{destination: {host: a.test, port: {number: 80}}}]}]}}
    """
    egress = sidecar("{port: {number: 99, name: p, protocol: TCP}, hosts: ['*/front.test']}")
    found = names(rule, service("a", "80/TCP"), egress)
    assert found == {"0.0.0.0_99": [f"-> {TO_A}"]}


def test_egress_listener_with_a_port_has_its_socket_for_itself() -> None:
    texts = [
        service("a", "80/TCP"),
        service("b", "80/HTTP"),
        sidecar(
            "{port: {number: 80, name: p, protocol: TCP}, hosts: ['*/a.test']}", "{hosts: ['*/*']}"
        ),
    ]
    assert names(*texts) == {"0.0.0.0_80": [f"-> {TO_A}"]}
    assert conflicts(*texts) == []


def test_bound_catch_all_egress_listener() -> None:
    texts = [service("a", "80/TCP", "15021/TCP"), sidecar("{bind: 127.0.0.9, hosts: ['*/*']}")]
    assert names(*texts) == {
        "127.0.0.9_80": [f"-> {TO_A}"],
        "127.0.0.9_15021": ["-> outbound|15021||a.test"],
    }


def test_without_capture() -> None:
    """No virtual listeners; what applications dial is bound (E8)."""
    texts = [
        service("a", "80/HTTP", "9000/TCP", addresses="10.9.0.1"),
        service("b", "80/HTTP", "9000/TCP", "443/TLS", "7000", "15021/TCP"),
    ]
    proxy = unbound(HTTP_PROXY_PORT="15080", OUTBOUND_BIND="127.2.0.1")
    found = made(*texts, proxy=proxy)
    assert {name: chains(each) for name, each in found.items()} == {
        "127.2.0.1_15080": ["-> RDS http_proxy"],
        "127.2.0.1_443": ["b.test -> outbound|443||b.test"],
        "127.2.0.1_7000": [
            "raw_buffer http/1.1 h2c -> RDS 7000",
            "else -> outbound|7000||b.test",
        ],
        "127.2.0.1_80": ["-> RDS 80"],
        "127.2.0.1_9000": ["-> outbound|9000||a.test"],
    }
    assert not any(each.HasField("bind_to_port") for each in found.values())
    forward = plain(found["127.2.0.1_15080"].filter_chains[0].filters[0])["typed_config"]
    options = {"allow_absolute_url": True, "accept_http_10": True}
    assert forward["http_protocol_options"] == options
    assert forward["stat_prefix"] == "outbound_127.2.0.1_15080;"


def test_without_capture_on_loopback() -> None:
    assert list(names(service("a", "80/HTTP"), proxy=unbound())) == ["127.0.0.1_80"]


def test_privileged_ports_are_left_out_if_they_cannot_be_bound() -> None:
    text = service("a", "80/HTTP", "8080/HTTP")
    proxy = unbound(UNPRIVILEGED_POD="true")
    assert list(names(text, proxy=proxy)) == ["127.0.0.1_8080"]
    captured = sidecar_proxy(UNPRIVILEGED_POD="true")
    assert list(names(text, proxy=captured)) == ["0.0.0.0_80", "0.0.0.0_8080"]


def test_forward_proxy_port_of_the_mesh() -> None:
    mesh = """
    {apiVersion: mesh.istio.io/v1alpha1, kind: MeshConfig,
     metadata: {name: default, namespace: istio-system}, spec: {proxyHttpPort: 15002}}
    """
    found = names(mesh, service("a", "15002/HTTP"), proxy=unbound())
    assert found == {"127.0.0.1_15002": ["-> RDS http_proxy"]}
