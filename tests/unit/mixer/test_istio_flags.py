"""The command line of Istio's `mixs server` is understood (mixer.md I, flags)."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest

from mast.common.process.settings import parse
from mast.mixer.config import Config
from mast.mixer.istio_flags import translated

ISTIO = """\
--port 9092 --monitoringPort=15015 --maxMessageSize 2097152 --maxConcurrentStreams 512
--configDefaultNamespace config --configWaitTimeout 1m0s
--livenessProbePath /run/live --livenessProbeInterval 5s
--readinessProbePath /run/ready --readinessProbeInterval 6s
--loadsheddingMode enforce --averageLatencyThreshold 100ms --latencySampleHalflife 2s
--latencyEnforcementThreshold 50 --maxRequestsPerSecond 1000 --burstSize 10"""
WITHOUT_EFFECT = """\
--apiWorkerPoolSize 1024 --adapterWorkerPoolSize=1024 --singleThreaded --numCheckCacheEntries 1
--latencySamplesPerSecond 10 --profile=true --useAdapterCRDs=false --useTemplateCRDs
--configStoreURL mcps://istio-galley.istio-system.svc:9901"""


def settings(*argv: str) -> Config:
    return parse(Config, translated(argv).flags, {}, prefix="MIXER")


def test_flags_of_istio_become_settings() -> None:
    assert settings(*ISTIO.split()) == Config(
        listen="127.0.0.1:9092",
        monitoring_listen="127.0.0.1:15015",
        max_message_size=2 << 20,
        max_concurrent_streams=512,
        config_default_namespace="config",
        config_wait_timeout=timedelta(minutes=1),
        liveness_probe_path=Path("/run/live"),
        liveness_probe_interval=timedelta(seconds=5),
        readiness_probe_path=Path("/run/ready"),
        readiness_probe_interval=timedelta(seconds=6),
        loadshedding_mode="enforce",
        average_latency_threshold=timedelta(milliseconds=100),
        latency_sample_halflife=timedelta(seconds=2),
        latency_enforcement_threshold=50,
        max_requests_per_second=1000,
        burst_size=10,
    )
    assert translated(ISTIO.split()).without_effect == {}


@pytest.mark.parametrize(
    ("argv", "listen"),
    [
        pytest.param(("--address", "unix:///sock/mixer.socket"), "unix:/sock/mixer.socket"),
        pytest.param(("--address=tcp://127.0.0.1:1",), "127.0.0.1:1"),
        pytest.param(("--port=1", "--listen", "127.0.0.1:2"), "127.0.0.1:2", id="ours-too"),
    ],
)
def test_addresses(argv: tuple[str, ...], listen: str) -> None:
    assert settings(*argv).listen == listen


def test_a_duration_of_zero_needs_no_unit() -> None:
    assert settings("--averageLatencyThreshold", "0").average_latency_threshold == timedelta()


def test_flags_that_cannot_matter_are_told() -> None:
    found = translated([*WITHOUT_EFFECT.split(), "--role", "policy"])
    assert found.flags == ["--role", "policy"]
    assert set(found.without_effect) == set(re.findall(r"--(\w+)", WITHOUT_EFFECT))
    assert all(found.without_effect.values())


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        (["--configStoreURL=fs:///etc/config"], "fs:///etc/config: allowed: k8s://, mcp://"),
        (["--port"], "--port: needs a value"),
    ],
)
def test_what_cannot_be_followed_is_refused(argv: list[str], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        translated(argv)
