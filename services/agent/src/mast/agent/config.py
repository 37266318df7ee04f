"""What `mast-agent proxy` is told: its flags and the environment, parsed once."""

import argparse
import dataclasses
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, Literal

from mast.common.process.settings import boolean, duration

ROLES: Final = ("sidecar", "router")

_DAY: Final = timedelta(hours=24)
_FIVE_SECONDS: Final = timedelta(seconds=5)
_TENTH_SECOND: Final = timedelta(milliseconds=100)


def _env(variable: str, default: Any) -> Any:
    return field(default=default, metadata={"env": variable})


@dataclass(frozen=True, kw_only=True)
class Flags:
    """Flags of `proxy` (citadel-and-agent.md B1). Empty text and None mean: not given."""

    role: Literal["sidecar", "router"] = "sidecar"
    domain: str = ""
    mesh_config: str = "./etc/istio/config/mesh"
    proxy_log_level: str = "warning"
    proxy_component_log_level: str = "misc:error"
    log_output_level: str = "info"
    service_cluster: str = ""
    concurrency: int | None = None
    template_file: str = ""
    sts_port: int = 0
    outlier_log_path: str = ""
    log_as_json: bool = False

    @classmethod
    def parse(cls, argv: Sequence[str]) -> "Flags":
        """From the arguments after `proxy`; usage and exit status 2 if they are not understood."""
        parser = argparse.ArgumentParser(prog="mast-agent proxy", description=cls.__doc__)
        parser.add_argument("role", nargs="?", choices=ROLES, default="sidecar")
        parser.add_argument("--domain", default="")
        parser.add_argument("--meshConfig", dest="mesh_config", default=cls.mesh_config)
        parser.add_argument("--proxyLogLevel", dest="proxy_log_level", default=cls.proxy_log_level)
        parser.add_argument(
            "--proxyComponentLogLevel",
            dest="proxy_component_log_level",
            default=cls.proxy_component_log_level,
        )
        parser.add_argument("--log_output_level", default=cls.log_output_level)
        parser.add_argument("--serviceCluster", dest="service_cluster", default="")
        parser.add_argument("--concurrency", type=int, default=None)
        parser.add_argument("--templateFile", dest="template_file", default="")
        parser.add_argument("--stsPort", dest="sts_port", type=int, default=0)
        parser.add_argument("--outlierLogPath", dest="outlier_log_path", default="")
        parser.add_argument("--log_as_json", nargs="?", type=boolean, const=True, default=False)
        return cls(**vars(parser.parse_args(argv)))

    @property
    def own_log_level(self) -> str:
        """The agent's own level."""
        return log_level(self.log_output_level)


def log_level(text: str) -> str:
    """Our level, of a list like `default:info,xds:debug` (Istio log scopes)."""
    scopes = {}
    for each in text.split(","):
        scope, _, level = each.rpartition(":")
        scopes[scope or "default"] = level
    level = scopes.get("default", scopes.get("all", "info"))
    return {"warn": "warning", "fatal": "error", "none": "error"}.get(level, level)


