"""Citadel's settings: flags ``--like-this`` or variables ``CITADEL_LIKE_THIS``."""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from mast.common.process.exposure import keep_etcd_here, keep_plaintext_here


@dataclass(frozen=True, kw_only=True)
class Config:
    """Citadel, the certificate authority of the mesh.

    Defaults of lifetimes and names are Istio's (citadel-and-agent.md A1, A2, A10).
    """

    # host:port of the certificate services (TLS), and of /metrics and /ready.
    listen: str = "127.0.0.1:8060"
    monitoring_listen: str = "127.0.0.1:15014"
    # Plaintext ports, and an etcd without TLS, may be on addresses that others reach: somebody else
    # keeps strangers away from them.
    plaintext_beyond_loopback: bool = False
    # Unix socket of the administration API: who can open it administers. Without it no join tokens.
    admin_socket: Path | None = None

    # Trust domain of all identities; identities under the aliases count as ours, never signed.
    trust_domain: str = "cluster.local"
    trust_domain_aliases: tuple[str, ...] = ()

    # Of the control plane; they and server_names make the names of Citadel's own certificate.
    namespace: str = "istio-system"
    revision: str = ""
    server_names: tuple[str, ...] = ()
    # Where Citadel's own certificate is from: istiod (its own CA), custom (tls.crt and tls.key in
    # cert_dir, read again when they change), or k8s.io/SIGNER (a signer of the cluster).
    cert_provider: str = "istiod"
    cert_dir: Path = Path("var/run/secrets/istiod/tls")
    # SERVICE-ACCOUNT.NAMESPACE:DNS-NAME, added to that account's certificates.
    custom_dns_names: tuple[str, ...] = ()

    # A plugged-in CA; if the directory holds none, the CA is self-signed and kept in etcd.
    root_ca_dir: Path = Path("etc/cacerts")
    # Whether a plugged-in CA may change its roots while serving.
    multiroot_mesh: bool = False
    # PEM of roots to trust beside the CA's own.
    root_cert_file: Path | None = None

    # 32 bytes that seal the self-signed CA's key in etcd; made if absent.
    ca_key_file: Path = Path("var/lib/mast/citadel/ca.key")
    # P256, P384, RSA2048, RSA3072 or RSA4096.
    ca_key_algorithm: str = "P256"
    # Where new keys of the CA are kept: etcd (sealed in the store), file (key_directory, 0600),
    # memory (end with the process), pkcs11 (a token) or kms (a plug-in). Keys made before stay
    # where they are, as long as their keeper is configured, too.
    key_manager: str = "etcd"
    key_directory: Path | None = None
    kms_socket: Path | None = None
    pkcs11_module: Path | None = None
    pkcs11_token: str = ""
    pkcs11_pin_file: Path | None = None
    ca_cert_ttl: timedelta = timedelta(days=3650)

    # The rotator of the self-signed CA: how often it looks (0: only commands rotate), whether the
    # first look comes at a random time; which share of the mesh must have confirmed a root before
    # it signs, by reporters that have counted for a while; how much longer than its last
    # certificate an old CA is trusted.
    self_signed_root_cert_check_interval: timedelta = timedelta(hours=1)
    enable_jitter_for_root_cert_rotator: bool = True
    rotation_confirmed: float = 0.99
    rotation_settling: timedelta = timedelta(seconds=30)
    old_ca_grace: timedelta = timedelta(hours=24)

    # host:port of our own SPIFFE trust bundle over https, for other meshes (empty: not served), and
    # how often they should ask.
    spiffe_bundle_listen: str = ""
    # PEM of roots that may vouch for such endpoints of others, beside the machine's own.
    spiffe_bundle_roots: Path | None = None
    spiffe_refresh_hint: timedelta = timedelta(minutes=5)

    # Lifetime of a leaf if none is asked for, and the longest that may be.
    workload_cert_ttl: timedelta = timedelta(hours=24)
    max_workload_cert_ttl: timedelta = timedelta(hours=2160)

    # Whether leaves are CAs themselves, as with Citadel 1.4's flag of this name.
    sign_ca_certs: bool = False
    # Whether certificates are put on record in etcd until they end.
    record_issued: bool = True

    # Certificates a second that one peer may ask for; that one with nothing but a token may ask for
    # (and how many at once); that one identity may ask for. TLS connections at a time.
    sign_rate: float = 500.0
    attest_rate: float = 1.0
    attest_burst: int = 100
    identity_rate: float = 500.0
    max_connections: int = 20_000

    # JWT_RULE: an issuer of workloads' tokens as JSON (issuer, jwksUri or jwks, audiences); the
    # issuer and the audiences of one more, whose keys are found by discovery; roots (PEM) of the
    # servers that the keys are fetched from, the system's without.
    jwt_rule: str = ""
    token_issuer: str = ""
    audience: tuple[str, ...] = ()
    jwt_ca_file: Path | None = None
    # Public keys (JWKS or PEM) of tokens that the operator makes: issued by the trust domain.
    mesh_jwt_keys: Path | None = None
    # Audiences of service accounts' tokens, and of the rules above that name none.
    token_audiences: tuple[str, ...] = ("istio-ca",)

    # The Kubernetes API server that is asked about tokens and pods: this pod's own, or that of a
    # kubeconfig's context. Its cluster's id, and other names of clusters (ALIAS=CLUSTER).
    in_cluster: bool = False
    kubeconfig: Path | None = None
    kube_context: str = ""
    cluster_id: str = "Kubernetes"
    cluster_aliases: tuple[str, ...] = ()
    # NAMESPACE/ACCOUNT of node proxies that may ask for the identities of their node's pods.
    trusted_node_accounts: tuple[str, ...] = ()
    # SPIFFE IDs that may ask for any identity of the mesh, by their certificate: as good as the CA.
    registrars: tuple[str, ...] = ()
    # SPIFFE IDs of services that may pass on calls of workloads with their tokens, such as Pilot's:
    # they are believed the workload's address, nothing else.
    relays: tuple[str, ...] = ()

    # Networks of gateways whose header x-forwarded-client-cert is believed. With any, that of every
    # process of this machine is.
    trusted_gateway_cidr: tuple[str, ...] = ()
    # Unix socket for an Envoy beside us that ends TLS; its x-forwarded-client-cert is believed.
    front_socket: Path | None = None
    # host:port without TLS, and whether callers there are recognised at all.
    plaintext_listen: str = ""
    xds_auth_plaintext: bool = False
    # Unix socket for programs of this machine, and who they are: UID:NAMESPACE/ACCOUNT.
    workload_socket: Path | None = None
    socket_identities: tuple[str, ...] = ()

    # ISTIOD_RA_KUBERNETES_API: certificates are signed by the cluster's signers. Which one, or the
    # domain whose signers callers name; the roots of it, if its answers do not bring them.
    external_ca: str = ""
    k8s_signer: str = ""
    cert_signer_domain: str = ""
    external_ca_root: Path = Path("etc/external-ca-cert/root-cert.pem")

    # Touched whenever a CSR could be signed: a probe looks at its age (at most 125 s).
    liveness_file: Path | None = None
    liveness_interval: timedelta = timedelta(seconds=60)
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
        keep_plaintext_here(self, "plaintext_listen", "monitoring_listen")
        keep_etcd_here(self, self.etcd_endpoints, encrypted=self.etcd_ca is not None)
