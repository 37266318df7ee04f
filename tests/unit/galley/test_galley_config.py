"""Galley's settings: which of them contradict each other."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from mast.common.process.settings import parse
from mast.galley.config import Config
from mast.galley.sources import later_than, source_name

CA = "istio-citadel:8060"


def test_sinks_by_the_flags_of_istio() -> None:
    argv = ["--sinkAddress=127.0.0.1:1", "--sinkAuthMode", "NONE", "--sinkMeta=Mesh=a=b,zone="]
    config = parse(Config, argv, {}, prefix="GALLEY")
    assert config.sink_address == ("127.0.0.1:1",)
    assert config.sink_metadata == (("mesh", "a=b"), ("zone", ""))
    assert not config.sinks_by_tls


@pytest.mark.parametrize(
    ("argv", "env", "enabled"),
    [
        pytest.param([], {}, False, id="off-by-default"),
        pytest.param(["--enableAnalysis", "true"], {}, True, id="as-in-1.4"),
        pytest.param([], {"PILOT_ENABLE_ANALYSIS": "true"}, True, id="as-today"),
        pytest.param([], {"GALLEY_ENABLE_ANALYSIS": "true"}, True, id="own"),
    ],
)
def test_analysis_is_switched_on(argv: list[str], env: dict[str, str], enabled: bool) -> None:
    config = parse(Config, argv, {**env, "PILOT_ANALYSIS_INTERVAL": "3s"}, prefix="GALLEY")
    assert (config.enable_analysis, config.analysis_interval) == (enabled, timedelta(seconds=3))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        pytest.param({"sink_auth_mode": "TLS"}, ["'TLS'", "MUTUAL_TLS"], id="mode"),
        pytest.param({"sink_auth_mode": "MUTUAL_TLS"}, ["--ca-address"], id="tls-without-ca"),
        pytest.param({"sink_address": ("a:1",)}, ["a:1", "loopback"], id="plaintext-elsewhere"),
        pytest.param(
            {"sink_address": ("a:1",), "sink_auth_mode": "NONE", "ca_address": CA},
            ["a:1", "loopback"],
            id="plaintext-although-there-is-a-ca",
        ),
        pytest.param({"config_sources": ("fs://etc",)}, ["'fs://etc'", "fs:///"], id="relative"),
        pytest.param({"config_sources": ("xds://a",)}, ["'xds://a'", "HOST:PORT"], id="no-port"),
        pytest.param({"config_sources": ("k8s://",) * 2}, ["k8s://", "twice"], id="twice"),
        pytest.param({"config_sources": ("xds://a:1",)}, ["a:1", "loopback"], id="xds-plaintext"),
        pytest.param(
            {"config_sources": ("k8s://",), "config_dir": Path("/x")},
            ["--config-dir", "--config-sources"],
            id="two-ways-of-saying",
        ),
        pytest.param({"sink_meta": ("zone",)}, ["'zone'", "NAME=VALUE"], id="no-pair"),
        pytest.param({"sink_meta": ("a-bin=x",)}, ["'a-bin=x'"], id="binary-meta"),
    ],
)
def test_refused(settings: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ValueError, match="--") as refusal:
        Config(**settings)
    assert all(word in str(refusal.value) for word in words)


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"sink_address": ("a:1",), "ca_address": CA}, id="by-tls"),
        pytest.param(
            {"sink_address": ("a:1",), "plaintext_beyond_loopback": True}, id="by-consent"
        ),
    ],
)
def test_allowed(settings: dict[str, Any]) -> None:
    assert Config(**settings).sink_address == ("a:1",)


def test_the_order_of_sources() -> None:
    order = ("fs:///etc/mesh", "k8s://", "xds://galley:9901")
    config = Config(config_sources=order, ca_address=CA)
    names = [source_name(config, each) for each in order]
    assert names == ["fs:%2Fetc%2Fmesh", "kubernetes", "xds:galley:9901"]
    assert [later_than(config, each) for each in order] == [tuple(names[1:]), tuple(names[2:]), ()]
    assert config.reads_kubernetes
    assert not Config(config_sources=order[:1]).reads_kubernetes
    alone = Config(config_dir=Path("/etc/mesh"), config_dir_name="git")
    assert [source_name(alone, each) for each in alone.sources] == ["git"]
    assert later_than(alone, "k8s://") == ()
