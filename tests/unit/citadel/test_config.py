"""Citadel's settings."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from mast.citadel.config import Config
from mast.common.process.settings import parse


def test_defaults_are_istios() -> None:
    config = parse(Config, [], {}, prefix="CITADEL")
    assert config == Config()
    assert (config.workload_cert_ttl, config.max_workload_cert_ttl) == (
        timedelta(hours=24),
        timedelta(hours=2160),
    )
    assert config.ca_cert_ttl == timedelta(days=3650)
    assert (config.listen, config.trust_domain) == ("127.0.0.1:8060", "cluster.local")


def test_flags_and_environment() -> None:
    config = parse(
        Config,
        ["--listen", "[::]:8060", "--admin-socket", "/run/mast/citadel.sock"],
        {
            "CITADEL_LISTEN": "ignored:1",
            "CITADEL_MAX_WORKLOAD_CERT_TTL": "48h",
            "CITADEL_TRUST_DOMAIN_ALIASES": "old.example, older.example",
        },
        prefix="CITADEL",
    )
    assert config.listen == "[::]:8060"
    assert config.admin_socket == Path("/run/mast/citadel.sock")
    assert config.max_workload_cert_ttl == timedelta(days=2)
    assert config.trust_domain_aliases == ("old.example", "older.example")