@dataclass(frozen=True, kw_only=True)
class Config:
    """The environment of the agent (citadel-and-agent.md B1); names are Istio's variables.

    Variables of our own begin with `MAST_`: `MAST_BIND_ADDRESS` is where admin, status and
    metrics ports listen instead of on every address, `MAST_ENVOY` another Envoy binary,
    `MAST_SUPERVISE` restarts a crashed Envoy instead of ending the agent,
    `MAST_TOKEN_EXCHANGE_URL` where the service on `--stsPort` exchanges tokens.
    """

    instance_ip: str = _env("INSTANCE_IP", "")
    pod_name: str = _env("POD_NAME", "")
    pod_namespace: str = _env("POD_NAMESPACE", "")
    service_account: str = _env("SERVICE_ACCOUNT", "")
    trust_domain: str = _env("TRUST_DOMAIN", "cluster.local")
    cpu_limit: str = _env("ISTIO_CPU_LIMIT", "")

    ca_address: str = _env("CA_ADDR", "")
    ca_provider: str = _env("CA_PROVIDER", "Citadel")
    ca_root: str = _env("CA_ROOT_CA", "")
    xds_root: str = _env("XDS_ROOT_CA", "")
    istiod_san: str = _env("ISTIOD_SAN", "")
    pilot_cert_provider: str = _env("PILOT_CERT_PROVIDER", "istiod")
    provisioned_certs: str = _env("PROV_CERT", "")
    output_certs: str = _env("OUTPUT_CERTS", "")
    file_mounted_certs: bool = _env("FILE_MOUNTED_CERTS", default=False)
    secret_ttl: timedelta = field(default=_DAY, metadata={"env": "SECRET_TTL"})
    grace_ratio: float = _env("SECRET_GRACE_PERIOD_RATIO", 0.5)
    grace_ratio_jitter: float = _env("SECRET_GRACE_PERIOD_RATIO_JITTER", 0.01)
    rsa_key_size: int = _env("WORKLOAD_RSA_KEY_SIZE", 0)
    ecc_algorithm: str = _env("ECC_SIGNATURE_ALGORITHM", "")
    ecc_curve: str = _env("ECC_CURVE", "P256")
    pkcs8_key: bool = _env("PKCS8_KEY", default=False)
    file_debounce: timedelta = field(
        default=_TENTH_SECOND, metadata={"env": "FILE_DEBOUNCE_DURATION"}
    )
    sds_socket: str = _env("WORKLOAD_IDENTITY_SOCKET_FILE", "socket")

    dns_capture: bool = _env("ISTIO_META_DNS_CAPTURE", default=False)
    dns_address: str = _env("DNS_PROXY_ADDR", "localhost:15053")
    dns_parallel: bool = _env("DNS_FORWARD_PARALLEL", default=False)
    dns_timeout: timedelta = field(default=_FIVE_SECONDS, metadata={"env": "DNS_FORWARD_TIMEOUT"})
    resolv_conf: str = _env("MAST_RESOLV_CONF", "/etc/resolv.conf")

    status_port: int = _env("ENVOY_STATUS_PORT", 15021)
    prometheus_port: int = _env("ENVOY_PROMETHEUS_PORT", 15090)
    minimum_drain: timedelta = field(
        default=_FIVE_SECONDS, metadata={"env": "MINIMUM_DRAIN_DURATION"}
    )
    exit_on_zero: bool = _env("EXIT_ON_ZERO_ACTIVE_CONNECTIONS", default=False)
    app_probers: str = _env("ISTIO_KUBE_APP_PROBERS", "")
    prometheus_annotations: str = _env("ISTIO_PROMETHEUS_ANNOTATIONS", "")
    legacy_localhost_probe: bool = _env("REWRITE_PROBE_LEGACY_LOCALHOST_DESTINATION", default=False)

    host_ip: str = _env("HOST_IP", "")
    skip_deprecated_logs: bool = _env("ENVOY_SKIP_DEPRECATED_LOGS", default=True)
    core_dump: bool = _env("ISTIO_ENVOY_ENABLE_CORE_DUMP", default=False)
    bootstrap: str = _env("ISTIO_BOOTSTRAP", "")
    bootstrap_override: str = _env("ISTIO_BOOTSTRAP_OVERRIDE", "")
    wasm_retries: int = _env("WASM_HTTP_REQUEST_MAX_RETRIES", 5)
    wasm_expiry: timedelta = field(default=_DAY, metadata={"env": "WASM_MODULE_EXPIRY"})
    wasm_insecure_registries: str = _env("WASM_INSECURE_REGISTRIES", "")
    wasm_pull_secrets: str = _env("MAST_IMAGE_PULL_SECRETS", "./var/run/secrets/image-pull")

    xds_agent_config: bool = _env("PROXY_CONFIG_XDS_AGENT", default=False)
    xds_bootstrap: bool = _env("BOOTSTRAP_XDS_AGENT", default=False)
    disable_envoy: bool = _env("DISABLE_ENVOY", default=False)

    token_exchange_url: str = _env("MAST_TOKEN_EXCHANGE_URL", "")

    grpc_bootstrap: str = _env("GRPC_XDS_BOOTSTRAP", "")
    delta_xds: bool = _env("ISTIO_DELTA_XDS", default=True)

    bind_address: str = _env("MAST_BIND_ADDRESS", "")
    envoy: str = _env("MAST_ENVOY", "")
    supervise: bool = _env("MAST_SUPERVISE", default=False)
    log_format: str = _env("MAST_LOG_FORMAT", "json")

    @classmethod
    def parse(cls, env: Mapping[str, str]) -> "Config":
        """From environment variables; an empty one counts as absent.

        Raises ValueError that names the variable, its value and what is allowed.
        """
        hints = typing.get_type_hints(cls)
        given: dict[str, Any] = {}
        for each in dataclasses.fields(cls):
            variable = each.metadata["env"]
            if text := env.get(variable, ""):
                try:
                    given[each.name] = _PARSERS[hints[each.name]](text)
                except ValueError as error:
                    raise ValueError(f"environment variable {variable}: {error}") from error
        return cls(**given)


_PARSERS: Final[Mapping[Any, Callable[[str], Any]]] = {
    str: str,
    int: int,
    float: float,
    bool: boolean,
    timedelta: duration,
}
