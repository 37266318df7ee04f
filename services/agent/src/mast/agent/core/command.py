"""The command line of Envoy (citadel-and-agent.md B6)."""

from dataclasses import dataclass

from istio.mesh.v1alpha1.proxy_pb2 import ProxyConfig


@dataclass(frozen=True, kw_only=True)
class Launch:
    """What the command line says beside ProxyConfig. ``concurrency`` None or 0: one per core.

    ``log_level`` may name components, which then take the place of ``component_log_level``, as in
    ``warning,http:debug``. ``override`` is YAML; ``$(HOST_IP)`` in it is ``host_ip``.
    """

    binary: str
    bootstrap: str
    ipv6_only: bool = False
    log_level: str = "warning"
    component_log_level: str = "misc:error"
    concurrency: int | None = None
    override: str = ""
    host_ip: str = ""
    skip_deprecated_logs: bool = True
    core_dump: bool = False


def arguments(launch: Launch, config: ProxyConfig) -> list[str]:
    """Program and arguments. Hot restart stays off: nobody starts a second epoch."""
    level, components = log_levels(launch.log_level, launch.component_log_level)
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
        *("-l", level),
    ]
    if components:
        words += ["--component-log-level", components]
    if launch.skip_deprecated_logs:
        words.append("--skip-deprecated-logs")
    if launch.core_dump:
        words.append("--enable-core-dump")
    if launch.concurrency:
        words += ["--concurrency", str(launch.concurrency)]
    if launch.override:
        words += ["--config-yaml", _filled_in(launch.override, launch.host_ip)]
    return words


def log_levels(text: str, components: str) -> tuple[str, str]:
    """Envoy's level and that of its components, from a list of both (``--proxyLogLevel``)."""
    parts = [each.strip() for each in text.split(",") if each.strip()]
    plain = [each for each in parts if ":" not in each]
    named = ",".join(each for each in parts if ":" in each)
    return (plain[-1] if plain else "warning"), named or components


def _filled_in(override: str, host_ip: str) -> str:
    """The address of the node in the place of its variable; IPv6 in brackets, once."""
    address = f"[{host_ip}]" if ":" in host_ip else host_ip
    return override.replace("[$(HOST_IP)]", address).replace("$(HOST_IP)", address)
