"""What variables change in the parts of an agent (citadel-and-agent.md B1).

Those that are seen from outside are shown by the integration tests: identity, keys, headers,
sockets, DNS, probes, metrics, draining.
"""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mast.agent.assembly import Agent, Clocks, assemble
from mast.agent.config import Flags
from mast.agent.core import paths
from mast.agent.proxy import bootstrap_file, envoy_command, given_bootstrap
from mast.agent.store.inputs import gather
from mast.agent.store.resolver import Upstream


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in (paths.ROOT_CERTIFICATE, f"{paths.MOUNTED_CERTIFICATES}/{paths.ROOT_FILE}"):
        Path(name).parent.mkdir(parents=True)
        Path(name).write_text("ROOT")
    Path("resolv.conf").write_text("nameserver 192.0.2.53\n")
    return tmp_path


def made(flags: Flags | None = None, **env: str) -> Agent:
    now = datetime(2030, 1, 1, tzinfo=UTC)
    clocks = Clocks(now=lambda: now, monotonic=lambda: 0.0, random=random.SystemRandom())
    return assemble(gather(flags or Flags(), env), clocks)


def upstream(**env: str) -> Upstream:
    """Whom the DNS proxy of an agent asks."""
    dns = made(ISTIO_META_DNS_CAPTURE="true", MAST_RESOLV_CONF="resolv.conf", **env).dns
    assert dns is not None
    found: Any = dns._forward  # noqa: SLF001 - what it asks is not seen otherwise without port 53
    asked = found.__self__
    assert isinstance(asked, Upstream)
    return asked


def test_dns() -> None:
    plain = upstream()
    assert (plain.parallel, plain.timeout) == (False, timedelta(seconds=5))
    assert plain.servers == ("192.0.2.53",)
    changed = upstream(DNS_FORWARD_PARALLEL="true", DNS_FORWARD_TIMEOUT="1s")
    assert (changed.parallel, changed.timeout) == (True, timedelta(seconds=1))


def test_keys_and_renewal() -> None:
    found = made(
        PKCS8_KEY="true",
        SECRET_TTL="1h",  # noqa: S106 - a duration
        SECRET_GRACE_PERIOD_RATIO="0.3",  # noqa: S106 - a number
        SECRET_GRACE_PERIOD_RATIO_JITTER="0.2",  # noqa: S106 - a number
        FILE_DEBOUNCE_DURATION="7s",
    )
    certificates = found.certificates
    assert certificates is not None
    assert certificates.pkcs8
    assert (certificates.ttl, certificates.ratio, certificates.jitter) == (
        timedelta(hours=1),
        0.3,
        0.2,
    )
    assert found.credentials.debounce == timedelta(seconds=7)


def test_roots_of_another_provider() -> None:
    """``custom``: those of ./etc/certs (B2.4); without the file there is nothing to trust."""
    Path(paths.ROOT_CERTIFICATE).unlink()
    assert made(PILOT_CERT_PROVIDER="custom").certificates is not None
    with pytest.raises(ValueError, match="roots for Citadel"):
        made()


def test_envoys_command_line() -> None:
    Path("over.yaml").write_text("admin: {address: $(HOST_IP)}")
    found = made(
        Flags(proxy_log_level="info,rbac:debug"),
        MAST_ENVOY="/opt/envoy",
        ISTIO_BOOTSTRAP_OVERRIDE="over.yaml",
        HOST_IP="192.0.2.1",
        ISTIO_CPU_LIMIT="1500m",
        ENVOY_SKIP_DEPRECATED_LOGS="false",
        ISTIO_ENVOY_ENABLE_CORE_DUMP="true",
    )
    line = envoy_command(found, "b.json")
    assert line[0] == "/opt/envoy"
    assert line[-1] == "admin: {address: 192.0.2.1}"
    text = " ".join(line)
    assert "-l info --component-log-level rbac:debug --enable-core-dump --concurrency 2" in text
    assert "--skip-deprecated-logs" not in line


@pytest.mark.parametrize(
    ("flags", "env"),
    [
        pytest.param(Flags(), {"ISTIO_BOOTSTRAP": "own.json"}, id="variable"),
        pytest.param(Flags(template_file="own.json"), {}, id="flag"),
        pytest.param(Flags(), {"PROXY_CONFIG": "{customConfigFile: own.json}"}, id="proxy-config"),
    ],
)
def test_a_bootstrap_of_ones_own(flags: Flags, env: dict[str, str]) -> None:
    """It is used as it is, and not removed."""
    Path("own.json").write_text("{}")
    found = made(flags, **env)
    assert given_bootstrap(found) == "own.json"
    with bootstrap_file(found, found.bootstrap) as path:
        assert path == "own.json"
    assert Path("own.json").exists()


def test_ports_and_addresses() -> None:
    found = made(
        ENVOY_STATUS_PORT="16021",
        ENVOY_PROMETHEUS_PORT="16090",
        MAST_BIND_ADDRESS="127.0.0.9",
        WORKLOAD_IDENTITY_SOCKET_FILE="",
    )
    assert (found.places.status_port, found.places.prometheus_port) == (16021, 16090)
    assert found.places.bind == found.status_host == "127.0.0.9"
    assert found.drain.own_ports == {16021, 16090}


def test_draining() -> None:
    found = made(
        EXIT_ON_ZERO_ACTIVE_CONNECTIONS="true",
        MINIMUM_DRAIN_DURATION="9s",
        PROXY_CONFIG="{terminationDrainDuration: 3s}",
    )
    assert found.drain.exit_on_zero
    assert (found.drain.minimum, found.drain.termination) == (
        timedelta(seconds=9),
        timedelta(seconds=3),
    )


def test_a_log_of_ejections() -> None:
    manager = made(Flags(outlier_log_path="/dev/stdout")).bootstrap.cluster_manager
    assert manager.outlier_detection.event_log_path == "/dev/stdout"
    assert not made().bootstrap.cluster_manager.HasField("outlier_detection")
