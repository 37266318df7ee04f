"""What follows from a workload's spec: announced objects and environments, in both modes."""

from __future__ import annotations

import json

import pytest

from mast.cli.local.home import LOOPBACK, NAMESPACES, Mesh
from mast.cli.local.processes import Process
from mast.cli.local.spec import (
    Place,
    Port,
    Spec,
    agent_environment,
    objects,
    program_environment,
    unprivileged,
)

ADDRESSES = {"citadel": "10.213.0.1:8060", "pilot-secure": "10.213.0.1:15012"}
GATEWAY = Spec(
    service="istio-ingressgateway",
    command=(),
    ports=(Port(80), Port(443, "https", 8443), Port(9000)),
    gateway=True,
)
SPEC = Spec(service="reviews", version="v2", ports=(Port(9080),), command=("serve",))


def mesh(mode: str) -> Mesh:
    return Mesh(mode=mode, supervisor=Process(1, 1), addresses=ADDRESSES)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("9080", Port(9080, "http")),
        ("6379/tcp", Port(6379, "tcp")),
        ("9090/grpc", Port(9090, "grpc")),
    ],
)
def test_port(text: str, expected: Port) -> None:
    assert Port.parse(text) == expected


@pytest.mark.parametrize(
    ("text", "word"), [("0", "65535"), ("70000", "65535"), ("x", "number"), ("80/smtp", "grpc")]
)
def test_bad_ports_say_what_is_allowed(text: str, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        Port.parse(text)


@pytest.mark.parametrize("field", ["service", "version", "namespace"])
def test_bad_names_are_refused(field: str) -> None:
    with pytest.raises(ValueError, match=f"{field} 'No_Good'"):
        Spec(**{"service": "a", "command": ("x",), field: "No_Good"})  # type: ignore[arg-type]


def test_objects_announce_the_service_and_the_group() -> None:
    entry, group = objects(SPEC)
    assert entry["kind"] == "ServiceEntry"
    assert entry["spec"]["hosts"] == ["reviews.default.svc.cluster.local"]
    assert entry["spec"]["workloadSelector"] == {"labels": {"app": "reviews"}}
    assert entry["spec"]["ports"] == [{"number": 9080, "name": "http-9080", "protocol": "HTTP"}]
    assert (group["kind"], group["metadata"]["name"]) == ("WorkloadGroup", "reviews-v2")
    assert group["spec"]["metadata"]["labels"] == {"app": "reviews", "version": "v2"}
    assert group["spec"]["probe"]["tcpSocket"]["port"] == 9080


def test_the_service_does_not_depend_on_the_version() -> None:
    other = Spec(service="reviews", version="v3", ports=(Port(9080),), command=("serve",))
    assert objects(SPEC)[0] == objects(other)[0]


def test_a_client_without_ports_announces_no_service() -> None:
    kinds = [o["kind"] for o in objects(Spec(service="loadgen", command=("x",)))]
    assert kinds == ["WorkloadGroup"]


def test_agent_in_a_namespace_captures_and_serves_dns() -> None:
    place = Place("reviews-v2-1", "10.213.0.10")
    environment = agent_environment(SPEC, place, mesh(NAMESPACES), "/root.pem")
    expected = {
        "POD_NAME": "reviews-v2-1",
        "INSTANCE_IP": "10.213.0.10",
        "CA_ADDR": "10.213.0.1:8060",
        "ISTIO_META_INTERCEPTION_MODE": "REDIRECT",
        "ISTIO_META_DNS_CAPTURE": "true",
        "ISTIO_META_AUTO_REGISTER_GROUP": "reviews-v2",
    }
    assert expected.items() <= environment.items()
    assert "MAST_BIND_ADDRESS" not in environment


def test_agent_on_loopback_binds_its_own_address() -> None:
    place = Place("reviews-v2-1", "127.70.0.1", "127.134.0.1", {9080: 40001})
    environment = agent_environment(SPEC, place, mesh(LOOPBACK), "/root.pem")
    assert environment["ISTIO_META_INTERCEPTION_MODE"] == "NONE"
    assert environment["MAST_BIND_ADDRESS"] == "127.70.0.1"
    assert environment["ISTIO_META_OUTBOUND_BIND"] == "127.134.0.1"
    probe = json.loads(environment["PROXY_CONFIG"])["readinessProbe"]
    assert probe["tcpSocket"] == {"host": "127.0.0.1", "port": 40001}
    assert json.loads(environment["ISTIO_META_APP_ENDPOINTS"]) == {"9080": "127.0.0.1:40001"}


def test_program_knows_nothing_in_a_namespace() -> None:
    environment = program_environment(SPEC, Place("r-1", "10.213.0.10"), mesh(NAMESPACES))
    assert environment["PORT"] == "9080"
    assert "http_proxy" not in environment


def test_program_on_loopback_gets_its_port_and_a_proxy() -> None:
    place = Place("r-1", "127.70.0.1", "127.134.0.1", {9080: 40001})
    environment = program_environment(SPEC, place, mesh(LOOPBACK))
    assert environment["PORT"] == "40001"
    assert environment["HOST"] == "127.0.0.1"
    assert environment["http_proxy"] == "http://127.134.0.1:15080"
    assert environment["https_proxy"] == environment["HTTPS_PROXY"] == environment["http_proxy"]


def test_the_users_environment_wins() -> None:
    spec = Spec(service="a", command=("x",), environment={"HOST": "::"})
    assert program_environment(spec, Place("a-1", "10.0.0.1"), mesh(NAMESPACES))["HOST"] == "::"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("80", Port(80)),
        ("80:8080", Port(80, "http", 8080)),
        ("443:8443/https", Port(443, "https", 8443)),
    ],
)
def test_mapped_port(text: str, expected: Port) -> None:
    assert Port.parse_mapped(text) == expected


@pytest.mark.parametrize("text", ["80:", "80:0", "80:x", ":80", "80:70000"])
def test_bad_mapped_ports_say_what_is_allowed(text: str) -> None:
    with pytest.raises(ValueError, match="port '"):
        Port.parse_mapped(text)


def test_a_gateway_is_a_service_that_gateways_select() -> None:
    entry, group = objects(GATEWAY)
    assert [(p["number"], p.get("targetPort")) for p in entry["spec"]["ports"]] == [
        (80, None),
        (443, 8443),
        (9000, None),
    ]
    labels = group["spec"]["metadata"]["labels"]
    assert labels["istio"] == "ingressgateway"
    assert labels["gateway.networking.k8s.io/gateway-name"] == GATEWAY.service
    assert labels["security.istio.io/tlsMode"] == "disabled"
    assert "probe" not in group["spec"]


def test_ports_without_privileges() -> None:
    assert [each.served for each in unprivileged(GATEWAY).ports] == [8080, 8443, 9000]


@pytest.mark.parametrize("mode", [NAMESPACES, LOOPBACK])
def test_agent_of_a_gateway_captures_nothing(mode: str) -> None:
    place = Place("istio-ingressgateway-v1-1", "10.213.0.10")
    environment = agent_environment(GATEWAY, place, mesh(mode), "/root.pem")
    assert environment["ISTIO_META_DNS_CAPTURE"] == "false"
    assert "readinessProbe" not in json.loads(environment["PROXY_CONFIG"])
    assert "ISTIO_META_HTTP_PROXY_PORT" not in environment
    on_loopback = mode == LOOPBACK
    assert (environment.get("ISTIO_META_OUTBOUND_BIND") == "10.213.0.10") is on_loopback
    assert (environment.get("MAST_BIND_ADDRESS") == "10.213.0.10") is on_loopback
