"""Galley's settings: flags ``--like-this`` or variables ``GALLEY_LIKE_THIS``."""

import re
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from mast.common.process.exposure import keep_etcd_here, keep_plaintext_here, stays_here

# A text pair of gRPC's metadata; names that begin with grpc- or end with -bin mean other things.
_META = re.compile(r"(?!grpc-)[0-9A-Za-z_.-]+(?<!-bin)=[ -~]*")

_HOST_AND_PORT = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._-]+):[0-9]{1,5}")

KUBERNETES_SOURCE = "k8s://"


@dataclass(frozen=True, kw_only=True)
class Config:
    """Galley, the only writer of the mesh's configuration."""

    # host:port of the configuration API (TLS with client certificates; needs a CA address), and
    # of /metrics and /ready.
    listen: str = "127.0.0.1:9901"
    monitoring_listen: str = "127.0.0.1:15014"
    # Plaintext ports, and an etcd without TLS, may be on addresses that others reach: somebody else
    # keeps strangers away from them.
    plaintext_beyond_loopback: bool = False
    # Unix socket of the same API: who can open it administers.
    admin_socket: Path | None = None

    # SPIFFE IDs that may read, and that may read and write, through the TLS port. Without any
    # given, Galley's fellow services may read.
    allowed_readers: tuple[str, ...] = ()
    allowed_writers: tuple[str, ...] = ()

    # host:port of consumers that wait to be called with configuration (MCP ResourceSink), by
    # MUTUAL_TLS or NONE: unless said, by mutual TLS where there is a CA address. NONE is for this
    # machine. Meta are pairs NAME=VALUE that are sent ahead.
    sink_address: tuple[str, ...] = ()
    sink_auth_mode: str = ""
    sink_meta: tuple[str, ...] = ()
    # Whether consumers are told the services of the registry, as ServiceEntries.
    mcp_service_entries: bool = False

    # A directory of YAML and JSON files to keep in the store; the name marks what came from it.
    config_dir: Path | None = None
    config_dir_name: str = "files"
    # All sources in their order: of an object that several have, the first one counts. A directory
    # (fs:///DIRECTORY), another control plane by MCP over xDS (xds://HOST:PORT; with a CA address
    # by mutual TLS), the Kubernetes below (k8s://). Without any given, the directory above and
    # Kubernetes, of which the first to store an object keeps it.
    config_sources: tuple[str, ...] = ()
    # A file with the mesh's settings, as Istio has them, whose configSources count at the start if
    # none are given here.
    mesh_config_file: Path | None = None
    # Namespace of documents that name none.
    default_namespace: str = "default"
    # By whose rules configuration is judged: current, or 1.4, which was stricter and never warned.
    compat: str = "current"

    # 32 bytes that seal Secrets in etcd, the same for every replica and for Pilot; made if absent.
    # Without it Secrets are refused.
    secrets_key_file: Path | None = None

    # The Kubernetes API server: this pod's own, or that of a kubeconfig's context; without, none.
    in_cluster: bool = False
    kubeconfig: Path | None = None
    kube_context: str = ""

    # Whether configuration is read from there: objects of this revision, or of none in particular.
    kubernetes_config: bool = True
    # Whether statuses are written there: addresses of Ingresses, conditions of Gateway API objects.
    # With analysis also what it finds, on Istio's kinds; it looks at changes once nothing came for
    # a second, at the latest after the interval. PILOT_ENABLE_ANALYSIS and PILOT_ANALYSIS_INTERVAL
    # say so, too.
    kubernetes_statuses: bool = True
    enable_analysis: bool = field(default=False, metadata={"variables": ("PILOT_ENABLE_ANALYSIS",)})
    analysis_interval: timedelta = field(
        default=timedelta(seconds=10), metadata={"variables": ("PILOT_ANALYSIS_INTERVAL",)}
    )
    # Whether its Services, endpoints and Pods are kept in the registry, under the cluster's id and
    # with hosts of this domain.
    kubernetes_services: bool = True
    cluster: str = "Kubernetes"
    domain: str = "cluster.local"
    # Other clusters are those of Secrets in the mesh's namespace with the label
    # istio/multiCluster=true. One that was not listed within this time delays readiness no longer.
    # (PILOT_REMOTE_CLUSTER_TIMEOUT counts, too.)
    remote_cluster_timeout: timedelta = field(
        default=timedelta(seconds=30), metadata={"variables": ("PILOT_REMOTE_CLUSTER_TIMEOUT",)}
    )

    # host:port of the admission webhooks (TLS by Galley's own certificate; needs a CA address),
    # without, none; 15017 by custom. With them the leader among Galleys of a revision keeps the
    # webhook configurations of that revision: their CA bundle, and that they close.
    webhook_listen: str = ""
    revision: str = "default"
    webhook_configurations: bool = True
    # What the injecting one goes by beside the mesh's settings: the injector's own configuration
    # and Helm's values, as YAML or JSON. Read again when they change; without, there are defaults.
    inject_config_file: Path | None = None
    inject_values_file: Path | None = None

    # Whether every namespace gets the roots of the mesh in a ConfigMap (PILOT_CA_CERT_CONFIGMAP is
    # its name) and the revocation lists in another one, and, as up to 1.4, the control plane's
    # namespace the map istio-security.
    root_maps: bool = True
    ca_cert_configmap: str = "istio-ca-root-cert"
    crl_configmap: str = "istio-ca-crl"
    legacy_security_map: bool = False

    # Whether service accounts get Secrets istio.ACCOUNT, as up to 1.4. Galley's identity has to be
    # among Citadel's registrars then. Namespaces: all or the listed ones, of which those without a
    # label count or not. Certificates: their life, and the share and length that must be left.
    workload_secrets: bool = False
    listened_namespaces: tuple[str, ...] = ()
    enable_namespaces_by_default: bool = True
    workload_cert_ttl: timedelta = timedelta(hours=2160)
    workload_cert_grace_period_ratio: float = 0.5
    workload_cert_min_grace_period: timedelta = timedelta(minutes=10)
    # P256, P384, RSA2048, RSA3072 or RSA4096; PKCS #8 instead of the older forms.
    workload_key_algorithm: str = "RSA2048"
    pkcs8_keys: bool = False

    # How many keys one transaction may write: at most etcd's --max-txn-ops. A request may change
    # two objects less: its history is written with it.
    max_txn_ops: int = 128

    # How many changes of the configuration are kept to be shown and put back, and for how long.
    history_changes: int = 1000
    history_age: timedelta = timedelta(days=90)

    # Galley's own identity; with a CA address it gets its certificate from there.
    trust_domain: str = "cluster.local"
    namespace: str = "istio-system"
    service_account: str = "istio-galley-service-account"
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

    log_level: str = "info"
    log_format: str = "json"

    def __post_init__(self) -> None:
        if not self.cluster or "/" in self.cluster:
            raise ValueError(f"--cluster: {self.cluster!r} must not be empty or contain '/'")
        if self.compat not in {"current", "1.4"}:
            raise ValueError(f"--compat: {self.compat!r} is not allowed; allowed: current, 1.4")
        if self.history_changes < 1 or self.history_age <= timedelta(0):
            raise ValueError("--history-changes and --history-age: must be above 0")
        if self.max_txn_ops < 3:
            raise ValueError("--max-txn-ops: must be at least 3: an object and its history")
        keep_plaintext_here(self, "monitoring_listen")
        self._check_sources()
        self._check_sinks()
        keep_etcd_here(self, self.etcd_endpoints, encrypted=self.etcd_ca is not None)

    @property
    def sinks_by_tls(self) -> bool:
        """Whether sinks are called by mutual TLS."""
        return (self.sink_auth_mode or ("MUTUAL_TLS" if self.ca_address else "NONE")) != "NONE"

    @property
    def sink_metadata(self) -> tuple[tuple[str, str], ...]:
        """What is sent ahead to sinks; gRPC takes names in lower case only."""
        pairs = (each.partition("=") for each in self.sink_meta)
        return tuple((name.lower(), value) for name, _, value in pairs)

    @property
    def sources(self) -> tuple[str, ...]:
        """Addresses of sources in their order; Kubernetes only if it has a place in it."""
        return (f"fs://{self.config_dir}",) if self.config_dir else self.config_sources

    @property
    def reads_kubernetes(self) -> bool:
        """Whether configuration is read from Kubernetes, if there is one."""
        listed = not self.config_sources or KUBERNETES_SOURCE in self.config_sources
        return self.kubernetes_config and listed

    def _check_sources(self) -> None:
        if self.config_dir is not None and self.config_sources:
            raise ValueError("--config-dir and --config-sources: only one of them, write fs://DIR")
        for index, address in enumerate(self.config_sources):
            if address in self.config_sources[:index]:
                raise ValueError(f"--config-sources: {address} is given twice")
            scheme, _, place = address.partition("://")
            known = (scheme == "fs" and place.startswith("/")) or address == KUBERNETES_SOURCE
            if not known and not (scheme == "xds" and _HOST_AND_PORT.fullmatch(place)):
                raise ValueError(
                    f"--config-sources: {address!r} is not allowed;"
                    " allowed: fs:///DIRECTORY, xds://HOST:PORT, k8s://"
                )
            alone = scheme != "xds" or self.ca_address or self.plaintext_beyond_loopback
            if not alone and not stays_here(place):
                raise ValueError(
                    f"--config-sources {address}: without TLS must be on a loopback address"
                )

    def _check_sinks(self) -> None:
        mode = self.sink_auth_mode
        if mode not in {"", "MUTUAL_TLS", "NONE"}:
            raise ValueError(
                f"--sink-auth-mode: {mode!r} is not allowed; allowed: MUTUAL_TLS, NONE"
            )
        if mode == "MUTUAL_TLS" and not self.ca_address:
            raise ValueError("--sink-auth-mode MUTUAL_TLS: needs --ca-address")
        for each in self.sink_meta:
            if not _META.fullmatch(each):
                raise ValueError(f"--sink-meta: {each!r} is no NAME=VALUE that gRPC can send")
        if self.sinks_by_tls or self.plaintext_beyond_loopback:
            return
        for address in self.sink_address:
            if not stays_here(address):
                raise ValueError(
                    f"--sink-address {address}: without TLS must be on a loopback address"
                )
