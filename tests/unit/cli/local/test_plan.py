"""The processes of a laptop mesh: one Mixer, or policy and telemetry apart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mast.cli.local import plan
from mast.cli.local.configuration import POLICY_HOST, TELEMETRY_HOST, mixer_services
from mast.cli.local.home import LOOPBACK, Home, Mesh
from mast.cli.local.processes import Process

ONE = ("mixer",)
APART = ("policy-1", "policy-2", "telemetry-1")
BOTH = [pytest.param(0, 0, ONE, id="one"), pytest.param(2, 1, APART, id="apart")]


def mesh(home: Home, policy: int, telemetry: int) -> Mesh:
    found = Mesh(LOOPBACK, Process(1, 1), {}, policy=policy, telemetry=telemetry)
    return replace(found, addresses=plan.choose_addresses(home, "127.0.0.1", found.mixers))


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


@pytest.mark.parametrize(("policy", "telemetry", "names"), BOTH)
def test_every_mixer_is_a_process_of_its_role(
    home: Home, policy: int, telemetry: int, names: tuple[str, ...]
) -> None:
    started = mesh(home, policy, telemetry)
    services = {each.name: each for each in plan.services(home, started)}
    assert tuple(services) == ("citadel", "galley", "pilot", *names)
    for name in names:
        line = list(services[name].command)
        flags = dict(zip(line[3::2], line[4::2], strict=True))
        assert line[1:3] == ["-m", "mast.mixer"]
        assert flags["--role"] == ("all" if name == "mixer" else name.partition("-")[0])
        assert flags["--listen"] == started.addresses[name]
        assert flags["--ca-token-file"].endswith(f"/{name}")
        assert flags["--etcd-cert"].endswith("/mixer.pem")
        assert services[name].account == "istio-mixer-service-account"
        assert services[name].ready == f"http://{flags['--monitoring-listen']}/ready"
    assert services["citadel"].account == ""


@pytest.mark.parametrize(("policy", "telemetry", "names"), BOTH)
def test_every_address_is_given_once(
    home: Home, policy: int, telemetry: int, names: tuple[str, ...]
) -> None:
    found = mesh(home, policy, telemetry).addresses
    assert len(set(found.values())) == len(found)
    for name in names:
        for what in ("", "-secure", "-prometheus", "-monitoring"):
            assert f"{name}{what}" in found


@pytest.mark.parametrize(
    ("policy", "telemetry", "host", "names"),
    [
        pytest.param(0, 0, POLICY_HOST, ONE, id="one-policy"),
        pytest.param(0, 0, TELEMETRY_HOST, ONE, id="one-telemetry"),
        pytest.param(2, 1, POLICY_HOST, APART[:2], id="apart-policy"),
        pytest.param(2, 1, TELEMETRY_HOST, APART[2:], id="apart-telemetry"),
    ],
)
def test_each_service_of_mixer_is_where_its_replicas_are(
    home: Home, policy: int, telemetry: int, host: str, names: tuple[str, ...]
) -> None:
    started = mesh(home, policy, telemetry)
    (entry,) = [
        each["spec"]
        for each in mixer_services(started)
        if each["kind"] == "ServiceEntry" and each["spec"]["hosts"] == [host]
    ]
    endpoints = [f"{each['address']}:{each['ports']['grpc-mixer']}" for each in entry["endpoints"]]
    assert endpoints == [started.addresses[f"{name}-secure"] for name in names]
    (rule,) = [
        each["spec"]
        for each in mixer_services(started)
        if each["kind"] == "DestinationRule" and each["spec"]["host"] == host
    ]
    assert rule["trafficPolicy"]["tls"] == {
        "mode": "ISTIO_MUTUAL",
        "subjectAltNames": [
            "spiffe://cluster.local/ns/istio-system/sa/istio-mixer-service-account"
        ],
    }
