"""Mixer's settings: flags ``--like-this`` or variables ``MIXER_LIKE_THIS``."""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from mast.common.process.exposure import keep_etcd_here, keep_plaintext_here


@dataclass(frozen=True, kw_only=True)
class Config:
    """Mixer, the policy and telemetry service of the mesh (mixer.md I)."""

    # all, policy or telemetry: whether checks are answered, reports taken, or both.
    role: str = "all"

    # host:port of plaintext gRPC, of gRPC with mutual TLS, of the prometheus adapter's metrics,
    # and of Mixer's own metrics and readiness. The second opens only with a CA address, the third
    # only where reports are taken.
    listen: str = "127.0.0.1:9091"
    secure_listen: str = "127.0.0.1:15004"
    prometheus_listen: str = "127.0.0.1:42422"
    monitoring_listen: str = "127.0.0.1:15014"
    # Plaintext ports, and an etcd without TLS, may be on addresses that others reach: somebody else
    # keeps strangers away from them.
    plaintext_beyond_loopback: bool = False

    # Files that are touched twice in an interval while Mixer runs, and while it is ready: for
    # `mast-mixer probe`, where HTTP probes cannot be had.
    liveness_probe_path: Path | None = None
    liveness_probe_interval: timedelta = timedelta(seconds=10)
    readiness_probe_path: Path | None = None
    readiness_probe_interval: timedelta = timedelta(seconds=10)

    # Rules of this namespace apply to every request.
    config_default_namespace: str = "istio-system"
    # How long the first complete configuration may take before the start fails.
    config_wait_timeout: timedelta = timedelta(minutes=2)
    # How long changes of the configuration are gathered.
    config_gather: timedelta = timedelta(seconds=1)

    # Language of all expressions: CEXL, CEL or COMPAT, any other word means CEXL; without it the
    # variable ISTIO_LANG counts, then the annotation policy.istio.io/lang of each object.
    expression_language: str = ""

    # How long proxies may keep a verdict, however long it is valid: what is no configuration, such
    # as labels of workloads, counts that late.
    verdict_lifetime: timedelta = timedelta(seconds=5)

    # Largest message taken, and calls at a time on one connection.
    max_message_size: int = 1 << 20
    max_concurrent_streams: int = 1024
    # How long an adapter may take to answer.
    adapter_timeout: timedelta = timedelta(seconds=5)
    # Series that the prometheus adapter may hold; what would need more is dropped and counted.
    max_prometheus_series: int = 200_000

    # disabled, logonly or enforce; the limits are requests a second, how many at once, and the
    # mean latency above which requests are shed while more than the threshold arrive a second.
    loadshedding_mode: str = "disabled"
    max_requests_per_second: float = 0.0
    burst_size: float = 0.0
    average_latency_threshold: timedelta = timedelta()
    latency_sample_halflife: timedelta = timedelta(seconds=1)
    latency_enforcement_threshold: float = 100.0

    # Mixer's own identity; with a CA address it gets its certificate from there.
    trust_domain: str = "cluster.local"
    namespace: str = "istio-system"
    service_account: str = "istio-mixer-service-account"
    ca_address: str = ""
    ca_root_file: Path | None = None
    ca_token_file: Path | None = None

    # How long it goes on as before after SIGTERM, but unready: those who led callers here, such as
    # Services of Kubernetes, are to hear of it before anything closes.
    shutdown_delay: timedelta = timedelta(0)
    # Time for running calls when stopping.
    drain: timedelta = timedelta(seconds=5)

    etcd_endpoints: tuple[str, ...] = ("127.0.0.1:2379",)
    etcd_root: str = "/mast"
    etcd_ca: Path | None = None
    etcd_cert: Path | None = None
    etcd_key: Path | None = None
    etcd_user: str = ""
    etcd_password_file: Path | None = None

    # debug, info, warning or error; json or console.
    log_level: str = "info"
    log_format: str = "json"

    def __post_init__(self) -> None:
        keep_plaintext_here(self, "listen", "prometheus_listen", "monitoring_listen")
        keep_etcd_here(self, self.etcd_endpoints, encrypted=self.etcd_ca is not None)
        roles = ("all", "policy", "telemetry")
        if self.role not in roles:
            raise ValueError(f"role {self.role!r}; allowed: {', '.join(roles)}")
        modes = ("disabled", "logonly", "enforce")
        if self.loadshedding_mode not in modes:
            raise ValueError(
                f"loadshedding mode {self.loadshedding_mode!r}; allowed: {', '.join(modes)}"
            )


@dataclass(frozen=True, kw_only=True)
class Probe:
    """Whether a running Mixer has touched a file of its lately: exit status 0, otherwise 1."""

    probe_path: Path = Path()
    interval: timedelta = timedelta(seconds=10)

    def __post_init__(self) -> None:
        if self.probe_path == Path():
            raise ValueError("--probe-path: give that of --liveness-probe-path or the other")
