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
)

ADDRESSES = {"citadel": "10.213.0.1:8060", "pilot-secure": "10.213.0.1:15012"}
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


def test_the_users_environment_wins() -> None:
    spec = Spec(service="a", command=("x",), environment={"HOST": "::"})
    assert program_environment(spec, Place("a-1", "10.0.0.1"), mesh(NAMESPACES))["HOST"] == "::"
