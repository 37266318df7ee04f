"""Flags and environment variables of `mast-agent proxy` (citadel-and-agent.md B1)."""

from __future__ import annotations

import dataclasses
from datetime import timedelta

import pytest

from mast.agent.config import Config, Flags

DEFAULTS = {
    "TRUST_DOMAIN": "cluster.local",
    "CA_PROVIDER": "Citadel",
    "PILOT_CERT_PROVIDER": "istiod",
    "PROV_CERT": "",
    "OUTPUT_CERTS": "",
    "FILE_MOUNTED_CERTS": False,
    "SECRET_TTL": timedelta(hours=24),
    "SECRET_GRACE_PERIOD_RATIO": 0.5,
    "SECRET_GRACE_PERIOD_RATIO_JITTER": 0.01,
    "ECC_SIGNATURE_ALGORITHM": "",
    "ECC_CURVE": "P256",
    "PKCS8_KEY": False,
    "FILE_DEBOUNCE_DURATION": timedelta(milliseconds=100),
    "ISTIO_META_DNS_CAPTURE": False,
    "DNS_PROXY_ADDR": "localhost:15053",
    "DNS_FORWARD_PARALLEL": False,
    "DNS_FORWARD_TIMEOUT": timedelta(seconds=5),
    "ENVOY_STATUS_PORT": 15021,
    "ENVOY_PROMETHEUS_PORT": 15090,
    "MINIMUM_DRAIN_DURATION": timedelta(seconds=5),
    "EXIT_ON_ZERO_ACTIVE_CONNECTIONS": False,
    "PROXY_CONFIG_XDS_AGENT": False,
    "DISABLE_ENVOY": False,
    "WORKLOAD_IDENTITY_SOCKET_FILE": "socket",
    "MAST_BIND_ADDRESS": "",
    "MAST_SUPERVISE": False,
}


def by_variable(config: Config) -> dict[str, object]:
    return {each.metadata["env"]: getattr(config, each.name) for each in dataclasses.fields(config)}


def test_defaults() -> None:
    found = by_variable(Config.parse({}))
    assert {name: found[name] for name in DEFAULTS} == DEFAULTS


@pytest.mark.parametrize(
    ("variable", "text", "value"),
    [
        pytest.param("CA_ADDR", "citadel:8060", "citadel:8060", id="text"),
        pytest.param("ENVOY_STATUS_PORT", "16021", 16021, id="number"),
        pytest.param("SECRET_GRACE_PERIOD_RATIO", "0.25", 0.25, id="ratio"),
        pytest.param("PKCS8_KEY", "true", True, id="switch"),
        pytest.param("SECRET_TTL", "1h30m", timedelta(minutes=90), id="duration"),
        pytest.param("SECRET_TTL", "", timedelta(hours=24), id="empty-is-absent"),
    ],
)
def test_variables(variable: str, text: str, value: object) -> None:
    assert by_variable(Config.parse({variable: text}))[variable] == value


@pytest.mark.parametrize(
    ("variable", "text"),
    [("ENVOY_STATUS_PORT", "many"), ("SECRET_TTL", "soon"), ("DISABLE_ENVOY", "perhaps")],
)
def test_wrong_variables_are_named(variable: str, text: str) -> None:
    with pytest.raises(ValueError, match=f"{variable}.*{text}"):
        Config.parse({variable: text})


def test_flags() -> None:
    flags = Flags.parse(
        [
            "router",
            "--domain",
            "shop.svc.example.org",
            "--meshConfig",
            "./mesh",
            "--proxyLogLevel",
            "info",
            "--proxyComponentLogLevel",
            "http:debug",
            "--log_output_level",
            "default:warn,xds:debug",
            "--serviceCluster",
            "front",
            "--concurrency",
            "3",
            "--templateFile",
            "t",
            "--stsPort",
            "15463",
            "--outlierLogPath",
            "/dev/stdout",
            "--log_as_json",
        ]
    )
    assert flags == Flags(
        role="router",
        domain="shop.svc.example.org",
        mesh_config="./mesh",
        proxy_log_level="info",
        proxy_component_log_level="http:debug",
        log_output_level="default:warn,xds:debug",
        service_cluster="front",
        concurrency=3,
        template_file="t",
        sts_port=15463,
        outlier_log_path="/dev/stdout",
        log_as_json=True,
    )
    assert Flags.parse([]) == Flags(role="sidecar")


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("info", "info"),
        ("default:debug", "debug"),
        ("xds:debug,default:error", "error"),
        ("all:debug", "debug"),
        ("xds:debug", "info"),
        ("warn", "warning"),
        ("none", "error"),
    ],
)
def test_own_log_level(text: str, level: str) -> None:
    assert Flags(log_output_level=text).own_log_level == level


def test_unknown_role_ends_with_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        Flags.parse(["gateway"])
    assert "sidecar" in capsys.readouterr().err
