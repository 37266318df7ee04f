"""The command line of Envoy (citadel-and-agent.md B6)."""

from dataclasses import dataclass

from istio.mesh.v1alpha1.proxy_pb2 import ProxyConfig


@dataclass(frozen=True, kw_only=True)
class Launch:
    """What the command line says beside ProxyConfig. ``concurrency`` None or 0: one per core."""

    binary: str
    bootstrap: str
    ipv6_only: bool = False
    log_level: str = "warning"
    component_log_level: str = "misc:error"
    concurrency: int | None = None
    override: str = ""


def arguments(launch: Launch, config: ProxyConfig) -> list[str]:
    """Program and arguments. Hot restart stays off: nobody starts a second epoch."""
    words = [
        launch.binary,
        *("-c", launch.bootstrap),
        *("--drain-time-s", str(config.drain_duration.seconds or 45)),
        *("--drain-strategy", "immediate"),
        *("--local-address-ip-version", "v6" if launch.ipv6_only else "v4"),
        *("--file-flush-interval-msec", str(config.file_flush_interval.ToMilliseconds() or 1000)),
        *("--file-flush-min-size-kb", str(config.file_flush_min_size_kb or 64)),
        "--disable-hot-restart",
        "--allow-unknown-static-fields",
        *("-l", launch.log_level),
        *("--component-log-level", launch.component_log_level),
        "--skip-deprecated-logs",
    ]
    if launch.concurrency:
        words += ["--concurrency", str(launch.concurrency)]
    if launch.override:
        words += ["--config-yaml", launch.override]
    return words
