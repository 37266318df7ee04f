"""Pilot's settings: flags `--like-this` or variables `PILOT_LIKE_THIS`."""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from mast.common.process.exposure import keep_etcd_here, keep_plaintext_here


@dataclass(frozen=True, kw_only=True)
class Config:
    """Pilot, which turns the mesh's configuration into Envoy's and serves it over xDS."""

    # host:port of ADS in plaintext (no secrets), of ADS with TLS and client certificates (opens
    # once there is a server certificate), of the debug pages, and of metrics.
    listen: str = "127.0.0.1:15010"
    secure_listen: str = "127.0.0.1:15012"
    http_listen: str = "127.0.0.1:8080"
    monitoring_listen: str = "127.0.0.1:15014"
    # Plaintext ports, and an etcd without TLS, may be on addresses that others reach: somebody else
    # keeps strangers away from them.
    plaintext_beyond_loopback: bool = False

    # Callers of debug pages from other machines need a token: one a line, each for everything, or
    # followed by the namespace whose proxies it is for.
    debug_token_file: Path | None = None

    # Name of this replica in status and registrations; the host's name if empty.
    identity: str = ""
    # DNS suffix of Kubernetes services.
    domain: str = "cluster.local"

    # Changes are gathered until it has been quiet so long, at most so long, and so long if
    # endpoints went away (pilot.md B20).
    debounce_quiet: timedelta = timedelta(milliseconds=100)
    debounce_longest: timedelta = timedelta(seconds=10)
    debounce_urgent: timedelta = timedelta(milliseconds=10)

    # How long proxies have at least for each step of a change to or from mutual TLS: servers take
    # both meanwhile. 0: all are told at once, in no order.
    mutual_tls_step: timedelta = timedelta(seconds=2)

    # New streams a second and pushes at a time; 0: by the number of processors (pilot.md B20).
    stream_rate: float = 0.0
    pushes: int = 0
    # How long a proxy may take to read one response.
    send_timeout: timedelta = timedelta(seconds=10)
    # Streams are closed after this time so that proxies spread over replicas anew.
    connection_age: timedelta = timedelta(minutes=30)
    # Largest request, streams per connection.
    max_message_size: int = 4 << 20
    max_concurrent_streams: int = 100_000

    # How often everything held is compared with etcd.
    self_check: timedelta = timedelta(minutes=5)
    # How long workloads that registered themselves outlive a replica (pilot.md D9).
    registration_ttl: timedelta = timedelta(seconds=60)
    # How long they stay after their proxy disconnected (citadel-and-agent.md B9).
    workload_entry_grace_period: timedelta = timedelta(seconds=10)
    # How often the state of a proxy is written at most, and how long it outlives a replica.
    status_interval: timedelta = timedelta(seconds=1)
    status_ttl: timedelta = timedelta(seconds=30)

    # Pilot's own identity; with a CA address it gets its certificate from there.
    trust_domain: str = "cluster.local"
    namespace: str = "istio-system"
    service_account: str = "istio-pilot-service-account"
    ca_address: str = ""
    ca_root_file: Path | None = None
    ca_token_file: Path | None = None

    # 32 bytes that open the Secrets which Galley sealed; made if absent. Without it there are none.
    secrets_key_file: Path | None = None
    # Whether gateways speak HTTP/3 as well, and say so (Istio: PILOT_ENABLE_QUIC_LISTENERS).
    enable_quic_listeners: bool = False

    # Who fetches the keys of token issuers: Pilot ("false"), proxies for hosts that they know
    # ("true" or "hybrid"), proxies always ("envoy") (Istio: PILOT_JWT_ENABLE_REMOTE_JWKS).
    jwt_enable_remote_jwks: str = "false"
    # How often Pilot fetches them (Istio: PILOT_JWT_PUB_KEY_REFRESH_INTERVAL).
    jwt_pub_key_refresh_interval: timedelta = timedelta(minutes=20)
    # Certificates that issuers may be vouched for by, beside those that the machine trusts.
    jwks_ca_file: Path | None = None
    # Networks that keys are never fetched from, such as 127.0.0.0/8 or 169.254.0.0/16: who writes
    # policies chooses the URLs (Istio: BLOCKED_CIDRS_IN_JWKS_URIS).
    blocked_cidrs_in_jwks_uris: tuple[str, ...] = ()

    # How long it goes on as before after SIGTERM, but unready: those who led callers here, such as
    # Services of Kubernetes, are to hear of it before anything closes.
    shutdown_delay: timedelta = timedelta(0)
    # Time over which streams are closed when stopping.
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
        keep_plaintext_here(self, "listen", "http_listen", "monitoring_listen")
        keep_etcd_here(self, self.etcd_endpoints, encrypted=self.etcd_ca is not None)
